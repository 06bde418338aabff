use std::sync::Arc;

use super::{Action, Counters, Event, Settings, Shared};
use crate::routing::ShardId;
use crate::timestamp::Timestamp;

/// A complete single-threaded broker that owns the Sessions of its own connections.
#[derive(Debug)]
pub struct Shard {
    counters: Counters,
}

impl Shard {
    /// An empty shard.
    pub fn new(_id: ShardId, _settings: Arc<Settings>, _shared: Arc<Shared>) -> Self {
        Self { counters: Counters::default() }
    }

    /// Applies `event` at `now` and appends what the caller must do to `actions`.
    pub fn handle(&mut self, _now: Timestamp, _event: Event, _actions: &mut Vec<Action>) {}

    /// When [`Event::DeadlinePassed`] is due, if ever: it may be later after each event.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// What it has counted.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
