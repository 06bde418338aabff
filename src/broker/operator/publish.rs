//! Publishes messages of operators.

use std::sync::Arc;

use crate::broker::operator::query::{OperatorMessage, Publication, Unpublished};
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::sys::SysPublisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;
use crate::routing::Access;
use crate::session::{Application, Ticket};

impl Shard {
    /// Publishes a message as a client without access rules could. Returns the ticket that its answer waits for.
    ///
    /// It has no Session and no connection: it can neither wait for room nor be paused, so it is refused where a client would be.
    pub(super) fn publish_of_operator(
        &mut self,
        OperatorMessage { message, qos, retain, message_expiry_interval }: &OperatorMessage,
        turn: &mut Turn<'_>,
    ) -> (Result<Publication, Unpublished>, Option<Ticket>) {
        let (qos, retain) = (*qos, *retain);
        let everything = Access::everything();
        // The states of the broker's own bridges take this way, too.
        let operator = SysPublisher { client_id: None, access: &everything, is_bridge: true };
        if let Err(refusal) = self.judge_publish(operator, &message.topic, message.payload.len()) {
            return (Err(Unpublished::Refused(refusal.sentence.to_string())), None);
        }
        let refusal = if qos > self.settings.maximum_qos {
            Some(Unpublished::Refused(format!("the QoS is above the maximum, {}", self.settings.maximum_qos as u8)))
        } else if retain && !self.settings.retain_available {
            Some(Unpublished::Refused("retained messages are not available".to_owned()))
        } else if self.flow.is_store_congested() && (qos > Qos::AtMostOnce || retain) {
            Some(Unpublished::Busy("too many records wait for the disk; send the message again later"))
        } else if self.flow.has_full_shards() {
            Some(Unpublished::Busy("a shard is overloaded; send the message again later"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return (Err(refusal), None);
        }
        // A retained message of several cells has another identity, and no journey.
        let has_journey = qos > Qos::AtMostOnce && !(retain && self.shared.cell.is_some());
        let message_id = has_journey.then(|| self.identifiers.following_message_id());
        let application = Application {
            message: Arc::new(message.clone()),
            is_topic_copied: true,
            qos,
            retain,
            packet_id: None,
            message_expiry_interval: *message_expiry_interval,
        };
        match self.accept(&Publisher::operator(), application, turn) {
            Verdict::Answer { reason_code, .. } if reason_code.is_error() => (
                Err(Unpublished::Busy("no room for a retained message: a limit of them or of the memory is reached")),
                None,
            ),
            Verdict::Answer { wait, .. } => (Ok(Publication { matched: self.receivers, message_id }), wait),
            Verdict::Full(blocked) | Verdict::Pending(blocked) => {
                (Err(Unpublished::Busy(blocked.waits_for.reason_text())), None)
            }
        }
    }
}
