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

impl Shard {
    /// Sets or clears the retained message of a topic. Returns `false` if a QoS 1 or 2 message is refused because a limit is reached.
    pub(in crate::broker) fn retain(
        &mut self,
        mut retained: RwLockWriteGuard<'_, RetainedStore>,
        accepted: &mut AcceptedMessage,
        publisher: &Publisher,
        turn: &mut Turn<'_>,
    ) -> bool {
        let order = &self.shared.retained_order;
        let is_refused = self.is_memory_short()
            && publisher.key.is_some()
            && !publisher.is_link
            && !accepted.message.payload.is_empty();
        let mut set = || self.retained.set((&mut retained, order), accepted, publisher, turn.now).ok();
        let change = if is_refused { None } else { set() };
        match change {
            Some(change) => accepted.retained = change,
            None => {
                self.counters.dropped(DropReason::RetainedFull, 1);
                let is_qos_0 = accepted.qos == Qos::AtMostOnce;
                if is_qos_0 {
                    // It discards the previous retained message even if it is not retained itself. [MQTT-3.3.1-7 of 3.1.1]
                    accepted.retained = self.retained.clear((&mut retained, order), accepted, publisher, turn.now);
                }
                drop(retained);
                let client_id = publisher.client_id.as_ref().map_or("", ClientId::as_str);
                let (topic, qos) = (Some(accepted.message.topic.as_str()), Some(accepted.qos));
                let lost = Lost { topic, qos, ..Lost::several(client_id, 1, DropReason::RetainedFull) };
                self.note_lost(lost, turn);
                return is_qos_0;
            }
        }
        true
    }

    /// Removes expired retained messages, and deletes obsolete records.
    pub(in crate::broker) fn expire_retained(&mut self, turn: &mut Turn<'_>) {
        let obsolete = self.retained.expire(&self.shared, turn.now);
        if !obsolete.is_empty() {
            self.persist(Record::RetainedObsolete(obsolete), turn);
        }
    }
}
