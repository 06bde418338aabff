//! Refuses a PUBLISH at QoS 1 or 2, and tells a 5.0 client why.

use bytestring::ByteString;

use crate::broker::publish::blocked::{BlockedMessage, WaitsFor};
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::session::{self, Application};

impl Shard {
    /// Answers a message that the client in `slot` may not publish. QoS 0 has no answer.
    #[cold]
    pub(in crate::broker) fn refuse_publish(
        &mut self,
        slot: usize,
        application: &Application,
        reason_code: ReasonCode,
        turn: &mut Turn<'_>,
    ) {
        let fault = if reason_code == ReasonCode::TopicNameInvalid {
            self.topic_fault(application.message.topic.as_str())
        } else {
            None
        };
        let sentence = fault.map_or(NOT_AUTHORIZED, ByteString::from);
        self.answer_refused(slot, application, (reason_code, sentence), turn);
    }

    /// Answers a message for which there is no room.
    #[cold]
    pub(in crate::broker) fn refuse_full(&mut self, slot: usize, blocked: &BlockedMessage, turn: &mut Turn<'_>) {
        let sentence = match blocked.waits_for {
            WaitsFor::Queue(_) => "the queue of a receiver is full; send the message again later",
            WaitsFor::Disk => "the store of the broker is full; send the message again later",
            WaitsFor::Deduplication => "a message with the same dedup-id is not stored yet",
        };
        let sentence = ByteString::from_static(sentence);
        self.answer_refused(slot, &blocked.application, (ReasonCode::QuotaExceeded, sentence), turn);
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

    /// Why clients cannot use a Topic Name or Topic Filter, whoever they are. `None`: they can.
    pub(in crate::broker) fn topic_fault(&self, topic: &str) -> Option<String> {
        let (length_max, levels_max) = (self.settings.topic_length_max, self.settings.topic_levels_max);
        let (length, levels) = (topic.len(), topic.split('/').count());
        if length > length_max {
            return Some(format!("the topic has {length} bytes, more than topic_length_max ({length_max})"));
        }
        if levels > levels_max {
            return Some(format!("the topic has {levels} levels, more than topic_levels_max ({levels_max})"));
        }
        topic.starts_with("$SYS/").then(|| "topics that begin with $SYS/ belong to the broker".into())
    }
}

/// No access rule is named.
const NOT_AUTHORIZED: ByteString = ByteString::from_static("not authorized to publish to this topic");
