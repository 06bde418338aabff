use std::sync::Arc;

use crate::histogram::LatencyHistogram;

/// What the probe has seen since it was enabled.
#[derive(Debug, Clone, Default)]
pub struct ProbeFigures {
    /// Messages by QoS and [`ProbeResult`], in the order of [`ProbeResult::ALL`].
    pub messages: [[u64; ProbeResult::ALL.len()]; 3],
    /// The time from sending a message to its arrival, by QoS.
    pub latency: [LatencyHistogram; 3],
    /// Whether the probe is well; `None` until enough rounds have ended.
    pub is_well: Option<bool>,
    /// Whether the broker is unready while the probe fails.
    pub affects_readiness: bool,
    /// Why the last round failed; `None` if it did not.
    pub reason: Option<Arc<str>>,
}

/// What became of a message of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// It came back in time and was acknowledged.
    Ok,
    /// It was published, at QoS 1 and 2 acknowledged, and did not come back in time.
    Lost,
    /// It came back once more. Such a message has another result, too.
    Doubled,
    /// It could not be published, or was not acknowledged in time.
    Failed,
}

impl ProbeResult {
    /// All results.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Lost, Self::Doubled, Self::Failed];

    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Failed => "failed",
        }
    }
}

impl ProbeFigures {
    /// Counts a result at a QoS.
    pub(in crate::server) fn count(&mut self, qos: usize, result: ProbeResult) {
        if let Some(count) = self.messages.get_mut(qos).and_then(|counts| counts.get_mut(result as usize)) {
            *count += 1;
        }
    }

    /// Why the broker is unready because of the probe; `None` if it is not.
    pub fn unready_because(&self) -> Option<&str> {
        let is_unready = self.affects_readiness && self.is_well == Some(false);
        is_unready.then(|| self.reason.as_deref().unwrap_or("it is not well again yet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_where_their_order_says() {
        let mut figures = ProbeFigures::default();
        for (place, result) in ProbeResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, place);
            (0..=place).for_each(|_| figures.count(2, result));
        }
        assert_eq!(figures.messages, [[0; 4], [0; 4], [1, 2, 3, 4]]);
    }

    #[test]
    fn the_broker_is_unready_by_setting_and_while_the_probe_is_known_to_fail() {
        let of = |is_well, affects_readiness| ProbeFigures { is_well, affects_readiness, ..ProbeFigures::default() };
        assert!(of(Some(false), true).unready_because().is_some());
        for ready in [of(None, true), of(Some(true), true), of(Some(false), false)] {
            assert_eq!(ready.unready_because(), None);
        }
    }
}
