//! All subscriptions of one Session to streams.

use crate::broker::query::SubscriptionView;
use crate::broker::streams::cursor::{Cursor, CursorState};
use crate::topic::TopicFilter;

/// The subscriptions of a Session to streams, each once.
#[derive(Debug, Default)]
pub(in crate::broker) struct StreamCursors {
    cursors: Vec<Cursor>,
    /// The one whose turn it is.
    turn: usize,
}

impl StreamCursors {
    pub(in crate::broker) const fn len(&self) -> usize {
        self.cursors.len()
    }

    /// Adds a subscription; it replaces an earlier one to the same messages.
    pub(in crate::broker) fn set(&mut self, cursor: Cursor, is_same: impl Fn(&Cursor) -> bool) {
        match self.cursors.iter_mut().find(|before| is_same(before)) {
            Some(before) => *before = cursor,
            None => self.cursors.push(cursor),
        }
    }

    /// Whether there is the subscription to this stream and this filter behind its name.
    pub(in crate::broker) fn has(&self, name: &str, wanted: Option<&TopicFilter>) -> bool {
        self.cursors.iter().any(|cursor| cursor.is(name, wanted))
    }

    /// Removes that subscription. Returns whether there was one.
    pub(in crate::broker) fn remove(&mut self, name: &str, wanted: Option<&TopicFilter>) -> bool {
        let before = self.cursors.len();
        self.cursors.retain(|cursor| !cursor.is(name, wanted));
        self.cursors.len() < before
    }

    /// The subscriptions.
    #[cfg(test)]
    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.iter()
    }

    /// The subscriptions behind the first `skipped`, for operators.
    pub(in crate::broker) fn views(&self, skipped: usize) -> impl Iterator<Item = SubscriptionView> + '_ {
        self.cursors.iter().skip(skipped).map(Cursor::view)
    }

    /// The subscription whose read has this number.
    pub(in crate::broker) fn reading(&mut self, read: u64) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.state() == CursorState::Reading(read))
    }

    /// The subscription whose turn it is.
    pub(in crate::broker) fn current(&mut self) -> Option<&mut Cursor> {
        let place = if self.turn < self.cursors.len() { self.turn } else { 0 };
        self.turn = place;
        self.cursors.get_mut(place)
    }

    /// The place of the subscription whose turn it is.
    pub(in crate::broker) const fn turn(&self) -> usize {
        self.turn
    }

    /// It is the turn of the subscription at this place.
    pub(in crate::broker) const fn set_turn(&mut self, turn: usize) {
        self.turn = turn;
    }

    /// Gives back the messages that were read and not sent.
    pub(in crate::broker) fn give_back(&mut self) {
        self.cursors.iter_mut().for_each(Cursor::give_back);
    }

    /// It is the turn of the next subscription.
    pub(in crate::broker) const fn rotate(&mut self) {
        self.turn += 1;
    }
}
