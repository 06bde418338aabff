use std::time::Duration;

/// What the connections of a shard have transferred since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of packets read.
    pub bytes_received: u64,
    /// Bytes of packets that a transport took.
    pub bytes_sent: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Writes that the transport accepted, at least in part.
    pub writes: u64,
    /// Connections that completed their handshakes, if they have any.
    pub connections_opened: u64,
    /// Those of them that have ended.
    pub connections_closed: u64,
    /// Connections that ended in their TLS, WebSocket or PROXY handshake.
    pub handshakes_failed: u64,
    /// Connections whose transport took nothing for the write timeout.
    pub write_timeouts: u64,
    /// A sample of the time from reading a packet that fills the empty outgoing buffer of a receiver until the transport takes the bytes.
    pub publish_to_deliver: LatencyHistogram,
}

/// A histogram of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencyHistogram {
    /// The count of each range: up to its bound in [`LatencyHistogram::BOUNDS`] and above the one before; the last range has no upper bound.
    pub counts: [u64; LatencyHistogram::BOUNDS.len() + 1],
    /// The sum of all latencies.
    pub sum: Duration,
}

impl LatencyHistogram {
    /// The upper bounds of the ranges, each about three times the one before.
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_micros(10),
        Duration::from_micros(30),
        Duration::from_micros(100),
        Duration::from_micros(300),
        Duration::from_millis(1),
        Duration::from_millis(3),
        Duration::from_millis(10),
        Duration::from_millis(30),
        Duration::from_millis(100),
        Duration::from_millis(300),
        Duration::from_secs(1),
        Duration::from_secs(3),
    ];

    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let range = Self::BOUNDS.partition_point(|bound| *bound < latency);
        if let Some(count) = self.counts.get_mut(range) {
            *count += 1;
        }
        self.sum += latency;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_in_the_range_it_is_up_to() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_micros(10));
        histogram.record(Duration::from_micros(11));
        histogram.record(Duration::from_secs(100));
        assert_eq!(histogram.counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.sum, Duration::from_micros(100_000_021));
    }
}
