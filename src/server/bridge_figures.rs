use std::sync::Arc;

use crate::bridge::Counts;
use crate::timestamp::Timestamp;

/// What a bridge does, and has done since it was started or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeFigures {
    /// Its name.
    pub name: Arc<str>,
    /// What it does.
    pub state: BridgeState,
    /// Since when.
    pub since: Timestamp,
    /// The address that it has or tries; `None` before the first attempt.
    pub address: Option<Arc<str>>,
    /// How often it was connected.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub failures: u64,
    /// Why it is not connected, or was not the last time.
    pub last_error: Option<Arc<str>>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// The messages that have passed.
    pub counts: Counts,
    /// Messages of QoS 1 and 2 in the queue of its Session here; `None`: not known.
    pub queued_messages: Option<usize>,
    /// How often the other broker had lost its Session.
    pub sessions_lost_there: u64,
    /// How often this broker had none although the other one had.
    pub sessions_lost_here: u64,
    /// Topic Filters that a broker has refused at the last connect.
    pub subscriptions_refused: u64,
}

/// What a bridge does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeState {
    /// It connects, or waits for the next attempt.
    Connecting,
    /// Both connections are open.
    Connected,
    /// It waits until messages are queued.
    Idle,
    /// It has ended for good.
    Ended,
}

impl BridgeState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Connecting, Self::Connected, Self::Idle, Self::Ended];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Idle => "idle",
            Self::Ended => "ended",
        }
    }
}

impl BridgeFigures {
    /// Those of a bridge that begins.
    pub(crate) fn new(name: &str, now: Timestamp) -> Self {
        Self {
            name: name.into(),
            state: BridgeState::Connecting,
            since: now,
            address: None,
            connects: 0,
            failures: 0,
            last_error: None,
            last_error_at: None,
            counts: Counts::default(),
            queued_messages: None,
            sessions_lost_there: 0,
            sessions_lost_here: 0,
            subscriptions_refused: 0,
        }
    }

    /// Notes why it is not connected.
    pub(crate) fn failed(&mut self, reason: &str, now: Timestamp) {
        (self.last_error, self.last_error_at) = (Some(reason.into()), Some(now));
    }

    /// Changes what it does.
    pub(in crate::server) fn enter(&mut self, state: BridgeState, now: Timestamp) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }
}
