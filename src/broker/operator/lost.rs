//! Tells operators which messages are not delivered.

use crate::broker::action::Action;
use crate::broker::counters::DropReason;
use crate::broker::operator::drops::Lost;
use crate::broker::report::{ClientLabel, LostMessages, Report};
use crate::broker::shard::{Shard, Turn};
use crate::codec::ClientId;
use crate::routing::{Location, Subscriber};
use crate::session::Delivery;

impl Shard {
    /// Notes dropped messages in the log of drops, and reports them if that is wanted. The caller counts them.
    pub(in crate::broker) fn note_lost(&mut self, lost: Lost<'_>, turn: &mut Turn<'_>) {
        self.operator.drops.note(turn.now, lost);
        if self.detail.is_on() && lost.count > 0 {
            self.report_lost(lost, turn);
        }
    }

    /// The same for a message that is dropped before it is in the queue of its receiver: it becomes part of its journey, too. The journey of a message
    /// that a Session drops from its queue is told by the Session.
    pub(in crate::broker) fn note_undelivered(
        &mut self,
        to: &Subscriber,
        delivery: &Delivery,
        reason: DropReason,
        turn: &mut Turn<'_>,
    ) {
        if let Some(id) = delivery.message.id.filter(|_| delivery.message.is_noted) {
            let receiver = (to.key, &to.client_id, to.location().slot == Location::ENDED);
            self.journeys.dropped(id, receiver, reason, turn.now);
        }
        self.note_lost(Lost::delivery(to.client_id.as_str(), delivery, reason), turn);
    }

    #[cold]
    fn report_lost(&self, lost: Lost<'_>, turn: &mut Turn<'_>) {
        let Lost { client_id, topic, qos, reason, count, message_id } = lost;
        let client_id = ClientId::from(client_id);
        if !self.detail.wants(Some(&client_id)) {
            return;
        }
        let slot = self.slot_of(&client_id);
        let client = ClientLabel { client_id: Some(client_id), ..ClientLabel::default() };
        let client = slot.map_or(client, |slot| self.label_of_session(slot));
        let messages = Box::new(LostMessages { topic: topic.map(Into::into), qos, reason, count, message_id });
        turn.actions.push(Action::Report(Box::new(Report::Lost { client, messages })));
    }
}
