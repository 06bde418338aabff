//! What a sink tells people: figures and lines of the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::request::Answered;
use crate::histogram::LatencyHistogram;
use crate::server::clock::Clock;
use crate::server::log::log_line;
use crate::server::sink_figures::SinkFigures;
use crate::sink::{Counts, Machine, Outcome};

/// Figures that the task of a sink changes and others read.
pub(in crate::server) type Shared = Arc<Mutex<SinkFigures>>;

/// Reports about one sink.
#[derive(Debug)]
pub(super) struct Reporter {
    figures: Shared,
    name: Arc<str>,
    endpoint: Arc<str>,
    clock: Clock,
    /// Whether the log says that the sink fails.
    is_logged: bool,
    /// When it has said so, and when it has said that messages were given up, the last time.
    failed_at: Option<Instant>,
    gave_up_at: Option<Instant>,
    /// The messages that were given up since.
    given_up: u64,
}

impl Reporter {
    pub(super) fn new(figures: Shared, clock: Clock) -> Self {
        let (name, endpoint) = {
            let figures = lock(&figures);
            (Arc::clone(&figures.name), Arc::clone(&figures.endpoint))
        };
        let (is_logged, failed_at, gave_up_at) = (false, None, None);
        Self { figures, name, endpoint, clock, is_logged, failed_at, gave_up_at, given_up: 0 }
    }

    /// What became of messages and requests until now.
    pub(super) fn counts(&self) -> Counts {
        lock(&self.figures).counts
    }

    /// The sink has its Session.
    pub(super) fn connected(&self) {
        lock(&self.figures).connected_since = Some(self.clock.read().now);
    }

    /// The sink has no Session, or lost it, for this reason.
    pub(super) fn disconnected(&mut self, reason: &str) {
        lock(&self.figures).connected_since = None;
        self.failed(reason);
    }

    /// Takes what the machine has counted.
    pub(super) fn update(&self, machine: &Machine) {
        let mut figures = lock(&self.figures);
        figures.counts = machine.counts();
        (figures.held, figures.under_way) = machine.load();
    }

    /// A request was answered, or was not.
    pub(super) fn answered(&mut self, answered: &Answered) {
        let now = self.clock.read().now;
        {
            let mut figures = lock(&self.figures);
            figures.last_status = answered.status;
            match answered.status {
                Some(_) => {
                    figures.answered += 1;
                    LatencyHistogram::record(&mut figures.latency, answered.took);
                }
                None => figures.unanswered += 1,
            }
            if answered.outcome == Outcome::Delivered {
                figures.last_success = Some(now);
                (figures.failing_since, figures.reason) = (None, None);
            }
        }
        match &answered.outcome {
            Outcome::Delivered => {
                if std::mem::take(&mut self.is_logged) {
                    let (sink, endpoint) = (&*self.name, &*self.endpoint);
                    log_line!(SinkWell { sink, endpoint }, "the sink {sink} sends messages to {endpoint} again");
                }
            }
            Outcome::Again { reason, .. } | Outcome::Refused(reason) => self.failed(reason),
        }
    }

    /// Something went wrong: it is logged once until all is well again, and again after [`LOG_PAUSE`] if it is well in between.
    pub(super) fn failed(&mut self, reason: &str) {
        {
            let mut figures = lock(&self.figures);
            figures.failing_since.get_or_insert(self.clock.read().now);
            if figures.reason.as_deref() != Some(reason) {
                figures.reason = Some(reason.into());
            }
        }
        let is_due = self.failed_at.is_none_or(|at| at.elapsed() >= LOG_PAUSE);
        if is_due && !self.is_logged {
            let (sink, endpoint) = (&*self.name, &*self.endpoint);
            log_line!(
                SinkFailed { sink, endpoint, reason },
                "the sink {sink} can't send messages to {endpoint}, and tries again: {reason}"
            );
            (self.is_logged, self.failed_at) = (true, Some(Instant::now()));
        }
    }

    /// A message became a dead letter, or was dropped: one line tells of all since the last one.
    pub(super) fn gave_up(&mut self, topic: &str, reason: &str, became: &str) {
        self.given_up += 1;
        if self.gave_up_at.is_some_and(|at| at.elapsed() < LOG_PAUSE) {
            return;
        }
        let (sink, count) = (&*self.name, std::mem::take(&mut self.given_up));
        log_line!(
            SinkGaveUp { sink, topic, reason, count },
            "the sink {sink} gave up {count} messages; the last one, of {topic:?}, {became}: {reason}"
        );
        self.gave_up_at = Some(Instant::now());
    }
}

/// The figures, whatever became of a thread that had them.
pub(in crate::server) fn lock(figures: &Shared) -> MutexGuard<'_, SinkFigures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shortest time between two lines of one kind.
const LOG_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);
