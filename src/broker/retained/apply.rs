//! Applies changes of retained messages.

use std::sync::RwLockWriteGuard;

use crate::broker::counters::DropReason;
use crate::broker::operator::drops::Lost;
use crate::broker::persistence::record::Record;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{ClientId, Qos};
use crate::routing::RetainedStore;
use crate::timestamp::Timestamp;

impl Shard {
    /// Sets or clears the retained message of a topic. Returns `false` if a QoS 1 or 2 message is refused because a limit is reached.
    pub(in crate::broker) fn retain(
        &mut self,
        mut retained: RwLockWriteGuard<'_, RetainedStore>,
        accepted: &mut AcceptedMessage,
        (publisher, now): (&Publisher, Timestamp),
    ) -> bool {
        let order = &self.shared.retained_order;
        let is_refused = self.is_memory_short() && publisher.key.is_some() && !accepted.message.payload.is_empty();
        let change =
            if is_refused { None } else { self.retained.set((&mut retained, order), accepted, publisher).ok() };
        match change {
            Some(change) => accepted.retained = change,
            None => {
                self.counters.dropped(DropReason::RetainedFull, 1);
                let client_id = publisher.client_id.as_ref().map_or("", ClientId::as_str);
                let (topic, qos) = (Some(accepted.message.topic.as_str()), Some(accepted.qos));
                let lost = Lost { client_id, topic, qos, reason: DropReason::RetainedFull, count: 1 };
                self.operator.drops.note(now, lost);
                if accepted.qos > Qos::AtMostOnce {
                    return false;
                }
                // A QoS 0 message discards the previous retained message even if it is not retained itself. [MQTT-3.3.1-7 of 3.1.1]
                accepted.retained = self.retained.clear((&mut retained, order), accepted, publisher);
            }
        }
        true
    }

    /// Removes expired retained messages, and deletes obsolete records.
    pub(in crate::broker) fn expire_retained(&mut self, turn: &mut Turn<'_>) {
        let numbers = self.retained.expire(&self.shared, turn.now);
        if !numbers.is_empty() {
            self.persist(Record::RetainedObsolete { numbers }, turn);
        }
    }
}
