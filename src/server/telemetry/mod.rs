//! Traces of messages for an OpenTelemetry collector, made and sent by a thread of its own.
//!
//! A shard tells which of its messages are in the sample, and nothing else. Twice a second the thread asks the shards for the steps that they
//! have noted meanwhile, of which it keeps those of its messages. When nothing more is expected of a message, or after [`trace::OPEN_TIME_MAX`],
//! its steps become spans. Everything is bounded: what is too much is counted, and no client ever waits.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod apply;
#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod encode;
#[cfg(feature = "otlp")]
mod exporter;
#[cfg(feature = "otlp")]
mod files;
mod inbox;
#[cfg(feature = "otlp")]
mod running;
#[cfg(feature = "otlp")]
mod trace;

#[cfg(not(feature = "otlp"))]
pub use absent::check_telemetry;
#[cfg(feature = "otlp")]
pub use apply::check_telemetry;
pub(super) use inbox::Inbox;
#[cfg(feature = "otlp")]
pub(super) use running::Telemetry;

/// Never made.
#[cfg(not(feature = "otlp"))]
#[derive(Debug)]
pub(super) enum Telemetry {}
