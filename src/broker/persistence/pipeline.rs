//! The commit pipeline: the tickets of records, and the messages and answers that wait for their commit.
//!
//! This is how a packet waits for the disk:
//!
//! 1. **Ticket.** Each shard numbers the records that it passes to the store: 1, 2, 3, … [`issue`](CommitPipeline::issue) takes the next
//!    ticket, and [`Action::Persist`](crate::broker::Action::Persist) passes the record to the store with it.
//! 2. **Stable.** The store commits in the order of the tickets, many records at a time (group commit). `Event::Persisted(n)` reports that
//!    all tickets up to *n* have the durability of their records: [`advance`](CommitPipeline::advance).
//! 3. **Waiting.** Three queues, each ordered by ticket, wait for tickets to be stable:
//!    - *Messages to receivers* ([`Outstanding`], added by [`defer`](CommitPipeline::defer)). A message for a durable Session is delivered
//!      to it when the record that contains the message is stable.
//!    - *Answers to a client* ([`WaitingAnswer`], added by [`await_answer`](CommitPipeline::await_answer)): CONNACK, PUBACK, PUBREC,
//!      PUBREL, PUBCOMP, SUBACK and UNSUBACK of a durable Session. The [`Session`](crate::session::Session) holds the packet back, in
//!      order with the other packets of its connection; the pipeline stores which Session to notify.
//!
//!    - *Closes* (added by [`await_close`](CommitPipeline::await_close)): DISCONNECT 0x00 discards the Will, and the client may rely on that when
//!      it sees the connection closed.
//!
//! After each `advance`, the shard first takes all stable messages, then all answers. So a PUBACK is never sent before the message
//! that it acknowledges is in the queue of each receiver.
//!
//! # A QoS 2 message, step by step
//!
//! The publisher P and the subscriber S have durable Sessions on one shard, whose last ticket is 100. P publishes with Packet
//! Identifier 7. The message gets sequence 41 in the queue of S, which makes its Packet Identifier there 41 as well.
//!
//! | step | what happens | record and ticket | what waits |
//! | --- | --- | --- | --- |
//! | 1 | P sends PUBLISH 7 | 101 `Accepted`: message 41 in the queue of S **and** identifier 7 in the received set of P | PUBLISH 41 to S and PUBREC 7 to P, both for 101 |
//! | 2 | `Persisted(101)` | | nothing: PUBLISH 41 is sent, then PUBREC 7 |
//! | 3 | P sends PUBREL 7 | 102 `ReceivedReleased`: identifier 7 is free | PUBCOMP 7 to P, for 102 |
//! | 4 | S sends PUBREC 41 | 103 `OutboundReleased`: S has message 41 | PUBREL 41 to S, for 103 |
//! | 5 | `Persisted(103)` | | nothing: one commit had both records; PUBCOMP 7 and PUBREL 41 are sent |
//! | 6 | S sends PUBCOMP 41 | 104 `Done`: message 41 is deleted | nothing waits for 104 |
//!
//! If the process crashes between two steps, the next run recovers the records up to the last stable ticket. After step 1 without
//! step 2, no receiver has got the message, and P sends PUBLISH 7 again. After step 2, identifier 7 is in the received set, and a
//! resent PUBLISH 7 is answered but not routed. After step 4 without step 5, the next run sends PUBLISH 41 again with DUP, which S
//! recognizes, because PUBREL 41 has not been sent.
//!
//! # Invariants
//!
//! Each method asserts the invariants that it could violate:
//!
//! - No message or answer is taken before its ticket is stable, and none waits for a ticket that was not issued.
//! - Tickets become stable in order, and only issued tickets do.
//! - All queues are ascending by ticket.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::persistence::record::Addressed;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::routing::{SessionKey, Subscriber};
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// How long the end of a connection waits for the disk.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(30);

/// The tickets of one shard, and the messages and answers that wait for them.
#[derive(Debug, Default)]
pub(in crate::broker) struct CommitPipeline {
    /// The last ticket that was issued.
    last: Ticket,
    /// All tickets up to this one are stable.
    stable: Ticket,
    /// Messages that are delivered when their ticket is stable, ascending by ticket.
    messages: VecDeque<Outstanding>,
    /// Sessions that are notified when their ticket is stable, ascending by ticket.
    answers: VecDeque<WaitingAnswer>,
    /// Connections that are closed when their ticket is stable, ascending by ticket.
    closes: VecDeque<WaitingClose>,
    /// Those of them that their clients have not closed meanwhile.
    closing: HashSet<ConnectionId, RandomState>,
}

