use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::broker::SampledMessage;
use crate::server::telemetry_figures::SpanResult;

/// The messages of which traces are to be made: what shards put there, at most [`MESSAGES_MAX`], and the counts of what became of the spans.
#[derive(Debug, Default)]
pub(in crate::server) struct Inbox {
    messages: Mutex<Vec<SampledMessage>>,
    spans: [AtomicU64; SpanResult::ALL.len()],
}

impl Inbox {
    /// Adds a message. Without room, it is counted.
    pub(in crate::server) fn put(&self, message: SampledMessage) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < MESSAGES_MAX {
            messages.push(message);
        } else {
            self.count(SpanResult::Dropped, 1);
        }
    }

    /// Counts spans.
    pub(super) fn count(&self, result: SpanResult, spans: usize) {
        if let Some(count) = self.spans.get(result as usize) {
            count.fetch_add(spans as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(feature = "otlp")]
impl Inbox {
    /// Takes all messages.
    pub(super) fn take(&self) -> Vec<SampledMessage> {
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What became of the spans until now.
    pub(super) fn figures(&self) -> crate::server::telemetry_figures::TelemetryFigures {
        let spans = self.spans.each_ref().map(|count| count.load(Ordering::Relaxed));
        crate::server::telemetry_figures::TelemetryFigures { spans }
    }
}

/// They are taken twice a second.
const MESSAGES_MAX: usize = 2_048;

#[cfg(test)]
#[cfg(feature = "otlp")]
mod tests {
    use super::super::trace::tests::sampled;
    use super::*;

    #[test]
    fn what_has_no_room_is_counted() {
        let inbox = Inbox::default();
        (0..MESSAGES_MAX + 3).for_each(|number| inbox.put(sampled(number as u64)));
        assert_eq!(inbox.take().len(), MESSAGES_MAX);
        assert_eq!(inbox.take().len(), 0);
        assert_eq!(inbox.figures().spans, [0, 3, 0]);
    }
}
