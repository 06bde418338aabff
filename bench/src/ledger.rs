//! Checks received messages for loss, duplicates and order, per stream.

use std::collections::VecDeque;
use std::ops::Range;

/// The messages that the receivers of a run must get.
///
/// A *stream* is the sequence of messages of one publisher to one topic, numbered from 0. An *audience* must get every
/// message of its streams once. It is a single receiver, or all members of a Shared Subscription together.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The audience of each receiver.
    audiences: Vec<usize>,
    /// The audiences of each stream, in ascending order.
    tracks: Vec<Vec<(usize, Track)>>,
    duplicated: u64,
    misordered: u64,
    unexpected: u64,
}

/// The result of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Expected messages that never arrived.
    pub(crate) lost: u64,
    /// Messages that arrived again.
    pub(crate) duplicated: u64,
    /// First arrivals after a later message of the same stream at the same receiver.
    pub(crate) misordered: u64,
    /// Messages that were not expected, or were altered.
    pub(crate) unexpected: u64,
}

impl Ledger {
    /// A ledger for receivers; `audiences` has the audience of each.
    pub(crate) fn new(streams: usize, audiences: Vec<usize>) -> Self {
        let mut tracks = Vec::new();
        tracks.resize_with(streams, Vec::new);
        Self { audiences, tracks, duplicated: 0, misordered: 0, unexpected: 0 }
    }

    /// Expects every message of `stream` at `audience`.
    pub(crate) fn expect(&mut self, audience: usize, stream: usize) {
        let Some(tracks) = self.tracks.get_mut(stream) else { return };
        let at = tracks.partition_point(|(other, _)| *other < audience);
        tracks.insert(at, (audience, Track::default()));
    }

    /// Records a message. Returns true if it was expected and is the first copy.
    pub(crate) fn arrived(&mut self, receiver: usize, stream: usize, sequence: u64) -> bool {
        let audience = self.audiences.get(receiver).copied();
        let tracks = self.tracks.get_mut(stream);
        let Some(track) = audience.zip(tracks).and_then(|(audience, tracks)| find(tracks, audience)) else {
            self.unexpected += 1;
            return false;
        };
        if !track.insert(sequence) {
            self.duplicated += 1;
            return false;
        }
        self.misordered += u64::from(track.is_behind(receiver, sequence));
        true
    }

    /// Records a message that isn't of this run, or was altered.
    pub(crate) fn record_unexpected(&mut self) {
        self.unexpected += 1;
    }

    /// Computes the result, given the number of messages sent on each stream.
    pub(crate) fn tally(&self, sent: &[u64]) -> Tally {
        let streams = self.tracks.iter().zip(sent);
        let lost = streams.flat_map(|(tracks, sent)| tracks.iter().map(|(_, track)| track.missing(*sent))).sum();
        let Self { duplicated, misordered, unexpected, .. } = *self;
        Tally { lost, duplicated, misordered, unexpected }
    }
}

/// The messages of one stream that an audience received.
#[derive(Debug, Default)]
struct Track {
    next: u64,
    /// Ranges of missing messages below `next`, in ascending order.
    gaps: VecDeque<Range<u64>>,
    /// Number of messages in gaps that were discarded to keep `gaps` within its bound.
    given_up: u64,
    /// For each receiver of the audience: its highest sequence plus one.
    seen: Vec<(usize, u64)>,
}

/// The track of an audience. Most streams have one audience, or consecutive ones, so the first guess is usually right.
fn find(tracks: &mut [(usize, Track)], audience: usize) -> Option<&mut Track> {
    let first = tracks.first()?.0;
    let guess = audience.checked_sub(first)?;
    let at = match tracks.get(guess) {
        Some((other, _)) if *other == audience => guess,
        _ => tracks.binary_search_by_key(&audience, |(other, _)| *other).ok()?,
    };
    tracks.get_mut(at).map(|(_, track)| track)
}

impl Track {
    /// Adds a sequence. Returns false if it was received before.
    fn insert(&mut self, sequence: u64) -> bool {
        if sequence < self.next {
            return self.fill(sequence);
        }
        if sequence > self.next {
            self.gaps.push_back(self.next..sequence);
            if self.gaps.len() > GAPS_MAX {
                self.given_up += self.gaps.pop_front().map_or(0, |gap| gap.end - gap.start);
            }
        }
        self.next = sequence + 1;
        true
    }

    fn fill(&mut self, sequence: u64) -> bool {
        let at = self.gaps.partition_point(|gap| gap.end <= sequence);
        let Some(gap) = self.gaps.get_mut(at).filter(|gap| gap.contains(&sequence)) else { return false };
        let after = sequence + 1..gap.end;
        gap.end = sequence;
        if gap.is_empty() {
            self.gaps.remove(at);
            if !after.is_empty() {
                self.gaps.insert(at, after);
            }
        } else if !after.is_empty() {
            self.gaps.insert(at + 1, after);
        }
        true
    }

