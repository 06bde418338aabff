use std::time::Duration;

/// What the connections of a shard have moved since its start: plain numbers, like [`Counters`](crate::broker::Counters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of packets read.
    pub bytes_received: u64,
    /// Bytes of packets that a transport took.
    pub bytes_sent: u64,
    /// Reads that brought something.
    pub reads: u64,
    /// Writes of which something was taken.
    pub writes: u64,
    /// Connections whose first packet could be awaited: after their handshake, if they have one.
    pub connections_opened: u64,
    /// Of these, those that ended.
    pub connections_closed: u64,
    /// Connections that ended in their TLS, WebSocket or PROXY handshake.
    pub handshakes_failed: u64,
    /// Connections whose transport took nothing for the write timeout.
    pub write_timeouts: u64,
    /// Time from reading a packet that made an idle receiver's outgoing buffer fill to the transport's taking it: a sample.
    pub publish_to_deliver: LatencyHistogram,
}

/// How often a latency fell into each of a few ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencyHistogram {
    /// One count for each of [`LatencyHistogram::BOUNDS`], of what is up to it and above the one before; the last is the rest.
    pub counts: [u64; LatencyHistogram::BOUNDS.len() + 1],
    /// All latencies together.
    pub sum: Duration,
}

impl LatencyHistogram {
    /// The upper bounds of the ranges, each about three times the one before: from a system call to a patient user.
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

    /// Counts one.
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
