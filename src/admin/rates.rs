use std::sync::{Arc, Mutex, PoisonError};

use super::node::Node;
use crate::server::Status;
use crate::timestamp::Timestamp;

/// How much happens per second, from two samples of the counters.
#[derive(Debug)]
pub(super) struct Rates {
    status: Arc<Status>,
    node: Node,
    state: Mutex<(Option<Sample>, Option<PerSecond>)>,
}

/// Sums of the counters at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp,
    messages_received: u64,
    messages_sent: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

/// The means of one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PerSecond {
    pub(super) messages_received: f64,
    pub(super) messages_sent: f64,
    pub(super) bytes_received: f64,
    pub(super) bytes_sent: f64,
}

impl Rates {
    pub(super) fn new(status: Arc<Status>, node: Node) -> Self {
        Self { status, node, state: Mutex::default() }
    }

    /// The means of the last interval; `None` before its end.
    pub(super) fn now(&self) -> Option<PerSecond> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Ends an interval and begins the next.
    pub(super) fn sample(&self) {
        let mut sample =
            Sample { at: self.status.now(), messages_received: 0, messages_sent: 0, bytes_received: 0, bytes_sent: 0 };
        for (_, shard) in self.node.shards() {
            sample.messages_received += shard.counters.messages_received.iter().sum::<u64>();
            sample.messages_sent += shard.counters.messages_sent.iter().sum::<u64>();
            sample.bytes_received += shard.traffic.bytes_received;
            sample.bytes_sent += shard.traffic.bytes_sent;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.0.replace(sample);
        state.1 = before.and_then(|before| sample.since(&before));
    }
}

impl Sample {
    fn since(&self, before: &Self) -> Option<PerSecond> {
        let seconds = self.at.since(before.at).as_secs_f64();
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (seconds > 0.0).then(|| PerSecond {
            messages_received: rate(self.messages_received, before.messages_received),
            messages_sent: rate(self.messages_sent, before.messages_sent),
            bytes_received: rate(self.bytes_received, before.bytes_received),
            bytes_sent: rate(self.bytes_sent, before.bytes_sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_difference_of_two_samples_by_their_distance() {
        let sample = |at, count| Sample {
            at: Timestamp(at),
            messages_received: count,
            messages_sent: 2 * count,
            bytes_received: 0,
            bytes_sent: 100 * count,
        };
        let rates = sample(3_000, 50).since(&sample(1_000, 10)).unwrap();
        assert_eq!((rates.messages_received, rates.messages_sent, rates.bytes_sent), (20.0, 40.0, 2_000.0));
        assert_eq!(sample(1_000, 50).since(&sample(1_000, 10)), None);
    }
}
