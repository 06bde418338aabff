//! Restores the recovered state of the previous run before the first connection.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::connection::last_end::LastEnd;
use crate::broker::directory::SubscriptionTerms;
use crate::broker::directory::state::Shared;
use crate::broker::persistence::record::{Deduplicated, ObsoleteRetained, Record, WillState};
use crate::broker::persistence::recovery::{Orphan, RecoveredSession};
use crate::broker::sessions::incidents::Incidents;
use crate::broker::sessions::rights::rights;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::name::is_stream;
use crate::broker::streams::window::restored_streams;
use crate::broker::timers::Timer;
use crate::codec::Subscription;
use crate::routing::{Access, Cleared, LimitsClass, Location, RetainedMessage, SessionKey, Subscriber};
use crate::session::Session;
use crate::timestamp::Timestamp;

impl Shared {
    /// Restores the retained messages of the previous run, and what is known of topics that have none. `gone` are the numbers of obsolete records; new numbers
    /// begin after all of these. Returns the messages that exceed the current limits; their records are deleted.
    pub fn restore(
        &self,
        now: Timestamp,
        (retained, cleared): (Vec<Arc<RetainedMessage>>, Vec<Arc<RetainedMessage>>),
        gone: ObsoleteRetained,
        sessions: impl Iterator<Item = SessionKey>,
    ) -> Vec<Arc<RetainedMessage>> {
        self.number_sessions_after(sessions.max());
        let gone_numbers = gone.messages.iter().chain(&gone.deletions).copied();
        let last = retained.iter().chain(&cleared).map(|retained| retained.number).chain(gone_numbers).max();
        let mut store = self.retained_mut();
        let mut obsolete = Vec::new();
        for cleared in &cleared {
            match cleared.message.id.filter(|_| self.cell.is_some()) {
                Some(id) => {
                    let cleared_at = Cleared { id, number: cleared.number };
                    obsolete.extend(store.note_cleared(&cleared.message.topic, cleared_at, now));
                }
                None => obsolete.push(cleared.number),
            }
        }
        if let Some(cell) = &self.cell {
            let changes = retained.iter().chain(&cleared).filter_map(|retained| retained.message.id);
            cell.observe(changes.map(|id| id.run).max().unwrap_or_default());
        }
        let too_many: Vec<_> =
            retained.into_iter().filter(|retained| store.set(RetainedMessage::clone(retained)).is_err()).collect();
        let ObsoleteRetained { mut messages, deletions } = gone;
        messages.extend(too_many.iter().map(|retained| retained.number).chain(obsolete));
        self.retained_order.restore(last.unwrap_or_default(), ObsoleteRetained { messages, deletions });
        too_many
    }
}

impl Shared {
    /// Restores the deduplication window of the previous run.
    pub fn restore_deduplication(&self, entries: &[Deduplicated]) {
        self.deduplication.restore(entries);
    }
}

