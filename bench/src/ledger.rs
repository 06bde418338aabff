//! What arrived, checked for loss, duplicates and order per publisher.

use std::collections::VecDeque;
use std::ops::Range;

/// The receivers of a run and what each of them must see of every stream.
///
/// A *stream* is what one publisher sends to one topic, numbered from 0. An *audience* is owed every message of the
/// streams it expects once: a single receiver, or all members of a shared subscription together.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By receiver.
    audiences: Vec<usize>,
    /// By stream: its audiences, ascending.
    tracks: Vec<Vec<(usize, Track)>>,
    duplicated: u64,
    misordered: u64,
    unexpected: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Owed and never arrived.
    pub(crate) lost: u64,
    /// Arrived once more.
    pub(crate) duplicated: u64,
    /// Arrived for the first time after a later message of the same stream, at the same receiver.
    pub(crate) misordered: u64,
    /// Arrived where nothing was owed, or not as it was sent.
    pub(crate) unexpected: u64,
}

impl Ledger {
    /// A ledger for receivers of which `audiences` says to which audience each belongs.
    pub(crate) fn new(streams: usize, audiences: Vec<usize>) -> Self {
        let mut tracks = Vec::new();
        tracks.resize_with(streams, Vec::new);
        Self { audiences, tracks, duplicated: 0, misordered: 0, unexpected: 0 }
    }

    /// From here on `audience` is owed every message of `stream`.
    pub(crate) fn expect(&mut self, audience: usize, stream: usize) {
        let Some(tracks) = self.tracks.get_mut(stream) else { return };
        let at = tracks.partition_point(|(other, _)| *other < audience);
        tracks.insert(at, (audience, Track::default()));
    }

    /// Notes a message: true if it was owed and came for the first time.
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

    /// Notes a message that isn't one of the run's, or not as it was sent.
    pub(crate) fn stray(&mut self) {
        self.unexpected += 1;
    }

    /// Closes the books, given how many messages each stream sent.
    pub(crate) fn tally(&self, sent: &[u64]) -> Tally {
        let streams = self.tracks.iter().zip(sent);
        let lost = streams.flat_map(|(tracks, sent)| tracks.iter().map(|(_, track)| track.missing(*sent))).sum();
        let Self { duplicated, misordered, unexpected, .. } = *self;
        Tally { lost, duplicated, misordered, unexpected }
    }
}

/// Which messages of one stream an audience got.
#[derive(Debug, Default)]
struct Track {
    next: u64,
    /// What is missing below `next`, ascending.
    gaps: VecDeque<Range<u64>>,
    /// The sum of the gaps that were given up to keep `gaps` within its bound.
    given_up: u64,
    /// By receiver of the audience: one more than the highest sequence that came to it.
    seen: Vec<(usize, u64)>,
}

/// The track of an audience. Most streams have one audience or many that follow each other, so that the first guess is right.
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
    /// Adds a sequence: false if it was there.
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

    /// Whether a later message came to the receiver before.
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

/// A broker that drops every other message of a flood must not fill the memory. What comes late into a gap that was
/// given up counts as a duplicate.
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
    fn a_second_copy_is_a_duplicate_and_no_disorder() {
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
    fn members_of_a_group_share_the_debt_and_keep_their_own_order() {
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
    fn each_receiver_of_a_fan_out_is_owed_every_message() {
        let mut ledger = Ledger::new(1, vec![0, 1]);
        ledger.expect(0, 0);
        ledger.expect(1, 0);
        for sequence in 0..3 {
            ledger.arrived(0, 0, sequence);
        }
        assert_eq!(ledger.tally(&[3]), Tally { lost: 3, ..Tally::default() });
    }

    #[test]
    fn what_nobody_subscribed_to_is_unexpected() {
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
