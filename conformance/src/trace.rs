//! What went over the wire in a case.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::clock;
use crate::wire::bytes::hex;

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the suite to the broker.
    Sent,
    /// From the broker to the suite.
    Received,
}

/// What all clients of a case share: the trace, the time it may take, and what has to be cleaned up.
#[derive(Debug)]
pub struct CaseState {
    started: Instant,
    deadline: Cell<Instant>,
    lines: RefCell<Vec<String>>,
    /// The Topic Names of retained messages that the case has sent.
    pub(crate) retained: RefCell<BTreeSet<Vec<u8>>>,
    /// Whether a Session was asked for that outlasts its connection.
    pub(crate) persistent: Cell<bool>,
    /// Whether the broker was killed: what comes then is beyond the standards, which let state be lost in a crash.
    pub(crate) killed: Cell<bool>,
}

impl CaseState {
    /// A case that starts now and may take this long.
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

    /// When the case is cut off.
    pub fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// Gives the case more time from now on, for what comes after its last line.
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

    /// Adds a remark to the trace.
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
