//! NATS JetStream as the engine of a cluster: three real servers, that are killed, stopped and let go on, and what it promises to the state machines.

#![cfg(test)]
#![cfg(feature = "cluster")]

mod access;
mod driver;
mod faults;
mod figures;
mod nodes;
mod tail;
