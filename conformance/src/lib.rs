//! A black-box test suite of every normative statement of MQTT 3.1.1 and 5.0, for any broker.
//!
//! It uses only the network and shares no code with any broker.

pub mod broker;
pub mod case;
pub mod cases;
pub mod client;
pub mod clock;
pub mod context;
pub mod csv;
pub mod failure;
pub mod link;
pub mod registry;
pub mod report;
pub mod rows;
pub mod runner;
pub mod trace;
pub mod websocket;
pub mod wire;
