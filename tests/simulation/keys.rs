//! Streams that keep the last message of each key, here of each topic: messages are removed beside those that come, and the newest of each key never is.

use std::collections::BTreeMap;

use oncemq::topic::TopicName;

use crate::streams::{STREAMS, stream_named};
use crate::world::{Phase, Step, World};

impl World {
    /// The keeper compacts, as it does between the messages.
    pub(crate) fn begin_compaction(&mut self) {
        if self.mix.keyed {
            let delay = self.rng.between(1, COMPACTION_INTERVAL_MAX);
            self.schedule(delay, Step::Compact);
        }
    }

    pub(crate) fn on_compact(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        self.begin_compaction();
        if self.restarting.is_some() {
            return;
        }
        let steps = self.rng.between(1, 20);
        if !self.log.compact(steps) {
            return self.fail(None, "a stream can't be compacted".to_owned());
        }
        STREAMS.iter().for_each(|(name, _)| self.observe(stream_named(name).unwrap(), 0));
    }

    /// The newest message of each key that a stream must have: by topic.
    pub(crate) fn newest_of_keys(&self, name: &str) -> BTreeMap<TopicName, u64> {
        let streams = &self.checker.streams;
        let known = streams.known.get(&stream_named(name).unwrap()).into_iter().flatten();
        let topic = |message: usize| self.checker.ledger.messages[message].topic.clone();
        known.map(|(sequence, known)| (topic(known.message), *sequence)).collect()
    }
}

/// The longest time between two looks, in milliseconds.
const COMPACTION_INTERVAL_MAX: u64 = 150;
