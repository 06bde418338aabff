//! Sinks: clients of the broker's own that send the messages of their Sessions to services outside of MQTT.
//!
//! All sinks run on one thread, each as a task. A sink connects to its durable Session with a Receive Maximum, subscribes, and gives what arrives
//! to a [`Machine`](crate::sink::Machine), which says what is requested, acknowledged and published as a dead letter. The Session is the
//! queue: what a sink has not acknowledged is sent to it again after a lost connection, a reload or a restart of the broker.
//!
//! Acknowledgements are not in the order of the messages, because a topic whose messages are not taken must not hold up the others. The
//! broker finds the message of an acknowledgement by its Packet Identifier; a client of another maker would have to keep the order
//! [MQTT-4.6.0-2].
//!
//! What ends a wait: an answer or the timeout of its request, the deadline of the machine, a packet, or the end of the sink. No Keep Alive is
//! needed: both ends of the connection are in this process.

mod apply;
mod figures;
mod link;
mod plan;
mod report;
mod request;
mod retire;
mod running;
mod task;

pub use apply::check_sinks;
pub use figures::SinkFigures;
pub(super) use running::Sinks;

#[cfg(test)]
mod tests;
