//! What a sink tells people: figures and lines of the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::figures::SinkFigures;
use super::request::Answered;
use crate::server::clock::Clock;
use crate::server::log::log_line;
use crate::sink::{Counts, Delivery, Machine, Outcome};

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
    /// When it has said so the last time.
    failed_at: Option<Instant>,
    /// Whether what went wrong last is that it has no Session.
    is_apart: bool,
    /// The messages that were given up and of which the log does not tell yet, with what became of the last one.
    given_up: Option<(u64, GivenUp)>,
    gave_up_at: Option<Instant>,
}

/// A message that was given up.
#[derive(Debug)]
struct GivenUp {
    message: Arc<Delivery>,
    reason: Arc<str>,
    became: &'static str,
}

impl Reporter {
    pub(super) fn new(figures: Shared, clock: Clock) -> Self {
        let (name, endpoint) = {
            let figures = lock(&figures);
            (Arc::clone(&figures.name), Arc::clone(&figures.endpoint))
        };
        let (failed_at, given_up, gave_up_at) = (None, None, None);
        Self { figures, name, endpoint, clock, is_logged: false, failed_at, is_apart: false, given_up, gave_up_at }
    }

    /// What became of messages and requests until now.
    pub(super) fn counts(&self) -> Counts {
        lock(&self.figures).counts
    }

    /// The sink has its Session.
    pub(super) fn connected(&mut self) {
        lock(&self.figures).connected_since = Some(self.clock.read().now);
        if std::mem::take(&mut self.is_apart) {
            self.well();
        }
    }

    /// The sink has no Session, or lost it, for this reason.
    pub(super) fn disconnected(&mut self, reason: &str) {
        lock(&self.figures).connected_since = None;
        self.failed(reason);
        self.is_apart = true;
    }

    /// Which subscription was refused, and why.
    pub(super) fn subscribed(&mut self, refused: Option<&str>) {
        let before = std::mem::replace(&mut lock(&self.figures).refused, refused.map(Arc::from));
        if let Some(reason) = refused.filter(|reason| before.as_deref() != Some(*reason)) {
            let (sink, endpoint) = (&*self.name, &*self.endpoint);
            log_line!(SinkFailed { sink, endpoint, reason }, "the sink {sink} does not get all messages: {reason}");
        }
    }

    /// Takes what the machine has counted, and tells of what was given up.
    pub(super) fn update(&mut self, machine: &Machine) {
        {
            let mut figures = lock(&self.figures);
            figures.counts = machine.counts();
            (figures.held, figures.under_way) = machine.load();
        }
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.tell_of_given_up();
        }
    }

    /// When [`update`](Self::update) has something to tell; `None`: not before another event.
    pub(super) fn due(&self) -> Option<Instant> {
        self.given_up.as_ref()?;
        Some(self.gave_up_at.map_or_else(Instant::now, |at| at + LOG_PAUSE))
    }

    /// A request was answered, or was not.
    pub(super) fn answered(&mut self, answered: &Answered) {
        {
            let mut figures = lock(&self.figures);
            figures.last_status = answered.status;
            match answered.status {
                Some(_) => {
                    figures.answered += 1;
                    figures.latency.record(answered.took);
                }
                None => figures.unanswered += 1,
            }
        }
        match &answered.outcome {
            Outcome::Delivered => {
                lock(&self.figures).last_success = Some(self.clock.read().now);
                self.well();
            }
            Outcome::Again { reason, .. } | Outcome::Refused(reason) => self.failed(reason),
        }
    }

    fn well(&mut self) {
        {
            let mut figures = lock(&self.figures);
            (figures.failing_since, figures.reason) = (None, None);
        }
        if std::mem::take(&mut self.is_logged) {
            let (sink, endpoint) = (&*self.name, &*self.endpoint);
            log_line!(SinkWell { sink, endpoint }, "the sink {sink} sends messages to {endpoint} again");
        }
    }

    /// Something went wrong. The log says so once until all is well again, and then not for [`LOG_PAUSE`].
    fn failed(&mut self, reason: &str) {
        self.is_apart = false;
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

    /// A message became a dead letter, or was dropped.
    pub(super) fn gave_up(&mut self, message: Arc<Delivery>, reason: Arc<str>, became: &'static str) {
        let count = self.given_up.take().map_or(0, |(count, _)| count) + 1;
        self.given_up = Some((count, GivenUp { message, reason, became }));
    }

    fn tell_of_given_up(&mut self) {
        let Some((count, GivenUp { message, reason, became })) = self.given_up.take() else { return };
        let (sink, topic, reason) = (&*self.name, message.topic().as_str(), &*reason);
        log_line!(
            SinkGaveUp { sink, topic, reason, count },
            "the sink {sink} gave up {count} messages; the last one, of {topic:?}, {became}: {reason}"
        );
        self.gave_up_at = Some(Instant::now());
    }
}

/// Tells what was not told yet.
impl Drop for Reporter {
    fn drop(&mut self) {
        lock(&self.figures).connected_since = None;
        self.tell_of_given_up();
    }
}

/// The figures, whatever became of a thread that had them.
pub(in crate::server) fn lock(figures: &Shared) -> MutexGuard<'_, SinkFigures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shortest time between two lines of one kind.
const LOG_PAUSE: Duration = Duration::from_secs(10);
