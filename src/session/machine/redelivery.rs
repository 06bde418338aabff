//! Messages that the client refused, for the owner of the Session.

use std::collections::BTreeMap;

use super::Session;
use crate::session::entry::RestoredMessage;
use crate::session::parked::Redeliveries;
use crate::session::{Actions, Parking, Redelivery, RefusedMessage};
use crate::timestamp::Timestamp;

impl Session {
    /// Carries out what was decided about a refused message.
    pub(super) fn on_parking(&mut self, now: Timestamp, parking: Parking, actions: &mut impl Actions) {
        if let Some(queue) = self.outgoing.queue_mut() {
            queue.on_parking(parking, actions);
        }
        self.send(now, actions);
    }

    /// The refused message with this sequence, or one that waits behind it; `None`: it is not parked.
    pub fn refused(&self, sequence: u64) -> Option<RefusedMessage> {
        self.redeliveries()?.refused(sequence)
    }

    /// The sequences of refused messages about which another shard had not decided when the Session moved.
    pub fn take_undecided(&mut self) -> Vec<u64> {
        self.redeliveries_mut().map(Redeliveries::take_undecided).unwrap_or_default()
    }

    /// The time for which a timer must be set for [`due_redeliveries`](Self::due_redeliveries), unless an earlier one is set.
    pub fn arm_redelivery(&mut self) -> Option<Timestamp> {
        self.redeliveries_mut()?.arm()
    }

    /// The timer of [`arm_redelivery`](Self::arm_redelivery) has fired.
    pub fn disarm_redelivery(&mut self) {
        if let Some(redelivery) = self.redeliveries_mut() {
            redelivery.disarm();
        }
    }

    /// The sequences of the next parked messages that are due at `now`, at most `max`, in order; none while others are being read.
    pub fn due_redeliveries(&self, now: Timestamp, max: usize) -> Vec<u64> {
        self.redeliveries().map(|redelivery| redelivery.due(now, max)).unwrap_or_default()
    }

    /// Notes that due messages are being read from the store, or are not any more.
    pub fn set_reading_redeliveries(&mut self, is_reading: bool) {
        if let Some(redelivery) = self.redeliveries_mut() {
            redelivery.set_reading(is_reading);
        }
    }

    /// A message that was parked is on its way into the queue with this sequence. `is_stored`: so is its state.
    pub fn queue_again(&mut self, sequence: u64, state: Redelivery, is_stored: bool) {
        self.outgoing.need_queue().redelivery.get_or_insert_default().queue(sequence, state, is_stored);
    }

    /// Divides a recovered queue: what is parked is taken out of it.
    pub(super) fn take_parked(
        queue: &mut BTreeMap<u64, RestoredMessage>,
        redeliveries: &BTreeMap<u64, Redelivery>,
    ) -> Vec<(u64, RestoredMessage, Redelivery)> {
        let mut parked = Vec::new();
        for (sequence, state) in redeliveries.iter().filter(|(_, state)| state.is_parked()) {
            if !matches!(queue.get(sequence), None | Some(RestoredMessage::Released)) {
                parked.extend(queue.remove(sequence).map(|message| (*sequence, message, *state)));
            }
        }
        parked
    }

    /// Restores the states of the messages of its queue that the client refused before, and the parked ones.
    pub(super) fn restore_redeliveries(
        &mut self,
        redeliveries: BTreeMap<u64, Redelivery>,
        parked: Vec<(u64, RestoredMessage, Redelivery)>,
    ) {
        if redeliveries.is_empty() {
            return;
        }
        let queue = self.outgoing.need_queue();
        for (sequence, state) in redeliveries {
            let Some(place) = queue.place(sequence) else { continue };
            let mut state = state.queued();
            if state.attempts == 0 && queue.is_received(place) {
                state.topic = 0; // it was sent, and no later one waits for that
            }
            queue.redelivery.get_or_insert_default().restore(sequence, state, None);
        }
        for (sequence, message, state) in parked {
            queue.restore_parked(sequence, message, state);
        }
        if let Some(redelivery) = &mut queue.redelivery {
            redelivery.end_restore();
        }
    }

    fn redeliveries(&self) -> Option<&Redeliveries> {
        self.outgoing.queue()?.redelivery.as_deref()
    }

    fn redeliveries_mut(&mut self) -> Option<&mut Redeliveries> {
        self.outgoing.queue_mut()?.redelivery.as_deref_mut()
    }
}
