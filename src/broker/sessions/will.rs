//! Publishes Will Messages.

use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::persistence::record::InsteadOf;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Will;
use crate::session::Application;

impl Shard {
    /// Publishes the Will of the Session in `slot`, and removes it from the Session. [MQTT-3.1.2-8] [MQTT-3.1.2-10]
    pub(in crate::broker) fn publish_will(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Some(will) = entry.will.take() else { return };
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            client_id: Some(entry.subscriber.client_id.clone()),
            origin: None,
            received: None,
            deduplicated: None,
            instead_of: entry.stored.then_some(InsteadOf::Will(entry.subscriber.key)),
        };
        match self.accept(&publisher, application(*will), turn) {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => {}
            Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Pending(_) => {
                self.counters.dropped(DropReason::WillRefused, 1)
            }
        }
    }
}

/// The message of a Will.
fn application(will: Will) -> Application {
    Application {
        message: Arc::new(will.message()),
        is_topic_copied: true,
        qos: will.qos,
        retain: will.retain,
        packet_id: None,
        message_expiry_interval: will.message_expiry_interval,
    }
}
