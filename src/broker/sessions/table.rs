//! The Sessions of one shard, their claims, and the state of Sessions that are moving to or from this shard.
//!
//! A shard has a Session by a claim: the CONNECT that made this shard the holder of the Client Identifier (see
//! [`takeover`](super::takeover)). A claim is *pending* until the Session arrives; from then on the Session has a *slot*. Any other claim
//! has ended, or its Session has moved to another shard.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use crate::broker::connection::state::Connecting;
use crate::broker::counters::Counters;
use crate::broker::directory::claim::{Claim, Claimant};
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::pipeline::CommitPipeline;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::sessions::slot::SessionSlot;
use crate::routing::{Location, SessionKey, ShardId, Subscriber};
use crate::session::Ticket;

/// The Sessions of a shard.
///
/// Invariants: `by_claim` maps the claim of each slot to the slot; a claim that has a slot is not pending; the location of each
/// Session's subscriber is its slot.
#[derive(Debug)]
pub(in crate::broker) struct SessionTable {
    shard: ShardId,
    slots: Slab<SessionSlot>,
    /// Those of the slots that have the messages for, or from, another cell.
    links: usize,
    /// The slot of each Session by its claim, which the slot has.
    by_claim: HashTable<u32>,
    hasher: RandomState,
    /// Claims whose Session has not arrived yet. At most one claim of each Session keeps its CONNECT. Each earlier one keeps a claimant of a
    /// few bytes, until the records of the Session are stable and it moves.
    pending: HashMap<Claim, PendingClaim, RandomState>,
    early: HashMap<SessionKey, Vec<EarlyMessage>, RandomState>,
    departures: Vec<Departure>,
}

/// What happens to the Session of a pending claim when it arrives.
#[derive(Debug)]
pub(in crate::broker) enum PendingClaim {
    /// It serves the waiting CONNECT, whose connection may have closed meanwhile.
    Waiting { connection: ConnectionId, connecting: Box<Connecting> },
    /// It is passed on to a later CONNECT.
    PassOn(Claimant),
}

/// A QoS 1 or 2 message that arrived before its Session.
type EarlyMessage = (Arc<Subscriber>, SequencedDelivery);

/// A Session that another CONNECT claimed before its records were stable. It moves when `ticket` is stable.
#[derive(Debug)]
struct Departure {
    ticket: Ticket,
    claim: Claim,
    claimant: Claimant,
}

