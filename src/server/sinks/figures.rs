use std::sync::Arc;

use crate::histogram::LatencyHistogram;
use crate::sink::Counts;
use crate::timestamp::Timestamp;

/// What a sink has done since the broker started, and how it is.
#[derive(Debug, Clone, Default)]
pub struct SinkFigures {
    /// Its name.
    pub name: Arc<str>,
    /// Where its requests go: scheme, host and port. The path may be a secret.
    pub endpoint: Arc<str>,
    /// Since when it is connected to its Session; `None`: it is not.
    pub connected_since: Option<Timestamp>,
    /// What became of its messages and requests.
    pub counts: Counts,
    /// Requests that were answered, with success or not.
    pub answered: u64,
    /// Requests that were not answered.
    pub unanswered: u64,
    /// The time from sending a request to its answer.
    pub latency: LatencyHistogram,
    /// Messages that it has taken from its Session and not acknowledged.
    pub held: usize,
    /// Requests under way.
    pub under_way: usize,
    /// The status of the last answer; `None`: there was none since the last request without one.
    pub last_status: Option<u16>,
    /// When the last request was answered with success.
    pub last_success: Option<Timestamp>,
    /// Since when no request was answered with success, or the sink has no Session; `None`: all is well.
    pub failing_since: Option<Timestamp>,
    /// What went wrong last; `None` while all is well.
    pub reason: Option<Arc<str>>,
    /// Why it can't run as configured; `None`: it does.
    pub unavailable: Option<Arc<str>>,
    /// Which subscription was refused, and why; `None`: the sink has all of them.
    pub refused: Option<Arc<str>>,
}
