//! The trace of a case.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::clock;
use crate::wire::bytes::hex;

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the suite to the broker.
    Sent,
    /// From the broker to the suite.
    Received,
}

/// State that all clients of a case share: the trace, the time limit, and what must be cleaned up.
#[derive(Debug)]
pub struct CaseState {
    started: Instant,
    deadline: Cell<Instant>,
    lines: RefCell<Vec<String>>,
    /// The Topic Names of retained messages that the case published.
    pub(crate) retained: RefCell<BTreeSet<Vec<u8>>>,
    /// Whether the case requested a persistent Session.
    pub(crate) persistent: Cell<bool>,
    /// Whether the broker was killed; later failures are reported separately, because the standards permit loss in a
    /// crash.
    pub(crate) killed: Cell<bool>,
}

impl CaseState {
    /// The state of a case that starts now, with this time limit.
    pub fn new(time: Duration) -> Self {
        let started = clock::now();
        Self {
            started,
            deadline: Cell::new(started + time),
            lines: RefCell::new(Vec::new()),
            retained: RefCell::default(),
            persistent: Cell::new(false),
            killed: Cell::new(false),
        }
    }

    /// When the case's time is over.
    pub fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// Extends the time limit from now on, for the cleanup.
    pub(crate) fn extend(&self, time: Duration) {
        self.deadline.set(clock::now() + time);
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        clock::now().duration_since(self.started)
    }

    /// Adds bytes to the trace.
    pub fn record(&self, client: &str, direction: Direction, what: &str, bytes: &[u8]) {
        let arrow = match direction {
            Direction::Sent => "-->",
            Direction::Received => "<--",
        };
        self.push(format_args!("{client} {arrow} {what}"), Some(bytes));
    }

    /// Adds a note to the trace.
    pub fn note(&self, client: &str, what: &str) {
        self.push(format_args!("{client} --- {what}"), None);
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    fn push(&self, text: std::fmt::Arguments<'_>, bytes: Option<&[u8]>) {
        const LINES_MAX: usize = 2_000;
        let mut lines = self.lines.borrow_mut();
        if lines.len() >= LINES_MAX {
            return;
        }
        let mut line = format!("{:8.3} s  {text}", self.elapsed().as_secs_f64());
        if let Some(bytes) = bytes {
            // Writing to a String does not fail.
            let _ = write!(line, "\n            {}", hex(bytes));
        }
        lines.push(line);
    }
}
