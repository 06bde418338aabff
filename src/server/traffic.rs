use std::time::Duration;

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
    /// The time from reading a packet to writing it to a receiver whose output buffer was empty, for a sample of the packets.
    pub publish_to_deliver: LatencyHistogram,
}

/// A histogram of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencyHistogram {
    /// The number of latencies in each range. A range ends at its bound in [`LatencyHistogram::BOUNDS`], inclusive, and starts above the
    /// previous bound; the last range has no upper bound.
    pub counts: [u64; LatencyHistogram::BOUNDS.len() + 1],
    /// The sum of all latencies.
    pub sum: Duration,
}

impl LatencyHistogram {
    /// The upper bounds of the ranges, each about three times the previous one.
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
    fn the_upper_bound_of_a_range_is_inclusive() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_micros(10));
        histogram.record(Duration::from_micros(11));
        histogram.record(Duration::from_secs(100));
        assert_eq!(histogram.counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.sum, Duration::from_micros(100_000_021));
    }
}