/// The copies of a message that wait for the commit of its record.
#[derive(Debug)]
pub(in crate::broker) struct Outstanding {
    pub(in crate::broker) ticket: Ticket,
    pub(in crate::broker) origin: Option<Origin>,
    /// Copies that are part of the record.
    pub(in crate::broker) deliveries: Arc<Vec<Addressed>>,
    pub(in crate::broker) held: HeldCopies,
    /// When the receivers of `deliveries` were chosen: see [`SequencedDelivery::routed`].
    pub(in crate::broker) routed: u64,
}

/// Copies that are not part of a record but wait for the commit of one.
pub(in crate::broker) type HeldCopies = Vec<(Arc<Subscriber>, SequencedDelivery)>;

/// A connection that is closed when a ticket is stable, and reset if that takes too long.
#[derive(Debug)]
struct WaitingClose {
    ticket: Ticket,
    until: Timestamp,
    connection: ConnectionId,
}

/// A Session that holds an answer back until a ticket is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct WaitingAnswer {
    pub(in crate::broker) ticket: Ticket,
    pub(in crate::broker) key: SessionKey,
    pub(in crate::broker) slot: usize,
}

impl CommitPipeline {
    /// Issues the ticket of the next record.
    #[inline]
    pub(in crate::broker) fn issue(&mut self) -> Ticket {
        self.last.0 += 1;
        self.last
    }

    /// The last ticket that was issued.
    pub(in crate::broker) const fn last(&self) -> Ticket {
        self.last
    }

    /// The last ticket that is stable.
    pub(in crate::broker) const fn stable(&self) -> Ticket {
        self.stable
    }

    /// Whether the record with this ticket is stable. Ticket 0 means no record, and is always stable.
    #[inline]
    pub(in crate::broker) const fn is_stable(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.stable.0
    }

    /// The number of issued tickets that are not stable.
    pub(in crate::broker) const fn unstable(&self) -> u64 {
        self.last.0 - self.stable.0
    }

    /// Holds the copies of a message back until `outstanding.ticket` is stable, which must be the last issued ticket.
    #[inline]
    pub(in crate::broker) fn defer(&mut self, outstanding: Outstanding) {
        assert!(outstanding.ticket == self.last, "a message waits for its own record"); // keeps the queue ascending
        self.messages.push_back(outstanding);
    }

    /// Holds copies without a record back until `after` and the tickets of all deferred messages are stable, so that the copies do not
    /// overtake these messages. Returns the ticket they wait for.
    pub(in crate::broker) fn defer_behind(
        &mut self,
        after: Ticket,
        origin: Option<Origin>,
        held: HeldCopies,
    ) -> Ticket {
        let ticket = self.messages.back().map_or(after, |last| last.ticket.max(after));
        assert!(ticket <= self.last, "a message waits for a record that was never written");
        self.messages.push_back(Outstanding { ticket, origin, deliveries: Arc::default(), held, routed: 0 });
        ticket
    }

    /// Notifies the Session `key` in `slot` when `ticket` is stable.
    #[inline]
    pub(in crate::broker) fn await_answer(&mut self, ticket: Ticket, key: SessionKey, slot: usize) {
        assert!(ticket <= self.last, "an answer waits for a record that was never written");
        let answer = WaitingAnswer { ticket, key, slot };
        if self.answers.back().is_none_or(|last| last.ticket <= ticket) {
            self.answers.push_back(answer);
        } else {
            // A duplicate (`dedup-id`) waits for the record of the first message, whose ticket is older.
            let place = self.answers.partition_point(|other| other.ticket <= ticket);
            self.answers.insert(place, answer);
        }
    }

    /// Closes a connection when the last issued ticket is stable, at most [`CLOSE_WAIT_MAX`] after `now`. Returns `false` if it is stable already.
    pub(in crate::broker) fn await_close(&mut self, connection: ConnectionId, now: Timestamp) -> bool {
        if self.is_stable(self.last) {
            return false;
        }
        self.closes.push_back(WaitingClose { ticket: self.last, until: now + CLOSE_WAIT_MAX, connection });
        self.closing.insert(connection);
        true
    }

    /// The connection was closed by its client.
    pub(in crate::broker) fn forget_close(&mut self, connection: ConnectionId) {
        self.closing.remove(&connection);
    }

    /// Takes the next connection to close whose ticket is stable.
    pub(in crate::broker) fn next_stable_close(&mut self) -> Option<ConnectionId> {
        let stable = self.stable;
        self.next_close(|close| close.ticket <= stable)
    }

    /// Takes the next connection whose ticket was not stable in time.
    pub(in crate::broker) fn next_overdue_close(&mut self, now: Timestamp) -> Option<ConnectionId> {
        self.next_close(|close| close.until <= now)
    }

