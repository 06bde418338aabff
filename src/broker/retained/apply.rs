//! Changes of retained messages.

use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::persistence::record::{Record, RetainedChange};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;
use crate::routing::{Current, Retained, RetainedFull};

impl Shard {
    /// Sets or clears the retained message of a topic. `false` if the message is refused, because there is no room for it.
    pub(in crate::broker) fn retain(&mut self, accepted: &mut AcceptedMessage, publisher: &Publisher) -> bool {
        match self.set_retained(accepted, publisher) {
            Ok(change) => accepted.retained = change,
            Err(_) => {
                self.counters.dropped(DropReason::RetainedFull, 1);
                if accepted.qos > Qos::AtMostOnce {
                    return false;
                }
                // What the topic had is not its last message any more. [MQTT-3.3.1-7 of 3.1.1]
                accepted.retained = self.clear_retained(accepted, publisher);
            }
        }
        true
    }

    /// [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    fn set_retained(
        &mut self,
        accepted: &AcceptedMessage,
        publisher: &Publisher,
    ) -> Result<RetainedChange, RetainedFull> {
        let AcceptedMessage { message, qos, expires_at, .. } = accepted;
        if message.payload.is_empty() {
            return Ok(self.clear_retained(accepted, publisher));
        }
        self.retained_open = true;
        let is_stored = publisher.key.is_some();
        let mut retained = self.shared.retained_mut();
        let replaced = retained.get(&message.topic).map(|before| before.number);
        let number = self.shared.retained_order.next(self.id);
        let publisher = publisher.client_id.clone();
        retained.set(Retained {
            message: Arc::clone(message),
            qos: *qos,
            expires_at: *expires_at,
            publisher: publisher.clone(),
            number,
            current: Current::default(),
        })?;
        if !is_stored {
            return Ok(RetainedChange::None); // what the broker itself retains is made anew after a restart
        }
        let gone = self.shared.retained_order.replace(number, replaced);
        Ok(RetainedChange::Set { number, gone, publisher })
    }

    /// Clears the retained message of a topic. If it has none, somebody else's record of that may not be stable: what is acknowledged has
    /// its own.
    fn clear_retained(&mut self, accepted: &AcceptedMessage, publisher: &Publisher) -> RetainedChange {
        let topic = &accepted.message.topic;
        let mut retained = self.shared.retained_mut();
        let before = retained.get(topic).map(|before| before.number);
        let changes = before.is_some() || accepted.qos > Qos::AtMostOnce;
        retained.clear(topic);
        if !changes || publisher.key.is_none() {
            return RetainedChange::None;
        }
        self.retained_open = true;
        let number = self.shared.retained_order.next(self.id);
        let gone = self.shared.retained_order.replace(number, before.into_iter().chain([number]));
        RetainedChange::Cleared { number, gone }
    }

    /// Forgets retained messages that have expired, and the records that count no more.
    pub(in crate::broker) fn expire_retained(&mut self, turn: &mut Turn<'_>) {
        let expired = self.shared.retained_mut().remove_expired(turn.now, RETAINED_SWEEP);
        self.shared.retained_order.expire(&expired);
        let numbers = self.shared.retained_order.sweep(self.id);
        self.retained_open = true;
        if !numbers.is_empty() {
            self.persist(Record::RetainedGone { numbers }, turn);
        }
    }
}

/// Expired retained messages removed in one tick at the most.
const RETAINED_SWEEP: usize = 10_000;