    /// Whether the receiver got a later message before.
    fn is_behind(&mut self, receiver: usize, sequence: u64) -> bool {
        let Some((_, next)) = self.seen.iter_mut().find(|(other, _)| *other == receiver) else {
            self.seen.push((receiver, sequence + 1));
            return false;
        };
        let behind = sequence < *next;
        *next = (*next).max(sequence + 1);
        behind
    }

    fn missing(&self, sent: u64) -> u64 {
        let gaps: u64 = self.gaps.iter().map(|gap| gap.end - gap.start).sum();
        gaps + self.given_up + sent.saturating_sub(self.next)
    }
}

/// Bounds the memory if a broker drops every other message of a flood. A message that arrives late for a discarded gap
/// counts as a duplicate.
const GAPS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn single() -> Ledger {
        let mut ledger = Ledger::new(1, vec![0]);
        ledger.expect(0, 0);
        ledger
    }

    #[test]
    fn messages_in_order_are_clean() {
        let mut ledger = single();
        assert!((0..1_000).all(|sequence| ledger.arrived(0, 0, sequence)));
        assert_eq!(ledger.tally(&[1_000]), Tally::default());
    }

    #[test]
    fn a_gap_and_a_missing_end_are_lost() {
        let mut ledger = single();
        for sequence in [0, 1, 5, 6] {
            ledger.arrived(0, 0, sequence);
        }
        assert_eq!(ledger.tally(&[10]), Tally { lost: 6, ..Tally::default() });
    }

    #[test]
    fn a_receiver_that_got_nothing_lost_everything() {
        assert_eq!(single().tally(&[10]), Tally { lost: 10, ..Tally::default() });
    }

    #[test]
    fn a_second_copy_is_a_duplicate_and_not_misordered() {
        let mut ledger = single();
        for sequence in [0, 1, 2, 1, 2] {
            ledger.arrived(0, 0, sequence);
        }
        assert_eq!(ledger.tally(&[3]), Tally { duplicated: 2, ..Tally::default() });
    }

    #[test]
    fn a_late_message_is_misordered_and_not_lost() {
        let mut ledger = single();
        for sequence in [0, 2, 3, 1] {
            assert!(ledger.arrived(0, 0, sequence));
        }
        assert_eq!(ledger.tally(&[4]), Tally { misordered: 1, ..Tally::default() });
    }

    #[test]
    fn members_of_a_group_share_the_messages_and_have_their_own_order() {
        let mut ledger = Ledger::new(1, vec![0, 0]);
        ledger.expect(0, 0);
        for (member, sequence) in [(0, 1), (1, 0), (0, 3), (1, 2)] {
            assert!(ledger.arrived(member, 0, sequence));
        }
        assert_eq!(ledger.tally(&[4]), Tally::default());
        assert!(!ledger.arrived(1, 0, 3));
        assert_eq!(ledger.tally(&[4]), Tally { duplicated: 1, ..Tally::default() });
    }

    #[test]
    fn each_receiver_of_a_fan_out_must_get_every_message() {
        let mut ledger = Ledger::new(1, vec![0, 1]);
        ledger.expect(0, 0);
        ledger.expect(1, 0);
        for sequence in 0..3 {
            ledger.arrived(0, 0, sequence);
        }
        assert_eq!(ledger.tally(&[3]), Tally { lost: 3, ..Tally::default() });
    }

    #[test]
    fn a_message_without_a_subscription_is_unexpected() {
        let mut ledger = Ledger::new(2, vec![0, 1]);
        ledger.expect(0, 0);
        assert!(!ledger.arrived(0, 1, 0));
        assert!(!ledger.arrived(1, 0, 0));
        assert!(!ledger.arrived(9, 0, 0));
        assert!(!ledger.arrived(0, 9, 0));
        assert_eq!(ledger.tally(&[0, 0]), Tally { unexpected: 4, ..Tally::default() });
    }

    #[test]
    fn every_order_of_arrival_agrees_with_a_plain_set() {
        let mut random = 1_u64;
        for _ in 0..200 {
            let mut ledger = single();
            let mut set = BTreeSet::new();
            let mut expected = Tally::default();
            for _ in 0..60 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let sequence = (random >> 33) % 40;
                let late = set.last().is_some_and(|last| *last > sequence);
                let fresh = set.insert(sequence);
                expected.duplicated += u64::from(!fresh);
                expected.misordered += u64::from(fresh && late);
                assert_eq!(ledger.arrived(0, 0, sequence), fresh);
            }
            expected.lost = (0..40).filter(|sequence| !set.contains(sequence)).count() as u64;
            assert_eq!(ledger.tally(&[40]), expected);
        }
    }

    #[test]
    fn gaps_beyond_the_bound_still_count_as_lost() {
        let mut ledger = single();
        let received = u64::try_from(GAPS_MAX).unwrap() + 10;
        for index in 0..received {
            ledger.arrived(0, 0, index * 2 + 1);
        }
        assert_eq!(ledger.tally(&[received * 2]).lost, received);
    }
}