    /// Takes the next connection to close, whether its ticket is stable or not.
    pub(in crate::broker) fn next_waiting_close(&mut self) -> Option<ConnectionId> {
        self.next_close(|_| true)
    }

    fn next_close(&mut self, is_due: impl Fn(&WaitingClose) -> bool) -> Option<ConnectionId> {
        while self.closes.front().is_some_and(&is_due) {
            let WaitingClose { connection, .. } = self.closes.pop_front()?;
            if self.closing.remove(&connection) {
                return Some(connection);
            }
        }
        None
    }

    /// Notes that all tickets up to this one are stable. An older ticket changes nothing.
    pub(in crate::broker) fn advance(&mut self, ticket: Ticket) {
        assert!(ticket <= self.last, "a ticket that was never issued is stable");
        self.stable = self.stable.max(ticket);
    }

    /// Takes the next message whose record is stable.
    #[inline]
    pub(in crate::broker) fn next_stable_message(&mut self) -> Option<Outstanding> {
        self.messages.front().filter(|next| self.is_stable(next.ticket))?;
        self.messages.pop_front()
    }

    /// Takes the next answer whose ticket is stable.
    #[inline]
    pub(in crate::broker) fn next_stable_answer(&mut self) -> Option<WaitingAnswer> {
        self.answers.front().filter(|next| self.is_stable(next.ticket))?;
        self.answers.pop_front()
    }

    /// Whether no message and no answer waits.
    #[cfg(test)]
    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.answers.is_empty() && self.closing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routing::ShardId;

    /// An origin that identifies a message in the test.
    fn origin(number: u32) -> Option<Origin> {
        Some(Origin::new(ShardId(0), ConnectionId { slot: number, generation: 0 }))
    }

    fn message(ticket: Ticket, number: u32) -> Outstanding {
        Outstanding { ticket, origin: origin(number), deliveries: Arc::default(), held: Vec::new(), routed: 0 }
    }

    fn number(message: &Outstanding) -> u32 {
        message.origin.unwrap().connection.slot
    }

    fn messages(pipeline: &mut CommitPipeline) -> Vec<u32> {
        std::iter::from_fn(|| pipeline.next_stable_message()).map(|message| number(&message)).collect()
    }

    fn answers(pipeline: &mut CommitPipeline) -> Vec<usize> {
        std::iter::from_fn(|| pipeline.next_stable_answer()).map(|answer| answer.slot).collect()
    }

    #[test]
    fn tickets_count_from_1_and_become_stable_in_order() {
        let mut pipeline = CommitPipeline::default();
        assert!(pipeline.is_stable(Ticket(0)), "ticket 0 means no record");
        assert_eq!([pipeline.issue(), pipeline.issue(), pipeline.issue()], [Ticket(1), Ticket(2), Ticket(3)]);
        assert_eq!(pipeline.unstable(), 3);
        pipeline.advance(Ticket(2));
        assert_eq!([1, 2, 3].map(|number| pipeline.is_stable(Ticket(number))), [true, true, false]);
        pipeline.advance(Ticket(1));
        assert_eq!(pipeline.stable(), Ticket(2), "an older ticket changes nothing");
        assert_eq!(pipeline.unstable(), 1);
    }

    #[test]
    #[should_panic(expected = "never issued")]
    fn ticket_that_was_never_issued_is_not_stable() {
        CommitPipeline::default().advance(Ticket(1));
    }

    #[test]
    #[should_panic(expected = "own record")]
    fn message_waits_for_its_own_record() {
        let mut pipeline = CommitPipeline::default();
        let first = pipeline.issue();
        pipeline.issue();
        pipeline.defer(message(first, 1));
    }

    #[test]
    fn copies_without_a_record_do_not_overtake_deferred_messages() {
        let mut pipeline = CommitPipeline::default();
        let first = pipeline.issue();
        let second = pipeline.issue();
        pipeline.defer(message(second, 1));
        assert_eq!(pipeline.defer_behind(first, origin(2), Vec::new()), second);
        pipeline.advance(first);
        assert_eq!(messages(&mut pipeline), [0; 0]);
        pipeline.advance(second);
        assert_eq!(messages(&mut pipeline), [1, 2]);
    }

    #[test]
    fn copies_without_a_record_wait_although_no_message_does() {
        let mut pipeline = CommitPipeline::default();
        let first = pipeline.issue();
        let second = pipeline.issue();
        assert_eq!(pipeline.defer_behind(second, origin(1), Vec::new()), second);
        pipeline.advance(first);
        assert_eq!(messages(&mut pipeline), [0; 0]);
        pipeline.advance(second);
        assert_eq!(messages(&mut pipeline), [1]);
        assert!(pipeline.is_empty());
    }

