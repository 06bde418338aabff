//! Changes of retained messages.

use std::sync::RwLockWriteGuard;

use crate::broker::counters::DropReason;
use crate::broker::persistence::record::Record;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;
use crate::routing::RetainedStore;

impl Shard {
    /// Sets or clears the retained message of a topic. `false` if the message is refused, because there is no room for it.
    pub(in crate::broker) fn retain(
        &mut self,
        mut retained: RwLockWriteGuard<'_, RetainedStore>,
        accepted: &mut AcceptedMessage,
        publisher: &Publisher,
    ) -> bool {
        let order = &self.shared.retained_order;
        match self.retained.set((&mut retained, order), accepted, publisher) {
            Ok(change) => accepted.retained = change,
            Err(_) => {
                self.counters.dropped(DropReason::RetainedFull, 1);
                if accepted.qos > Qos::AtMostOnce {
                    return false;
                }
                // The message that the topic had is not its last one any more. [MQTT-3.3.1-7 of 3.1.1]
                accepted.retained = self.retained.clear((&mut retained, order), accepted, publisher);
            }
        }
        true
    }

    /// Removes retained messages that have expired, and deletes the records that count no more.
    pub(in crate::broker) fn expire_retained(&mut self, turn: &mut Turn<'_>) {
        let numbers = self.retained.expire(&self.shared, turn.now);
        if !numbers.is_empty() {
            self.persist(Record::RetainedGone { numbers }, turn);
        }
    }
}
