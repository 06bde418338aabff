use std::ops::AddAssign;
use std::time::Duration;

use crate::codec::Qos;
use crate::histogram::LatencyHistogram;

/// Counters of the connections of a shard since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of packets read.
    pub bytes_received: u64,
    /// Bytes of packets written to a transport.
    pub bytes_sent: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Writes that the transport accepted, completely or partly.
    pub writes: u64,
    /// Connections that completed their handshakes or need none.
    pub connections_opened: u64,
    /// The connections among `connections_opened` that have ended.
    pub connections_closed: u64,
    /// Connections that ended in their TLS, WebSocket or PROXY handshake, without the probes.
    pub handshakes_failed: u64,
    /// Probes: connections that the peer closed before it sent anything, or reset in the TLS handshake, and plain HTTP requests to
    /// WebSocket listeners.
    pub probes: u64,
    /// Connections closed because their transport accepted no bytes during the write timeout.
    pub write_timeouts: u64,
    /// Latencies.
    pub latencies: Latencies,
}

/// Latencies that the connections of a shard have measured since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latencies {
    /// From accepting a connection to writing the CONNACK that accepts its client.
    pub connect: LatencyHistogram,
    /// From the turn that read a PUBLISH to writing its PUBACK or PUBREC, at QoS 1 and 2, for a sample of the messages.
    pub publish_to_acknowledge: [LatencyHistogram; 2],
    /// From the turn that read a PUBLISH to writing it to a receiver, by the QoS of the delivery, for a sample of the messages. Receivers that
    /// connected after it was read, retained messages for new subscriptions and retransmissions are not measured.
    pub publish_to_deliver: [LatencyHistogram; 3],
    /// The times of turns, for a sample of them.
    pub turn: LatencyHistogram,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.reads += other.reads;
        self.writes += other.writes;
        self.connections_opened += other.connections_opened;
        self.connections_closed += other.connections_closed;
        self.handshakes_failed += other.handshakes_failed;
        self.probes += other.probes;
        self.write_timeouts += other.write_timeouts;
        self.latencies += other.latencies;
    }
}

impl AddAssign for Latencies {
    fn add_assign(&mut self, other: Self) {
        self.connect += other.connect;
        let each = |sums: &mut [LatencyHistogram], others: &[LatencyHistogram]| {
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += *other);
        };
        each(&mut self.publish_to_acknowledge, &other.publish_to_acknowledge);
        each(&mut self.publish_to_deliver, &other.publish_to_deliver);
        self.turn += other.turn;
    }
}

/// A latency that is measured at a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Latency {
    Connect,
    PublishToAcknowledge(Qos),
    PublishToDeliver(Qos),
}

impl Latencies {
    pub(super) fn record(&mut self, what: Latency, latency: Duration) {
        let histogram = match what {
            Latency::Connect => Some(&mut self.connect),
            Latency::PublishToAcknowledge(qos) => {
                self.publish_to_acknowledge.get_mut(usize::from(qos.level()).wrapping_sub(1))
            }
            Latency::PublishToDeliver(qos) => self.publish_to_deliver.get_mut(usize::from(qos.level())),
        };
        if let Some(histogram) = histogram {
            histogram.record(latency);
        }
    }
}
