use smallvec::SmallVec;

use crate::broker::action::Action;
use crate::broker::cells::owed_messages::OwedMessage;
use crate::broker::cells::queue::cell_of_queue;
use crate::broker::cells::state::CellState;
use crate::broker::connection::state::Connection;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::record::{Addressed, Record};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;
use crate::routing::CellId;
use crate::session::{self, Ticket};

impl Shard {
    /// Notes an accepted message with its copies, if something waits until the other cells have it: the answer to its publisher if it is retained, because who
    /// subscribes behind the answer must get it, in whatever cell; and at QoS 0 the later messages to its topic, which must not overtake it. [MQTT-4.6.0-6]
    pub(in crate::broker) fn note_owed(
        &mut self,
        publisher: &Publisher,
        accepted: &AcceptedMessage,
        copies: &[Addressed],
    ) {
        let is_at_qos_0 = accepted.qos == Qos::AtMostOnce;
        let of_publisher = publisher.origin.filter(|_| publisher.received.is_some() && accepted.retain);
        if publisher.is_link || of_publisher.is_none() && !is_at_qos_0 {
            return;
        }
        let of_link = |copy: &Addressed| Some((cell_of_queue(&copy.to)?, copy.sequence));
        let sequences: SmallVec<_> = copies.iter().filter_map(of_link).collect();
        if sequences.is_empty() {
            return;
        }
        let topic = is_at_qos_0.then(|| accepted.message.topic.clone());
        let publisher = of_publisher.map(|origin| origin.connection);
        self.links.owed.push(OwedMessage { number: 0, sequences, publisher, topic });
        if let Some(cell) = &self.shared.cell {
            cell.set_owing(self.id, true);
        }
    }

    /// Lets the answer to a message that was accepted just now, if it is [owed](Self::note_owed), wait until all other cells have the message.
    pub(in crate::broker) fn hold_for_copies(&mut self, slot: usize, id: ConnectionId, turn: &mut Turn<'_>) {
        let last = self.links.owed.queue.back().filter(|message| message.publisher == Some(id));
        if let Some(number) = last.map(|message| message.number) {
            self.drive(slot, session::Event::HoldLast(number), turn);
        }
    }

    /// A record for the answer to a message that was accepted before, so that the answer can [wait](Self::hold_repeat) for other cells.
    #[cold]
    pub(in crate::broker) fn fence_repeat(&mut self, slot: usize, turn: &mut Turn<'_>) -> Option<Ticket> {
        let ticket = self.persist(Record::Fence, turn);
        self.wait_for(slot, ticket);
        Some(ticket)
    }

    /// Lets the answer to a message that was sent again wait until all other cells have what is in the queues for them now: the message may be there.
    pub(in crate::broker) fn hold_repeat(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(cell) = self.shared.cell.clone() else { return };
        let publisher = self.sessions.get(slot).and_then(|entry| entry.connection);
        let last = |other: CellId| Some((other, cell.link_to(other)?.subscriber.next_sequence().saturating_sub(1)));
        let sequences = cell.others().filter_map(last).collect();
        let number = self.links.owed.push(OwedMessage { number: 0, sequences, publisher, topic: None });
        cell.set_owing(self.id, true);
        self.drive(slot, session::Event::HoldLast(number), turn);
        self.release_owed(&cell, turn);
    }

    /// A message was dropped from the queue of the Session in `slot`.
    pub(in crate::broker) fn note_dropped(&mut self, slot: usize, turn: &mut Turn<'_>) {
        if let Some(unreceived) = self.sessions.get(slot).map(|entry| entry.session.first_unreceived()) {
            self.note_received(slot, unreceived, turn);
        }
    }

    /// The receiver of the messages of the Session in `slot` has those before `unreceived`: PUBREC packets come in the order of the messages.
    pub(in crate::broker) fn note_received(&mut self, slot: usize, unreceived: u64, turn: &mut Turn<'_>) {
        let Some(cell) = self.shared.cell.clone() else { return };
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(other) = cell_of_queue(&entry.subscriber) else { return };
        if !cell.received(other, unreceived) {
            return;
        }
        for shard in cell.with_owing() {
            if shard == self.id {
                self.release_owed(&cell, turn);
            } else {
                let message = ShardMessage(ShardMessageKind::CellsReceived);
                turn.actions.push(Action::Forward { shard, message });
            }
        }
    }

    /// Sends the answers to messages that all other cells have.
    pub(in crate::broker) fn release_owed(&mut self, cell: &CellState, turn: &mut Turn<'_>) {
        while let Some(message) = self.links.owed.pop(cell) {
            let slot = message.publisher.and_then(|id| self.connection(id)).and_then(Connection::session);
            if let Some(slot) = slot {
                self.drive(slot, session::Event::HoldEnded(message.number), turn);
                self.bound_responses(slot, turn);
            }
        }
        if self.links.owed.queue.is_empty() {
            cell.set_owing(self.id, false);
        }
    }
}
