//! Publishes Will Messages.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::counters::DropReason;
use crate::broker::persistence::record::InsteadOf;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::refusal::Refusal;
use crate::broker::report::{ClientLabel, Report, WillOutcome};
use crate::broker::shard::{Shard, Turn};
use crate::codec::Will;
use crate::session::Application;

impl Shard {
    /// Publishes the Will of the Session in `slot`, and removes it from the Session. [MQTT-3.1.2-8] [MQTT-3.1.2-10]
    pub(in crate::broker) fn publish_will(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Some(will) = entry.will.take() else { return };
        if let Some(refusal) = entry.will_refusal.take() {
            self.counters.dropped(DropReason::WillRefused, 1);
            let client_id = Some(entry.subscriber.client_id.clone());
            let Refusal { reason_code, rule, .. } = *refusal;
            let (client, topic) = (ClientLabel { client_id, ..ClientLabel::default() }, will.topic.as_str().into());
            let report = Report::Denied { client, packet: "Will", topic, reason_code, rule };
            return turn.actions.push(Action::Report(Box::new(report)));
        }
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            client_id: Some(entry.subscriber.client_id.clone()),
            origin: None,
            received: None,
            deduplicated: None,
            instead_of: entry.stored.then_some(InsteadOf::Will(entry.subscriber.key)),
        };
        let reported = self.detail.is_on().then(|| will.clone());
        let outcome = match self.accept(&publisher, application(*will), turn) {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => {
                WillOutcome::Published { receivers: self.receivers }
            }
            Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Pending(_) => {
                self.counters.dropped(DropReason::WillRefused, 1);
                WillOutcome::Discarded { cause: "a receiver's queue or the store has no room for it" }
            }
        };
        if let Some(will) = reported {
            self.report_will(slot, &will, outcome, turn);
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