    #[test]
    fn answer_that_waits_for_an_older_record_is_taken_with_it() {
        let mut pipeline = CommitPipeline::default();
        let [first, second] = [pipeline.issue(), pipeline.issue()];
        pipeline.await_answer(first, SessionKey(1), 1);
        pipeline.await_answer(second, SessionKey(1), 2);
        pipeline.await_answer(first, SessionKey(1), 3);
        pipeline.advance(first);
        assert_eq!(answers(&mut pipeline), [1, 3]);
        pipeline.advance(second);
        assert_eq!(answers(&mut pipeline), [2]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Issue,
        /// Defers a message with a record of its own.
        Defer,
        /// Defers a message without a record, behind a ticket this far back.
        DeferBehind(u64),
        Await(u64),
        /// This many more tickets are stable; negative: an older ticket is reported again.
        Advance(i64),
        /// Takes one stable message and one stable answer.
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Issue),
            3 => Just(Step::Defer),
            1 => (0..4_u64).prop_map(Step::DeferBehind),
            3 => (0..4_u64).prop_map(Step::Await),
            2 => (-2..5_i64).prop_map(Step::Advance),
            2 => Just(Step::Take),
        ]
    }

    /// The specification: unordered lists that are searched from the start each time.
    #[derive(Default)]
    struct Oracle {
        last: u64,
        stable: u64,
        /// Ticket and number, in the order of insertion.
        messages: Vec<(u64, u32)>,
        answers: Vec<(u64, usize)>,
    }

    impl Oracle {
        /// Takes the first entry with the lowest ticket, if that is stable.
        fn take<T: Copy>(waiting: &mut Vec<(u64, T)>, stable: u64) -> Option<T> {
            let lowest = waiting.iter().map(|(ticket, _)| *ticket).min().filter(|ticket| *ticket <= stable)?;
            let place = waiting.iter().position(|(ticket, _)| *ticket == lowest)?;
            Some(waiting.remove(place).1)
        }
    }

    proptest! {
        #[test]
        fn messages_and_answers_are_taken_once_in_order_and_not_before_their_ticket_is_stable(steps in prop::collection::vec(step(), 1..200)) {
            let (mut pipeline, mut oracle) = (CommitPipeline::default(), Oracle::default());
            for (count, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Issue => {
                        oracle.last += 1;
                        prop_assert_eq!(pipeline.issue(), Ticket(oracle.last));
                    }
                    Step::Defer => {
                        oracle.last += 1;
                        let ticket = pipeline.issue();
                        pipeline.defer(message(ticket, count));
                        oracle.messages.push((oracle.last, count));
                    }
                    Step::DeferBehind(back) => {
                        let after = oracle.last.saturating_sub(back);
                        let newest = oracle.messages.iter().map(|(ticket, _)| *ticket).max();
                        let ticket = newest.unwrap_or_default().max(after);
                        prop_assert_eq!(pipeline.defer_behind(Ticket(after), origin(count), Vec::new()), Ticket(ticket));
                        oracle.messages.push((ticket, count));
                    }
                    Step::Await(back) => {
                        let ticket = oracle.last.saturating_sub(back);
                        pipeline.await_answer(Ticket(ticket), SessionKey(1), count as usize);
                        oracle.answers.push((ticket, count as usize));
                    }
                    Step::Advance(by) => {
                        let ticket = oracle.stable.saturating_add_signed(by).min(oracle.last);
                        pipeline.advance(Ticket(ticket));
                        oracle.stable = oracle.stable.max(ticket);
                    }
                    Step::Take => {
                        let taken = pipeline.next_stable_message();
                        prop_assert!(taken.as_ref().is_none_or(|message| pipeline.is_stable(message.ticket)));
                        let expected = Oracle::take(&mut oracle.messages, oracle.stable);
                        prop_assert_eq!(taken.as_ref().map(number), expected);
                        let taken = pipeline.next_stable_answer();
                        prop_assert!(taken.is_none_or(|answer| pipeline.is_stable(answer.ticket)));
                        let expected = Oracle::take(&mut oracle.answers, oracle.stable);
                        prop_assert_eq!(taken.map(|answer| answer.slot), expected);
                    }
                }
                prop_assert_eq!(pipeline.unstable(), oracle.last - oracle.stable);
            }
            pipeline.advance(Ticket(oracle.last));
            prop_assert_eq!(messages(&mut pipeline).len(), oracle.messages.len());
            prop_assert_eq!(answers(&mut pipeline).len(), oracle.answers.len());
            prop_assert!(pipeline.is_empty());
        }
    }
}
