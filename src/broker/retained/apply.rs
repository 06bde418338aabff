//! Applies changes of retained messages.

use crate::broker::counters::DropReason;
use crate::broker::persistence::record::Record;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;

impl Shard {
    /// Sets or clears the retained message of a topic. Returns `false` if a QoS 1 or 2 message is refused because a limit is reached.
    pub(in crate::broker) fn retain(&mut self, accepted: &mut AcceptedMessage, publisher: &Publisher) -> bool {
        match self.retained.set(&self.shared, accepted, publisher) {
            Ok(change) => accepted.retained = change,
            Err(_) => {
                self.counters.dropped(DropReason::RetainedFull, 1);
                if accepted.qos > Qos::AtMostOnce {
                    return false;
                }
                // A QoS 0 message discards the previous retained message even if it is not retained itself. [MQTT-3.3.1-7 of 3.1.1]
                accepted.retained = self.retained.clear(&self.shared, accepted, publisher);
            }
        }
        true
    }

    /// Removes expired retained messages, and deletes obsolete records.
    pub(in crate::broker) fn expire_retained(&mut self, turn: &mut Turn<'_>) {
        let numbers = self.retained.expire(&self.shared, turn.now);
        if !numbers.is_empty() {
            self.persist(Record::RetainedGone { numbers }, turn);
        }
    }
}
