//! Refuses a PUBLISH at QoS 1 or 2, and tells a 5.0 client why.

use bytestring::ByteString;

use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::publish::blocked::BlockedMessage;
use crate::broker::publish::refusal::Refusal;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::session::{self, Application};

impl Shard {
    /// Answers a message that the client in `slot` may not publish. QoS 0 has no answer.
    ///
    /// 3.1 and 3.1.1 have no negative acknowledgement: a message that the client may not publish is acknowledged and dropped
    /// [MQTT-3.3.5-2], because it would be denied again. One beyond a limit ends the connection, because the client would take an
    /// acknowledgement for a delivery. [MQTT-4.8.0-1]
    #[cold]
    pub(in crate::broker) fn refuse_publish(
        &mut self,
        slot: usize,
        application: &Application,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) {
        let id = self.sessions.get(slot).and_then(|entry| entry.connection);
        let can_refuse = id.and_then(|id| self.connection(id)).is_some_and(|c| c.version.has_properties());
        let Refusal { reason_code, rule, sentence, is_limit, .. } = refusal;
        match application.packet_id {
            Some(packet_id) if is_limit && !can_refuse => {
                self.end_for_limit(slot, (application.qos, packet_id), (reason_code, &rule), turn);
            }
            _ => self.answer_refused(slot, application, (reason_code, sentence), turn),
        }
    }

    /// Answers a message for which there is no room.
    #[cold]
    pub(in crate::broker) fn refuse_full(&mut self, slot: usize, blocked: &BlockedMessage, turn: &mut Turn<'_>) {
        let (reason_code, reason) = (ReasonCode::QuotaExceeded, blocked.waits_for.reason_text());
        if let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) {
            let topic = Some(blocked.application.message.topic.as_str());
            let (action, reason) = (RefusedAction::Publish, Some(reason));
            self.note_refusal(id, Refused { action, reason_code, rule: None, reason, topic }, turn);
        }
        self.answer_refused(slot, &blocked.application, (reason_code, ByteString::from_static(reason)), turn);
    }

    fn answer_refused(
        &mut self,
        slot: usize,
        application: &Application,
        (reason_code, sentence): (ReasonCode, ByteString),
        turn: &mut Turn<'_>,
    ) {
        let qos = application.qos;
        if let Some(packet_id) = application.packet_id {
            self.drive(slot, session::Event::Refused { packet_id, qos, reason_code, sentence }, turn);
        }
    }

    /// The limit that a Topic Name or Topic Filter exceeds, in words for the log and the client. `None`: it exceeds none.
    pub(in crate::broker) fn topic_fault(&self, topic: &str) -> Option<String> {
        let (length_max, levels_max) = (self.settings.topic_length_max, self.settings.topic_levels_max);
        let (length, levels) = (topic.len(), topic.split('/').count());
        if length > length_max {
            return Some(format!("the topic has {length} bytes, more than topic_length_max ({length_max})"));
        }
        (levels > levels_max)
            .then(|| format!("the topic has {levels} levels, more than topic_levels_max ({levels_max})"))
    }
}
