//! Messages of groups that a member has refused: by a rule, they are sent again to any member, and become dead letters after the last attempt.
//!
//! The group has what is known of the refusals, and its position is what is stored of that. So a message is refused as often as a rule permits by all
//! members together, which may have transient Sessions, and a crash forgets the refusals since the last record.

use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::operator::drops::Lost;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::groups::memberships::InFlight;
use crate::broker::streams::groups::refusals::Refusal;
use crate::codec::{Message, ReasonCode};
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

impl Shard {
    /// The member in `slot` has refused a message of a group with an error.
    pub(in crate::broker) fn on_group_refused(
        &mut self,
        (slot, key): (usize, SessionKey),
        InFlight { group, sequence, delivery }: InFlight,
        reason_code: ReasonCode,
        turn: &mut Turn<'_>,
    ) {
        let sent = group.ledger().sent(sequence, delivery).map(|(message, refused)| (Arc::clone(message), refused));
        let Some((message, refused)) = sent else { return }; // it is not awaited any more
        let attempts = refused.saturating_add(1);
        let rule = self.settings.redelivery_rule(&message);
        let rule = rule.map(|rule| (rule.attempts, rule.backoff, rule.dead_letter_topic.clone()));
        if let Some((_, backoff, _)) = rule.as_ref().filter(|(attempts_max, ..)| attempts < *attempts_max) {
            let wait = backoff.after(attempts, self.identifiers.random());
            let refusal = Refusal { attempts, due: (turn.now + wait).max(Timestamp(1)) };
            self.counters.redeliveries_scheduled += 1;
            return self.change_group(&group, Some(key), |it| it.refuse(sequence, delivery, refusal), turn);
        }
        self.count_dropped(slot, key, DropReason::Refused, turn);
        if let (Some((_, _, topic)), Some(entry)) = (rule, self.sessions.get(slot)) {
            let to = Arc::clone(&entry.subscriber);
            let client_id = to.client_id.as_str();
            self.note_lost(Lost::several(client_id, 1, DropReason::Refused), turn);
            if let Some(topic) = topic.or_else(|| self.settings.dead_letter_topic.clone()) {
                let letter = with_place(&message, &group.name.name, sequence);
                let of = (client_id, attempts, reason_code.number());
                self.publish_refused(topic, (&letter, message.qos), of, turn);
                // A position that has passed the message must not survive a crash without its dead letter.
                group.ledger().saved.behind.insert(self.id, self.pipeline.last());
            }
        }
        self.change_group(&group, Some(key), |it| it.settle(sequence, delivery), turn);
    }

    /// Refused messages of a group are due.
    pub(in crate::broker) fn send_refused_again(&mut self, number: u64, turn: &mut Turn<'_>) {
        let Some(group) = self.shared.groups.get(number) else { return };
        let now = turn.now;
        self.change_group(&group, None, |ledger| ledger.send_again(now), turn);
    }
}

/// The message with the group that has refused it, and where it is in the stream, as User Properties.
fn with_place(message: &Message, group: &str, sequence: u64) -> Message {
    let sequence = sequence.to_string();
    let place = [("group", group), ("stream-sequence", &*sequence)];
    Message { properties: message.properties.behind_user_properties(place.into_iter()), ..message.clone() }
}
