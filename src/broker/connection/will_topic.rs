//! Decides at CONNECT whether a client may have its Will.

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::batch::topic::ONLY_BATCHES;
use crate::broker::connection::cause::Cause;
use crate::broker::connection::state::Connecting;
use crate::broker::ids::ConnectionId;
use crate::broker::mount::mount_will;
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::publish::refusal::Refusal;
use crate::broker::publish::sys::is_sys;
use crate::broker::report::Report;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;

impl Shard {
    /// Whether the client may publish to the topic of its Will in the end: that of the rewrite rules, behind `$delayed/SECONDS/`. Otherwise refuses
    /// CONNECT.
    pub(in crate::broker) fn accepts_will(
        &mut self,
        id: ConnectionId,
        connecting: &mut Connecting,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(will) = &mut connecting.connect.will else { return true };
        if is_sys(&will.topic) {
            return true; // judged in `attach`
        }
        let topic = self.rewritten_topic(id, &will.topic).and_then(|topic| {
            will.topic = topic.unwrap_or_else(|| will.topic.clone());
            let mount_point = self.connection(id).and_then(|connection| connection.access.mount_point());
            if let Some(mount_point) = mount_point {
                mount_will(mount_point, will, self.settings.delayed_publish).map_err(Refusal::unmountable)?;
            }
            if !self.within_limits(will.topic.as_str()) {
                return Err(Refusal::by_limit(LONG_TOPIC));
            }
            let (delay, topic) = self.final_topic(&will.topic)?;
            if self.is_for_batches(&topic) { Err(Refusal::by_limit(ONLY_BATCHES)) } else { Ok((delay, topic)) }
        });
        let topic = match topic {
            Ok((_, topic)) => topic,
            Err(refusal) => {
                let cause = Cause::private(refusal.sentence, "the Will Topic is not accepted");
                self.refuse(id, refusal.reason_code, cause, turn);
                return false;
            }
        };
        let Some(connection) = self.connection(id) else { return false };
        let Err(denied) = connection.access.publish(&topic) else { return true };
        let (client, topic) = (connection.label(), ByteString::from(topic.as_str()));
        let (reason_code, rule) = (ReasonCode::NotAuthorized, ByteString::from(denied.to_string()));
        let action = RefusedAction::Connect;
        let refused = Refused { action, reason_code, rule: Some(&rule), reason: None, topic: Some(&topic) };
        self.operator.refusals.note(turn.now, &client, refused);
        let report = Report::Denied { client, packet: "CONNECT", topic, reason_code, rule };
        self.counters.denied += 1;
        turn.actions.push(Action::Report(Box::new(report)));
        let cause = "not authorized to publish to its Will Topic".into();
        self.refuse(id, ReasonCode::NotAuthorized, cause, turn);
        false
    }
}

const LONG_TOPIC: &str = "the Will Topic exceeds topic_length_max or topic_levels_max after rewrite rules and with the mount point of the client";