impl SessionTable {
    pub(in crate::broker) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            slots: Slab::new(),
            links: 0,
            by_claim: HashTable::new(),
            hasher: RandomState::default(),
            pending: HashMap::default(),
            early: HashMap::default(),
            departures: Vec::new(),
        }
    }

    #[inline]
    pub(in crate::broker) fn get(&self, slot: usize) -> Option<&SessionSlot> {
        self.slots.get(slot)
    }

    #[inline]
    pub(in crate::broker) fn get_mut(&mut self, slot: usize) -> Option<&mut SessionSlot> {
        self.slots.get_mut(slot)
    }

    pub(in crate::broker) fn contains(&self, slot: usize) -> bool {
        self.slots.contains(slot)
    }

    /// The Session in `slot`, if it has this key.
    #[inline]
    pub(in crate::broker) fn with_key(&self, slot: usize, key: SessionKey) -> Option<&SessionSlot> {
        self.slots.get(slot).filter(|entry| entry.subscriber.key == key)
    }

    /// The upper bound of all slots in use.
    pub(in crate::broker) fn slots_end(&self) -> usize {
        self.slots.capacity()
    }

    /// The slot of the Session with this claim.
    pub(in crate::broker) fn slot_of(&self, claim: Claim) -> Option<usize> {
        let has_claim = |slot: &u32| self.slots.get(*slot as usize).is_some_and(|entry| entry.claim == claim);
        self.by_claim.find(self.hasher.hash_one(claim), has_claim).map(|slot| *slot as usize)
    }

    /// Inserts a Session, and sets the location of its subscriber to the slot.
    pub(in crate::broker) fn insert(&mut self, entry: SessionSlot, counters: &mut Counters) -> usize {
        let (claim, subscriber, queued) = (entry.claim, Arc::clone(&entry.subscriber), entry.session.queued());
        counters.in_flight_changed(0, entry.session.in_flight());
        assert!(self.slot_of(claim).is_none(), "two sessions have one claim");
        self.links += usize::from(entry.owner.is_link());
        let slot = self.slots.insert(entry);
        let number = u32::try_from(slot).unwrap_or(Location::ENDED);
        self.link_claim(claim, number);
        subscriber.set_location(Location { shard: self.shard, slot: number });
        counters.queue_changed((0, 0), queued);
        self.count(counters);
        slot
    }

    /// Removes a Session that ends or moves to another shard. The caller sets the new location of its subscriber.
    pub(in crate::broker) fn remove(&mut self, slot: usize, counters: &mut Counters) -> Option<SessionSlot> {
        let entry = self.slots.try_remove(slot)?;
        self.links -= usize::from(entry.owner.is_link());
        self.unlink_claim(entry.claim, slot);
        counters.queue_changed(entry.session.queued(), (0, 0));
        counters.in_flight_changed(entry.session.in_flight(), 0);
        self.count(counters);
        Some(entry)
    }

    /// Gives the Session in `slot` to a later claim of this shard.
    pub(in crate::broker) fn change_claim(&mut self, slot: usize, claim: Claim) {
        assert!(self.slot_of(claim).is_none(), "two sessions have one claim");
        let Some(entry) = self.slots.get_mut(slot) else { return };
        let before = std::mem::replace(&mut entry.claim, claim);
        let number = self.unlink_claim(before, slot);
        self.link_claim(claim, number);
    }

    fn link_claim(&mut self, claim: Claim, number: u32) {
        let Self { by_claim, hasher, slots, .. } = self;
        let hash_of = |slot: &u32| slots.get(*slot as usize).map_or(0, |entry| hasher.hash_one(entry.claim));
        by_claim.insert_unique(hasher.hash_one(claim), number, hash_of);
    }

    fn unlink_claim(&mut self, claim: Claim, slot: usize) -> u32 {
        let found = self.by_claim.find_entry(self.hasher.hash_one(claim), |number| *number as usize == slot);
        let removed = found.ok().map(|found| found.remove().0);
        assert!(removed.is_some(), "a session is not found by its claim");
        removed.unwrap_or(Location::ENDED)
    }

    /// Updates the gauge after `insert` and `remove`.
    fn count(&self, counters: &mut Counters) {
        assert_eq!(self.slots.len(), self.by_claim.len(), "each session has one claim");
        counters.sessions = (self.slots.len() - self.links) as u64;
    }

    /// Adds a pending claim with its CONNECT; [`end_claim`](Self::end_claim) removes it.
    pub(in crate::broker) fn begin_claim(
        &mut self,
        claim: Claim,
        connection: ConnectionId,
        connecting: Box<Connecting>,
    ) {
        let other = self.pending.insert(claim, PendingClaim::Waiting { connection, connecting });
        assert!(other.is_none() && self.slot_of(claim).is_none(), "a claim is made once");
    }

    /// If `claim` is pending, its Session will be passed on to `claimant`. Returns the previous state of the claim.
    pub(in crate::broker) fn pass_on(&mut self, claim: Claim, claimant: Claimant) -> Option<PendingClaim> {
        let pending = self.pending.get_mut(&claim)?;
        Some(std::mem::replace(pending, PendingClaim::PassOn(claimant)))
    }

    /// Removes a pending claim, because its Session has arrived or there is none.
    pub(in crate::broker) fn end_claim(&mut self, claim: Claim) -> Option<PendingClaim> {
        self.pending.remove(&claim)
    }

    /// Keeps a QoS 1 or 2 message for a Session that has not arrived yet.
    ///
    /// The sequence of each message must reach the Session, because a gap would block its queue, so no message is dropped here. Time bounds
    /// the number of messages: the old shard changes the location and surrenders the Session in the same turn, and the Session is in the
    /// mailbox of this shard before any message that is sent after that turn. So only messages that are sent during one turn of the old shard
    /// arrive early. With `reject` and `drop-newest` their room in the queue is reserved, too. On arrival the Session applies its bounds to
    /// all of them.
    pub(in crate::broker) fn keep_early(&mut self, to: &Arc<Subscriber>, sequenced: SequencedDelivery) {
        self.early.entry(to.key).or_default().push((Arc::clone(to), sequenced));
    }

    /// Takes the messages that arrived before their Session, in order of arrival.
    pub(in crate::broker) fn take_early(&mut self, key: SessionKey) -> Vec<EarlyMessage> {
        self.early.remove(&key).unwrap_or_default()
    }

    /// Delays the move of the Session of `claim` to `claimant` until `ticket` is stable. A claim has one claimant, so the number of departures is
    /// bounded by the number of pending claims of all shards.
    pub(in crate::broker) fn delay_departure(&mut self, ticket: Ticket, claim: Claim, claimant: Claimant) {
        debug_assert!(self.departures.iter().all(|other| other.claim != claim), "two claimants of one session");
        self.departures.push(Departure { ticket, claim, claimant });
    }

    /// Takes the departures whose ticket is stable.
    pub(in crate::broker) fn take_departures(&mut self, pipeline: &CommitPipeline) -> Vec<(Claim, Claimant)> {
        let is_ready = |departure: &mut Departure| pipeline.is_stable(departure.ticket);
        self.departures.extract_if(.., is_ready).map(|departure| (departure.claim, departure.claimant)).collect()
    }

    #[cfg(test)]
    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = (usize, &SessionSlot)> {
        self.slots.iter()
    }

    /// Whether no Session is moving to or from this shard.
    #[cfg(test)]
    pub(in crate::broker) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.early.is_empty() && self.departures.is_empty()
    }

    /// Asserts all invariants.
    #[cfg(test)]
    pub(in crate::broker) fn check(&self) {
        assert_eq!(self.slots.len(), self.by_claim.len());
        for (slot, entry) in &self.slots {
            assert_eq!(self.slot_of(entry.claim), Some(slot), "a claim maps to its slot");
            let here = Location { shard: self.shard, slot: u32::try_from(slot).unwrap() };
            assert_eq!(entry.subscriber.location(), here, "the location is the slot");
        }
        for claim in self.pending.keys() {
            assert!(self.slot_of(*claim).is_none(), "a pending claim has no session yet");
        }
        for (key, messages) in &self.early {
            assert!(
                !messages.is_empty()
                    && messages.iter().all(|(to, sequenced)| { to.key == *key && sequenced.sequence.is_some() })
            );
            assert!(
                self.slots.iter().all(|(_, entry)| entry.subscriber.key != *key),
                "the session has not arrived yet"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::directory::claim::Takes;
    use crate::broker::owner::Owner;
    use crate::codec::{ClientId, Connect, Message, ProtocolVersion, Qos};
    use crate::routing::Access;
    use crate::session::{Delivery, DeliveryPlace, Limits, QueueHead, Session};
    use crate::timestamp::Timestamp;
    use crate::topic::TopicName;

    const HERE: ShardId = ShardId(3);

    fn table() -> (SessionTable, Counters) {
        (SessionTable::new(HERE), Counters::default())
    }

    fn session(claim: u64) -> SessionSlot {
        let limits = Limits {
            receive_maximum: 10,
            validate_payload_format: false,
            queued_messages_max: 10,
            queued_bytes_max: 10_000,
            subscriptions_max: 10,
            inflight_bytes_max: usize::MAX,
            drops_oldest: true,
            queue_head: QueueHead::default(),
            has_dead_letters: false,
            refused: Default::default(),
            is_memory_short: false,
            keeps_expired: false,
        };
        let arriving = Location { shard: HERE, slot: Location::ARRIVING };
        let access = Arc::new(Access::everything());
        let subscriber = Subscriber::new(SessionKey(claim), ClientId::from("c"), arriving, access);
        SessionSlot::new(Claim(claim), Session::new(Arc::new(limits), 1), Arc::new(subscriber))
    }

    fn connecting() -> Box<Connecting> {
        let client_id = ClientId::from("c");
        Box::new(Connecting {
            connect: Connect::new(ProtocolVersion::V5, "c", true),
            client_id,
            assigned: false,
            owner: Owner::Anonymous,
            authentication_data: None,
        })
    }

    const CONNECTION: ConnectionId = ConnectionId { slot: 0, generation: 1 };

    fn claimant(claim: u64) -> Claimant {
        Claimant { claim: Claim(claim), shard: HERE, takes: Takes::Session }
    }

    #[test]
    fn session_is_found_by_slot_key_and_claim_until_it_is_removed() {
        let (mut table, mut counters) = table();
        let slot = table.insert(session(7), &mut counters);
        assert_eq!(counters.sessions, 1);
        assert!(table.contains(slot) && table.get(slot).is_some() && table.get_mut(slot).is_some());
        assert!(table.with_key(slot, SessionKey(7)).is_some() && table.with_key(slot, SessionKey(8)).is_none());
        assert_eq!((table.slot_of(Claim(7)), table.slot_of(Claim(8))), (Some(slot), None));
        table.check();
        assert!(table.remove(slot, &mut counters).is_some_and(|entry| entry.claim == Claim(7)));
        assert!(table.remove(slot, &mut counters).is_none());
        assert_eq!((counters.sessions, table.slot_of(Claim(7))), (0, None));
        table.check();
    }

    #[test]
    fn session_is_found_by_its_new_claim_only() {
        let (mut table, mut counters) = table();
        let slot = table.insert(session(7), &mut counters);
        table.change_claim(slot, Claim(9));
        assert_eq!((table.slot_of(Claim(7)), table.slot_of(Claim(9))), (None, Some(slot)));
        table.check();
        assert!(table.remove(slot, &mut counters).is_some_and(|entry| entry.claim == Claim(9)));
        table.check();
    }

    #[test]
    #[should_panic(expected = "one claim")]
    fn claim_is_changed_to_an_unused_one() {
        let (mut table, mut counters) = table();
        let slot = table.insert(session(1), &mut counters);
        table.insert(session(2), &mut counters);
        table.change_claim(slot, Claim(2));
    }

    #[test]
    #[should_panic(expected = "one claim")]
    fn claim_has_one_session() {
        let (mut table, mut counters) = table();
        table.insert(session(1), &mut counters);
        table.insert(session(1), &mut counters);
    }

    #[test]
    #[should_panic(expected = "made once")]
    fn claim_with_a_session_cannot_be_pending() {
        let (mut table, mut counters) = table();
        table.insert(session(1), &mut counters);
        table.begin_claim(Claim(1), CONNECTION, connecting());
    }

    #[test]
    fn pending_claim_is_passed_on_and_ends_once() {
        let (mut table, _) = table();
        table.begin_claim(Claim(1), CONNECTION, connecting());
        let before = table.pass_on(Claim(1), claimant(2));
        assert!(matches!(before, Some(PendingClaim::Waiting { connection: CONNECTION, .. })));
        assert!(table.pass_on(Claim(2), claimant(3)).is_none());
        let pending = table.end_claim(Claim(1));
        assert!(matches!(pending, Some(PendingClaim::PassOn(Claimant { claim: Claim(2), .. }))));
        assert!(table.end_claim(Claim(1)).is_none() && table.is_settled());
    }

    #[test]
    fn early_messages_are_kept_in_order_for_their_session() {
        let (mut table, _) = table();
        let (to, other) = (session(1).subscriber, session(2).subscriber);
        for (subscriber, sequence) in [(&to, 5), (&other, 1), (&to, 4)] {
            let message = Arc::new(Message::new(TopicName::new("t".into()).unwrap(), ""));
            let delivery = Delivery {
                message,
                qos: Qos::AtLeastOnce,
                retain: false,
                expires_at: Timestamp::NEVER,
                matched: None,
                place: DeliveryPlace::Memory,
            };
            table.keep_early(subscriber, SequencedDelivery { sequence: Some(sequence), delivery, routed: 0 });
        }
        table.check();
        let mut taken = |key| {
            let messages = table.take_early(SessionKey(key)).into_iter();
            messages.filter_map(|(_, sequenced)| sequenced.sequence).collect::<Vec<_>>()
        };
        assert_eq!([taken(1), taken(1), taken(2)], [vec![5, 4], vec![], vec![1]]);
    }

    #[test]
    fn sessions_move_when_their_ticket_is_stable() {
        let (mut table, _) = table();
        let mut pipeline = CommitPipeline::default();
        let tickets = [pipeline.issue(), pipeline.issue(), pipeline.issue()];
        for (ticket, claim) in tickets.into_iter().zip([3, 1, 2]) {
            table.delay_departure(ticket, Claim(claim), claimant(claim + 10));
        }
        assert!(table.take_departures(&pipeline).is_empty());
        pipeline.advance(tickets[1]);
        let leave = |table: &mut SessionTable, pipeline: &CommitPipeline| {
            let claims = table.take_departures(pipeline).into_iter();
            claims.map(|(claim, claimant)| (claim.0, claimant.claim.0)).collect::<Vec<_>>()
        };
        assert_eq!(leave(&mut table, &pipeline), [(3, 13), (1, 11)]);
        assert!(leave(&mut table, &pipeline).is_empty());
        pipeline.advance(tickets[2]);
        assert_eq!(leave(&mut table, &pipeline), [(2, 12)]);
    }

    proptest! {
        #[test]
        fn any_order_of_inserts_and_removes_keeps_the_invariants(steps in prop::collection::vec((0..20_u64, any::<bool>()), 1..100)) {
            let (mut table, mut counters) = table();
            let mut here = std::collections::BTreeMap::new();
            for (claim, comes) in steps {
                match here.remove(&claim) {
                    Some(slot) if !comes => {
                        let entry = table.remove(slot, &mut counters);
                        prop_assert!(entry.is_some_and(|entry| entry.claim == Claim(claim)));
                    }
                    Some(slot) => _ = here.insert(claim, slot),
                    None => _ = here.insert(claim, table.insert(session(claim), &mut counters)),
                }
                table.check();
                prop_assert_eq!(counters.sessions, here.len() as u64);
                for (claim, slot) in &here {
                    prop_assert_eq!(table.slot_of(Claim(*claim)), Some(*slot));
                }
            }
        }
    }
}
