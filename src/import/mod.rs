//! Takes over from other brokers.

pub mod state;
