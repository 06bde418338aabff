//! The commands of the real binary, as a user types them.

#![cfg(test)]

mod documents;
mod messages;
mod process;
mod publish;
mod subscribe;
mod transports;
