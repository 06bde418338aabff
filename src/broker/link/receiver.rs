use std::collections::VecDeque;
use std::ops::Range;

use crate::broker::link::{LinkAnswer, LinkState};

/// How far a cell has accepted the messages of a link: part of the record of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkPosition {
    /// The numbering of the source.
    pub incarnation: u64,
    /// The next number.
    pub next: u64,
}

/// The destination's end of a link.
#[derive(Debug)]
pub struct LinkReceiver {
    /// The epoch of the owner of the destination.
    epoch: u64,
    position: LinkPosition,
    /// The numbers below are done.
    done: u64,
    /// The numbers from `done` on whose records are not stable, ascending: at most those of [`FRAMES_MAX`](super::LinkSender::FRAMES_MAX) frames, because
    /// the sender waits for `done`.
    unstable: VecDeque<u64>,
}

impl LinkReceiver {
    /// For the owner with this epoch when it begins. `position`: that of the log.
    pub const fn new(epoch: u64, position: Option<LinkPosition>) -> Self {
        let position = match position {
            Some(position) => position,
            None => LinkPosition { incarnation: 0, next: 1 },
        };
        Self { epoch, position, done: position.next, unstable: VecDeque::new() }
    }

    /// Takes the question of a sender, or the head of a frame.
    pub fn question(&mut self, state: LinkState) {
        if state.incarnation > self.position.incarnation {
            self.position = LinkPosition { incarnation: state.incarnation, next: state.first };
            self.done = state.first;
            self.unstable.clear();
        } else if state.incarnation == self.position.incarnation && state.first > self.position.next {
            // An owner before this one, or before a restart, has confirmed them without records.
            self.position.next = state.first;
            self.done = state.first;
            self.unstable.clear();
        }
    }

    /// Takes the numbers of a frame. Returns those that are to be accepted now, in order, and whether some are missing before them.
    pub fn frame(&mut self, state: LinkState, numbers: Range<u64>) -> (Range<u64>, bool) {
        self.question(state);
        let next = self.position.next;
        if state.incarnation != self.position.incarnation || numbers.start > next {
            return (next..next, state.incarnation >= self.position.incarnation);
        }
        (next..numbers.end.max(next), false)
    }

    /// The message with the next number was accepted. `has_record`: its record has [`position`](Self::position).
    pub fn accepted(&mut self, has_record: bool) {
        if has_record {
            self.unstable.push_back(self.position.next);
        }
        self.position.next = self.position.next.saturating_add(1);
        self.advance();
    }

    /// The records of messages with lower numbers than `end` are stable.
    pub fn stable(&mut self, end: u64) {
        while self.unstable.front().is_some_and(|number| *number < end) {
            self.unstable.pop_front();
        }
        self.advance();
    }

    fn advance(&mut self) {
        self.done = self.unstable.front().copied().unwrap_or(self.position.next);
    }

    /// How far it is, for the record of a message that was accepted.
    pub const fn position(&self) -> LinkPosition {
        self.position
    }

    /// The answer to a question or a frame, and what is told when records have become stable.
    pub const fn answer(&self, lacks: bool) -> LinkAnswer {
        let LinkPosition { incarnation, next } = self.position;
        LinkAnswer { epoch: self.epoch, incarnation, next, done: self.done, lacks }
    }
}