impl Shard {
    /// Restores a Session of the previous run. `access` applies until its client connects again.
    ///
    /// If the Session was connected when the previous run ended, its Will Delay Interval and Session Expiry Interval count from
    /// `now`.
    pub fn restore(
        &mut self,
        now: Timestamp,
        recovered: RecoveredSession,
        access: Arc<Access>,
        actions: &mut Vec<Action>,
    ) {
        let turn = &mut Turn { now, actions };
        let RecoveredSession { key, client_id, owner, session_expiry_interval, detached_at, will, .. } = recovered;
        let access = if owner.is_link() { Arc::new(Access::everything()) } else { access.below(owner.mount_point()) };
        // Restored Sessions are admitted even if `sessions_max` is lower now.
        self.shared.admit_session(usize::MAX);
        let claim = self.shared.directory.restore(&client_id, self.id, &owner);
        let arriving = Location { shard: self.id, slot: Location::ARRIVING };
        let subscriber = Arc::new(Subscriber::new(key, client_id, arriving, Arc::clone(&access)));
        subscriber.set_durable(session_expiry_interval > 0);
        let next = recovered.queue.last_key_value().map_or(1, |(last, _)| last + 1);
        subscriber.set_next_sequence(next);
        let sent_until = recovered.sent_until;
        let gone = recovered.redeliveries.keys().filter(|sequence| !recovered.queue.contains_key(sequence));
        for sequence in gone.copied() {
            // Sequences may be used again by this run.
            self.persist(Record::RedeliveryRemoved { key, sequence }, turn);
        }
        let mut session = Session::restored(
            Arc::clone(self.limits.of(LimitsClass::GENERAL)),
            recovered.received,
            (recovered.queue, recovered.redeliveries),
            recovered.sent_until,
        );
        if recovered.message_ids {
            session.want_message_ids();
        }
        let (messages, bytes) = session.queued();
        subscriber.set_charged(messages, bytes);
        if access.has_rules() {
            session.recheck(next, rights(&access)); // the rules may have changed since the messages were accepted
        }
        let since = detached_at.unwrap_or(now);
        let (in_groups, others): (Vec<_>, Vec<_>) =
            recovered.subscriptions.into_iter().partition(|(subscription, _)| is_stream(&subscription.filter));
        let memberships = self.restored_memberships(in_groups, &owner);
        let has_shares = others.iter().any(|(subscription, _)| subscription.filter.share.is_some());
        let subscriptions: Vec<_> = others.iter().map(|(subscription, id)| (subscription, *id)).collect();
        let terms = SubscriptionTerms { strategy: self.settings.share_strategy, subscriptions_max: usize::MAX };
        let outcomes = self.shared.directory.subscribe(&subscriber, &subscriptions, terms);
        // A crash may lose the record of the previous holder of an exclusive subscription, which got no UNSUBACK. It keeps the subscription, and
        // this Session has an ordinary one: nothing that was acknowledged is lost.
        let pairs = subscriptions.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_none());
        for ((subscription, id), _) in pairs {
            let ordinary = Subscription { filter: subscription.filter.ordinary(), options: subscription.options };
            self.shared.directory.subscribe(&subscriber, &[(&ordinary, *id)], terms);
        }
        let mut incidents = Incidents::default();
        incidents.put_streams(Box::new(restored_streams(recovered.positions, &access)));
        let entry = SessionSlot {
            owner,
            incidents,
            session_expiry_interval,
            detached_at: since,
            last_end: Some(LastEnd::restored(detached_at.is_some())),
            will,
            stored: true,
            has_shares,
            ..SessionSlot::new(claim, session, subscriber)
        };
        let will = WillState::of(entry.will_at());
        let slot = self.insert_session(entry);
        self.note_link(slot);
        if let Some(entry) = self.sessions.get_mut(slot).filter(|_| !memberships.is_empty()) {
            *entry.incidents.need_groups() = memberships;
        }
        // An empty queue restarts its numbers at 1, so a greater `sent_until` does not apply to it.
        let is_outdated = detached_at.is_none() || sent_until > next;
        if is_outdated && session_expiry_interval > 0 {
            self.persist_detached(slot, will, turn);
        }
        self.schedule_session(slot);
        self.arm_redelivery(slot, now);
        if recovered.has_expired {
            // Not here: what becomes of dead letters is read from the store by a running shard.
            self.timers.set(now, Timer::ExpireQueue(slot, key));
        }
    }

    /// Deletes stored records that belong to no Session.
    ///
    /// Messages of shares move to other members first, but not before the first event: then all Sessions are restored.
    pub fn end_orphans(&mut self, orphans: Vec<Orphan>, actions: &mut Vec<Action>) {
        let turn = &mut Turn { now: Timestamp::default(), actions };
        for orphan in orphans {
            if orphan.messages.is_empty() {
                let ticket = self.persist(Record::SessionEnded { key: orphan.key }, turn);
                self.session_left_receipts(orphan.key, None, ticket, turn.now);
            } else {
                self.endings.keep_orphan(orphan);
            }
        }
    }
}
