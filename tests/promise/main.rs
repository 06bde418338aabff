//! The promise of the broker, row by row and step by step: shards and the real store on a disk that forgets, with a crash at the
//! very point that counts, and clients that follow the standard. What is judged is what went over the wire.
//!
//! `docs/PROOFS.md` tells which test fails when which wait is taken out of the broker.

#![cfg(test)]

mod client;
mod golden;
mod lab;
mod ledger;
mod log;
mod rows;
mod settings;
mod steps;
