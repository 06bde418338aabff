//! Accepts a batch as a whole: its records are one group, which all copies and the answer wait for.

use std::sync::{Arc, RwLockWriteGuard};

use crate::broker::batch::members::BatchMember;
use crate::broker::batch::plan::{BatchPlan, PlannedMessage, Unplanned};
use crate::broker::counters::DropReason;
use crate::broker::persistence::durability::Durability;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::plan::{Admission, Copies};
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Qos, ReasonCode};
use crate::routing::RetainedStore;
use crate::session::{Application, Ticket};

/// An accepted batch.
#[derive(Debug)]
pub(super) struct AcceptedBatch {
    pub(super) reason_code: ReasonCode,
    /// The ticket that its answer waits for.
    pub(super) wait: Option<Ticket>,
    /// The number of its messages.
    pub(super) messages: usize,
}

impl Shard {
    /// Accepts all messages of a batch, or none of them.
    pub(super) fn accept_batch(
        &mut self,
        publisher: &Publisher,
        batch: &Application,
        members: Vec<BatchMember>,
        turn: &mut Turn<'_>,
    ) -> Result<AcceptedBatch, Unplanned> {
        let is_retained = |member: &BatchMember| member.application.retain && member.delay.is_none();
        // Locked before the routes are resolved and until the messages are retained: see `accept`.
        let shared = members.iter().any(is_retained).then(|| Arc::clone(&self.shared));
        let retained = shared.as_deref().map(|shared| shared.retained_mut());
        let plan = self.plan_batch(publisher, members, retained.as_deref(), turn)?;
        let (messages, level, waits) = (plan.messages.len(), plan.level, plan.waits);
        self.begin_group();
        let own = AcceptedMessage::without_content(batch).with_level(level);
        self.persist_accepted(publisher, own, Copies::default(), turn);
        let is_for_nobody = self.publish_members(publisher, plan, retained, turn);
        let after = self.copies_held_until(publisher);
        let ticket = self.end_group(level.max(Durability::Crash), after, turn);
        if let Some(ticket) = ticket
            && let Some(entry) = publisher.slot.and_then(|slot| self.sessions.get_mut(slot))
        {
            // Later messages must not overtake those of the batch. [MQTT-4.6.0-6]
            entry.copies_held_until = entry.copies_held_until.max(ticket);
        }
        let reason_code = if is_for_nobody { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success };
        Ok(AcceptedBatch { reason_code, wait: ticket.filter(|_| waits), messages })
    }

    /// Publishes the messages within the open group. Returns whether none of them has a receiver.
    fn publish_members(
        &mut self,
        publisher: &Publisher,
        plan: BatchPlan,
        mut retained: Option<RwLockWriteGuard<'_, RetainedStore>>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let BatchPlan { messages, admission, level, waits } = plan;
        let (mut plain, mut retaining) = (publisher.of_member(false), publisher.of_member(true));
        let mut accepted = Vec::with_capacity(messages.len());
        let is_told = self.shared.groups.exist() || self.wants_details(publisher);
        for PlannedMessage { application, delay, resolved, chosen, receipt } in messages {
            if delay.is_some() {
                accepted.push((Err((application, delay)), resolved, chosen, receipt));
                continue;
            }
            let id = (application.qos > Qos::AtMostOnce)
                .then(|| (self.identifiers.next_message_id(), self.journeys.admits(turn.now)));
            let retain = application.retain;
            let mut message = AcceptedMessage::new(application, id, (&resolved, false), turn.now);
            message.enter(level, (resolved.streams(), is_told));
            if let Some(retained) = retained.as_deref_mut().filter(|_| retain) {
                let order = &self.shared.retained_order;
                match self.retained.set((retained, order), &message, &retaining, turn.now) {
                    Ok(change) => message.retained = change,
                    // The plan has room for all.
                    Err(_) => self.counters.dropped(DropReason::RetainedFull, 1),
                }
            }
            accepted.push((Ok(message), resolved, chosen, receipt));
        }
        drop(retained);
        let (mut receivers, mut has_delayed) = (0, false);
        for (message, resolved, chosen, receipt) in accepted {
            match message {
                Ok(message) => {
                    let publisher = if message.retain { &mut retaining } else { &mut plain };
                    publisher.receipt = receipt;
                    let room = Admission::Whole(Arc::clone(&admission));
                    self.fan_out((&resolved, &chosen, room), publisher, (message, waits), turn);
                    receivers += self.receivers;
                }
                Err((application, Some(delay))) => {
                    self.postpone_counted(&plain, application, delay, turn);
                    has_delayed = true;
                }
                Err((_, None)) => {}
            }
        }
        self.receivers = receivers;
        receivers == 0 && !has_delayed
    }
}

impl Publisher {
    /// The publisher of a message of its batch. The Packet Identifier and the `dedup-id` are those of the batch.
    fn of_member(&self, retain: bool) -> Self {
        Self {
            key: self.key,
            slot: self.slot,
            client_id: self.client_id.clone().filter(|_| retain),
            owner: self.owner.clone().filter(|_| retain),
            origin: self.origin,
            received: None,
            deduplicated: None,
            instead_of: None,
            receipt: None,
            is_link: false,
        }
    }
}
