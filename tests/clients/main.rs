//! Tests of the real binary with real clients: mosquitto's, paho's, and a raw client for everything else.
//!
//! Each test starts a broker on free ports with its own data directory, so all tests run concurrently. With
//! `ONCEMQ_TEST_PEER=mosquitto` the tests run against mosquitto, which shows whether a failing test is right. Tests of
//! features that only OnceMQ has are skipped then.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod browsers;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod compat;
#[cfg(test)]
mod compatibility_table;
#[cfg(test)]
mod database;
#[cfg(test)]
mod deadline;
#[cfg(test)]
mod descriptors;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod files_api;
#[cfg(test)]
mod flow_control;
#[cfg(test)]
mod front_ends;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of sinks use more of it")]
mod http_service;
#[cfg(test)]
mod key_sets;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod listener_terms;
#[cfg(test)]
mod listeners;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod mosquitto;
#[cfg(test)]
mod mount_points;
#[cfg(test)]
mod movement;
#[cfg(test)]
mod mqtt_js;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod postgresql;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod process;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod python;
#[cfg(test)]
#[cfg(feature = "quic")]
mod quic;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod reconfigure;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod retained_source;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod scram;
#[cfg(test)]
mod security;
#[cfg(test)]
mod services;
mod shutdown;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod stuck_disk;
#[cfg(test)]
#[cfg(feature = "otlp")]
mod telemetry;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod transports;
#[cfg(test)]
#[cfg(feature = "quic")]
mod tunnel;
#[cfg(test)]
mod user_limits;
#[cfg(test)]
mod words;
