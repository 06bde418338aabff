//! Tests the durability guarantees for each packet and each step: shards and the real store on a simulated disk, with a
//! crash at the critical point, and clients that follow the standard. The checks use only packets on the wire.
//!
//! `docs/PROOFS.md` lists which test fails if a wait is removed from the broker.

#![cfg(test)]

mod batches;
mod client;
mod golden;
mod groups;
mod lab;
mod ledger;
mod log;
mod positions;
mod receipts;
mod refused;
mod replicas;
mod replicated;
mod rows;
mod settings;
mod steps;
mod streams;
