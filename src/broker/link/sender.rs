use std::collections::VecDeque;
use std::ops::Range;

use crate::broker::link::{LinkAnswer, LinkState};

/// The source's end of a link. The caller has the messages, by their numbers.
#[derive(Debug)]
pub struct LinkSender {
    incarnation: u64,
    /// The numbers below are confirmed.
    first: u64,
    /// The next one to send, or to send again.
    next: u64,
    /// The numbers below are stable.
    stable: u64,
    /// The highest epoch of an owner of the destination that is known.
    epoch: u64,
    /// Whether the node knows the filters of the destination, and its owner waits for the node with each further one.
    is_current: bool,
    /// The ends of the frames that are sent and not confirmed, ascending.
    frames: VecDeque<u64>,
    question: Question,
    /// From where it has sent again because something was missing there. The frames behind that are missing, too, and their answers say the same.
    repeated: Option<u64>,
}

/// Whether it must be told how far the destination is, before it sends anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Answered,
    Due,
    Sent,
}

impl LinkSender {
    /// Frames that are sent and not confirmed.
    pub const FRAMES_MAX: usize = 16;

    /// For the owner of the source when it begins: `numbers` are in its outbox, all of them stable, or there are none and the next message has the number
    /// `numbers.start`. Nothing is sent before [`epoch`](Self::epoch) is told; then, the next packet is a question.
    pub const fn new(incarnation: u64, numbers: Range<u64>) -> Self {
        let Range { start, end } = numbers;
        let frames = VecDeque::new();
        Self {
            incarnation,
            first: start,
            next: start,
            stable: end,
            epoch: 0,
            is_current: false,
            frames,
            question: Question::Due,
            repeated: None,
        }
    }

    /// What goes with each frame.
    pub const fn state(&self) -> LinkState {
        LinkState { incarnation: self.incarnation, first: self.first }
    }

    /// The question that is to be sent now. Nothing else is sent until it is answered.
    pub fn question(&mut self) -> Option<LinkState> {
        if self.question != Question::Due || !self.is_current {
            return None;
        }
        self.question = Question::Sent;
        Some(self.state())
    }

    /// The records of all messages with lower numbers than `end` are stable.
    pub const fn stable(&mut self, end: u64) {
        if end > self.stable {
            self.stable = end;
        }
    }

    /// The messages that can be sent now; empty: there are none, or enough are on their way.
    pub fn sendable(&self) -> Range<u64> {
        let may_send = self.is_current && self.question == Question::Answered && self.frames.len() < Self::FRAMES_MAX;
        self.next..if may_send { self.stable } else { self.next }
    }

    /// A frame was sent with the first ones of [`sendable`](Self::sendable), below `end`.
    pub fn sent(&mut self, end: u64) {
        self.next = end;
        self.frames.push_back(end);
    }

    /// Takes an answer. Returns the messages that it confirms: their outbox keys are deleted.
    pub fn answer(&mut self, answer: LinkAnswer) -> Range<u64> {
        if !self.is_current || answer.epoch < self.epoch || answer.incarnation != self.incarnation {
            return self.first..self.first;
        }
        if answer.epoch > self.epoch {
            self.epoch = answer.epoch;
            self.ask();
        }
        let confirmed = self.first..answer.done.clamp(self.first, self.stable);
        self.first = confirmed.end;
        // Not when they are accepted: so the destination has a bounded number of messages whose records are not stable.
        while self.frames.front().is_some_and(|end| *end <= answer.done) {
            self.frames.pop_front();
        }
        if self.question != Question::Answered || answer.lacks && self.repeated != Some(answer.next) {
            self.repeated = answer.lacks.then_some(answer.next);
            self.question = Question::Answered;
            self.frames.clear();
            self.next = answer.next.clamp(self.first, self.stable);
        }
        self.next = self.next.max(self.first);
        confirmed
    }

    /// The destination has an owner with this epoch, as far as the node knows; 0: it does not know. Answers of earlier ones have no effect: such an owner may
    /// not know a subscription whose SUBACK was sent. [`InterestTable::epoch`](crate::routing::InterestTable::epoch) has it.
    pub fn epoch(&mut self, epoch: u64) {
        self.is_current = epoch > 0;
        if epoch > self.epoch {
            self.epoch = epoch;
            self.ask();
        }
    }

    /// No answer came for a while: frames or answers may be lost. The next packet is a question.
    pub fn ask(&mut self) {
        self.question = Question::Due;
        self.frames.clear();
    }

    /// Whether an answer is awaited.
    pub fn is_waiting(&self) -> bool {
        self.question == Question::Sent || self.first < self.next
    }
}
