//! All subscriptions of one Session to streams.

use crate::broker::query::SubscriptionView;
use crate::broker::streams::board::StreamBoard;
use crate::broker::streams::cursor::{Cursor, CursorState};
use crate::broker::streams::number::StreamNumber;
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

    /// The same, to change it.
    pub(in crate::broker) fn find(&mut self, name: &str, wanted: Option<&TopicFilter>) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.is(name, wanted))
    }

    /// Removes that subscription. Returns it if there was one.
    pub(in crate::broker) fn remove(&mut self, name: &str, wanted: Option<&TopicFilter>) -> Option<Cursor> {
        let place = self.cursors.iter().position(|cursor| cursor.is(name, wanted))?;
        Some(self.cursors.remove(place))
    }

    /// Removes the subscriptions to a stream. Returns the numbers of the stored ones.
    pub(in crate::broker) fn remove_all_of(&mut self, stream: StreamNumber) -> Vec<u64> {
        let removed = self.cursors.extract_if(.., |cursor| cursor.stream == stream);
        removed.filter_map(|cursor| Some(cursor.kept()?.number)).collect()
    }

    /// The lowest number that no stored subscription of the Session has.
    pub(in crate::broker) fn free_number(&self) -> u64 {
        let is_free =
            |number: &u64| !self.iter().any(|cursor| cursor.kept().is_some_and(|kept| kept.number == *number));
        (1..).find(is_free).unwrap_or(u64::MAX)
    }

    /// The subscriptions, to change them.
    pub(in crate::broker) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Cursor> {
        self.cursors.iter_mut()
    }

    /// The subscriptions.
    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.iter()
    }

    /// The subscriptions behind the first `skipped`, for operators.
    pub(in crate::broker) fn views<'a>(
        &'a self,
        skipped: usize,
        board: &'a StreamBoard,
    ) -> impl Iterator<Item = SubscriptionView> + 'a {
        self.cursors.iter().skip(skipped).map(|cursor| cursor.view(board.range(cursor.stream).end))
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
