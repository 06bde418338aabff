use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::beat::Beat;

/// The nodes, as one of them sees them: which are alive, which one is the owner, and whether this one should take over.
///
/// A node counts as dead when three beats of this node were acknowledged since its last beat. So no node counts as dead while the table of beats cannot be
/// written.
#[derive(Debug)]
pub(super) struct Members {
    me: String,
    nodes: BTreeMap<String, Node>,
    /// The node of the latest epoch entry, and for how many more beats of this node it counts as the owner without saying so.
    named: Option<Named>,
    /// The number of acknowledged beats of this node.
    beats: u64,
}

#[derive(Debug)]
struct Node {
    beat: Beat,
    /// The number of acknowledged beats of this node since its last beat.
    missed: u32,
}

#[derive(Debug)]
struct Named {
    epoch: u64,
    node: String,
    grace: u32,
}

/// What a node that is not the owner should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is an owner, or others come first, or it is too early to say.
    Follow,
    /// It should take over, after this time, unless an owner shows itself before.
    TakeOver {
        /// How long it should wait: nodes with a copy that is further go first.
        after: Duration,
        /// Why.
        cause: Cause,
    },
}

/// Why there is no owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// No node has ever been the owner.
    First,
    /// The owner has not been heard of.
    Dead(String),
    /// The owner hands over.
    HandsOver(String),
    /// The last owner is alive, and is not the owner any more.
    Resigned(String),
}

impl Members {
    /// For the node with this name.
    pub(super) const fn new(me: String) -> Self {
        Self { me, nodes: BTreeMap::new(), named: None, beats: 0 }
    }

    /// A beat of this node was acknowledged, and these are the latest beats of all nodes. Only the first 64 are used.
    pub(super) fn observe(&mut self, latest: impl IntoIterator<Item = (String, Beat)>) {
        self.beats += 1;
        if let Some(named) = &mut self.named {
            named.grace = named.grace.saturating_sub(1);
        }
        let mut nodes = BTreeMap::new();
        for (name, beat) in latest.into_iter().take(NODES_MAX) {
            let missed = match self.nodes.get(&name) {
                Some(known) if (known.beat.process, known.beat.number) == (beat.process, beat.number) => {
                    known.missed.saturating_add(1)
                }
                _ => 0,
            };
            nodes.insert(name, Node { beat, missed });
        }
        self.nodes = nodes;
    }

    /// These are the latest beats of all nodes, between two beats of this one: no node is missing because of it.
    pub(super) fn refresh(&mut self, latest: impl IntoIterator<Item = (String, Beat)>) {
        for (name, beat) in latest.into_iter().take(NODES_MAX) {
            let said = |node: &Node| (node.beat.process, node.beat.number);
            if self.nodes.get(&name).is_none_or(|known| said(known) != (beat.process, beat.number)) {
                self.nodes.insert(name, Node { beat, missed: 0 });
            }
        }
    }

    /// The log has an epoch entry of this node.
    pub(super) fn named(&mut self, epoch: u64, node: &str) {
        if self.named.as_ref().is_none_or(|named| named.epoch < epoch) {
            self.named = Some(Named { epoch, node: node.to_owned(), grace: GRACE });
        }
    }

    /// The owner: the node with the highest epoch, if it is alive and doesn't hand over.
    pub(super) fn owner(&self) -> Option<(&str, Option<&Beat>)> {
        let best = self.nodes.iter().filter(|(_, node)| node.beat.epoch > 0).max_by_key(|(_, node)| node.beat.epoch);
        let said = best.map_or(0, |(_, node)| node.beat.epoch);
        if let Some(named) = self.named.as_ref().filter(|named| named.epoch > said) {
            let is_dead = self.nodes.get(&named.node).is_some_and(|node| node.missed >= MISSED_MAX);
            return (named.grace > 0 && !is_dead).then_some((&named.node, None));
        }
        let (name, node) = best?;
        (node.missed < MISSED_MAX && node.beat.hands_over_to.is_none()).then_some((name.as_str(), Some(&node.beat)))
    }

    /// What this node should do, whose latest beat is `mine`.
    pub(super) fn decide(&self, mine: &Beat) -> Decision {
        if !mine.is_candidate || self.owner().is_some() || self.beats < BEATS_MIN {
            return Decision::Follow;
        }
        let cause = self.cause();
        // A node that has nothing does not begin an empty log while another one has a log, for whose lost stream an operator has to decide.
        let has_nothing = mine.position == 0 && mine.sequence <= 1;
        if cause == Cause::First
            && has_nothing
            && self.nodes.values().any(|node| node.missed < MISSED_MAX && node.beat.has_other_log)
        {
            return Decision::Follow;
        }
        let chosen = self.chosen();
        let is_alive = |node: &Node| node.missed < MISSED_MAX && node.beat.is_candidate;
        let order = |name: &str, beat: &Beat| (chosen == Some(name), rank((beat.position, beat.sequence), name));
        let own = order(&self.me, mine);
        let before = self
            .nodes
            .iter()
            .filter(|(name, node)| **name != self.me && is_alive(node) && order(name, &node.beat) > own)
            .count();
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let step = if cause == Cause::First { FIRST_STEP } else { STEP };
        let is_chosen = |name: &str| self.nodes.get(name).is_some_and(is_alive);
        let patience =
            chosen.filter(|name| *name != self.me && is_chosen(name)).map_or(Duration::ZERO, |_| CHOSEN_FIRST);
        Decision::TakeOver { after: step.saturating_mul(before) + patience, cause }
    }

    fn cause(&self) -> Cause {
        let best = self.nodes.iter().filter(|(_, node)| node.beat.epoch > 0).max_by_key(|(_, node)| node.beat.epoch);
        match (best, &self.named) {
            (Some((name, node)), named) if named.as_ref().is_none_or(|named| named.epoch <= node.beat.epoch) => {
                match node.beat.hands_over_to {
                    Some(_) => Cause::HandsOver(name.clone()),
                    None => Cause::Dead(name.clone()),
                }
            }
            (_, Some(named)) => match self.nodes.get(&named.node) {
                Some(node) if node.missed < MISSED_MAX => Cause::Resigned(named.node.clone()),
                _ => Cause::Dead(named.node.clone()),
            },
            _ => Cause::First,
        }
    }

    /// The node that an owner has named as its successor.
    fn chosen(&self) -> Option<&str> {
        let best = self.nodes.values().filter(|node| node.beat.epoch > 0).max_by_key(|node| node.beat.epoch)?;
        best.beat.hands_over_to.as_deref().filter(|name| !name.is_empty())
    }

    /// The nodes with their latest beats, and the number of acknowledged beats of this node since.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Beat, u32)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), &node.beat, node.missed))
    }

    /// Commits below this position were trimmed from the stream, as far as this node knows.
    pub(super) fn trimmed(&self) -> u64 {
        self.nodes.values().map(|node| node.beat.trimmed).max().unwrap_or(0)
    }

    /// The nodes with a copy, the best first: that of the owner, then those of others that are alive, in the order of their positions.
    pub(super) fn with_copies(&self) -> Vec<&str> {
        let owner = self.owner().map(|(name, _)| name);
        let has_copy =
            |name: &str, node: &Node| owner == Some(name) || (node.missed < MISSED_MAX && node.beat.position > 0);
        let others = self.nodes.iter().filter(|(name, node)| **name != self.me && has_copy(name, node));
        let mut others: Vec<_> = others.map(|(name, node)| (node.beat.position, name.as_str())).collect();
        others.sort_by_key(|(position, name)| (owner != Some(*name), Reverse(*position), *name));
        let named = owner.filter(|name| *name != self.me && !self.nodes.contains_key(*name));
        named.into_iter().chain(others.into_iter().map(|(_, name)| name)).collect()
    }

    /// Whether a node is dead, as far as this one knows.
    pub(super) fn is_dead(&self, name: &str) -> bool {
        self.nodes.get(name).is_none_or(|node| node.missed >= MISSED_MAX)
    }
}

/// Of the nodes that could take over, the one with the greatest rank does: that with the furthest copy, and of equals the first by name. `copy` is up to which
/// position in the stream, and to which log sequence, it is on the disk of the node.
pub(super) fn rank(copy: (u64, u64), name: &str) -> impl Ord + use<> {
    (copy, Reverse(name.to_owned()))
}

/// More nodes are passed over.
const NODES_MAX: usize = 64;
/// A node counts as dead after this number of acknowledged beats of this node without a beat of its own.
const MISSED_MAX: u32 = 3;
/// A node that an epoch entry names counts as the owner for this number of acknowledged beats of this node, because it reads the rest of the log before its
/// beats say that it is the owner.
const GRACE: u32 = 4;
/// A node decides nothing before this number of its beats was acknowledged, because it does not know yet which nodes are alive.
const BEATS_MIN: u64 = 3;
/// The delay between the attempts of nodes, in the order of their copies: the node with the furthest copy tries first.
const STEP: Duration = Duration::from_millis(500);
/// How much longer the others wait for the node that an operator has chosen, which may be slow.
const CHOSEN_FIRST: Duration = Duration::from_secs(3);
/// The same when there has been no owner: the nodes begin at different times.
const FIRST_STEP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(number: u64, epoch: u64, position: u64) -> Beat {
        Beat {
            cluster: String::new(),
            process: 1,
            number,
            epoch,
            advertise: String::new(),
            position,
            sequence: position,
            is_candidate: true,
            hands_over_to: None,
            trimmed: 0,
            has_other_log: false,
            version: String::new(),
        }
    }

    fn observe(members: &mut Members, beats: &[(&str, Beat)]) {
        members.observe(beats.iter().map(|(name, beat)| ((*name).to_owned(), beat.clone())));
    }

    /// Member "b" of three, which has seen "a" as the owner for a while.
    fn settled() -> Members {
        let mut members = Members::new("b".to_owned());
        for number in 1..=5 {
            observe(
                &mut members,
                &[("a", beat(number, 1, 50)), ("b", beat(number, 0, 40)), ("c", beat(number, 0, 45))],
            );
            assert_eq!(members.decide(&beat(number, 0, 40)), Decision::Follow);
        }
        members
    }

    #[test]
    fn a_node_is_dead_when_three_of_my_numbers_went_in_since_its_last_one() {
        let mut members = settled();
        for number in 6..=8 {
            assert_eq!(members.owner().map(|(name, _)| name), Some("a"));
            observe(&mut members, &[("a", beat(5, 1, 50)), ("b", beat(number, 0, 40)), ("c", beat(number, 0, 45))]);
        }
        assert_eq!(members.owner(), None);
        let cause = Cause::Dead("a".to_owned());
        let after = Duration::from_millis(500);
        assert_eq!(members.decide(&beat(8, 0, 40)), Decision::TakeOver { after, cause: cause.clone() }, "behind c");
        let after = Duration::ZERO;
        assert_eq!(members.decide(&beat(8, 0, 46)), Decision::TakeOver { after, cause }, "before c");
        assert_eq!(members.decide(&Beat { is_candidate: false, ..beat(8, 0, 46) }), Decision::Follow);
    }

    #[test]
    fn a_copy_is_asked_of_the_owner_first_and_then_of_nodes_that_are_alive_and_have_one() {
        let mut members = settled();
        let others = |members: &Members| members.with_copies().join(" ");
        observe(
            &mut members,
            &[
                ("a", beat(6, 1, 50)),
                ("b", beat(6, 0, 99)),
                ("c", beat(6, 0, 45)),
                ("d", beat(6, 0, 48)),
                ("e", beat(6, 0, 0)),
                ("f", Beat { trimmed: 30, ..beat(6, 0, 49) }),
            ],
        );
        assert_eq!((others(&members).as_str(), members.trimmed()), ("a f d c", 30));
        for number in 7..10 {
            observe(&mut members, &[("a", beat(number, 1, 50)), ("d", beat(6, 0, 48)), ("f", beat(number, 0, 49))]);
        }
        assert_eq!(others(&members), "a f", "d is dead");
        members.named(2, "g");
        assert_eq!(others(&members), "g a f", "it has said nothing yet");
    }

    #[test]
    fn nobody_is_dead_while_my_own_numbers_do_not_go_in() {
        let members = settled();
        assert_eq!(members.owner().map(|(name, _)| name), Some("a"));
        assert_eq!(members.decide(&beat(5, 0, 99)), Decision::Follow);
    }

    #[test]
    fn who_the_log_names_is_the_owner_until_it_has_had_time_to_say_so() {
        let mut members = settled();
        members.named(2, "c");
        let mut number = 5;
        for _ in 0..3 {
            assert_eq!(members.owner().map(|(name, _)| name), Some("c"));
            number += 1;
            let others = [("a", beat(5, 1, 50)), ("b", beat(number, 0, 40)), ("c", beat(number, 0, 45))];
            observe(&mut members, &others);
        }
        observe(&mut members, &[("a", beat(5, 1, 50)), ("b", beat(9, 0, 40)), ("c", beat(9, 2, 60))]);
        assert_eq!(members.owner().map(|(name, _)| name), Some("c"));
        let mut members = settled();
        members.named(2, "c");
        for number in 6..=9 {
            observe(&mut members, &[("a", beat(5, 1, 50)), ("b", beat(number, 0, 40)), ("c", beat(number, 0, 45))]);
        }
        let cause = Cause::Resigned("c".to_owned());
        assert_eq!(members.owner(), None, "it says that it is none");
        assert!(matches!(members.decide(&beat(9, 0, 46)), Decision::TakeOver { cause: found, .. } if found == cause));
    }

    #[test]
    fn a_node_without_a_log_does_not_begin_one_while_another_node_has_one_of_a_lost_stream() {
        let mut members = Members::new("b".to_owned());
        let lost = |number| Beat { has_other_log: true, is_candidate: false, ..beat(number, 0, 0) };
        for number in 1..=5 {
            observe(&mut members, &[("a", lost(number)), ("b", beat(number, 0, 0))]);
            assert_eq!(members.decide(&beat(number, 0, 0)), Decision::Follow);
        }
        let begins = Decision::TakeOver { after: Duration::ZERO, cause: Cause::First };
        assert_eq!(members.decide(&Beat { sequence: 9, ..beat(5, 0, 0) }), begins, "it has the log that was adopted");
        for number in 6..=8 {
            observe(&mut members, &[("a", lost(5)), ("b", beat(number, 0, 0))]);
        }
        assert_eq!(members.decide(&beat(8, 0, 0)), begins, "the other one is dead");
    }

    #[test]
    fn an_owner_that_hands_over_is_followed_by_the_one_that_it_names() {
        let mut members = settled();
        let leaving = Beat { hands_over_to: Some("b".to_owned()), is_candidate: false, ..beat(6, 1, 50) };
        observe(&mut members, &[("a", leaving.clone()), ("b", beat(6, 0, 40)), ("c", beat(6, 0, 45))]);
        let cause = Cause::HandsOver("a".to_owned());
        assert_eq!(members.decide(&beat(6, 0, 40)), Decision::TakeOver { after: Duration::ZERO, cause: cause.clone() });

        // Another one waits, although its copy is further, but not for a dead node.
        let mut other = Members::new("c".to_owned());
        for number in 6..9 {
            observe(&mut other, &[("a", leaving.clone()), ("b", beat(number, 0, 40)), ("c", beat(number, 0, 45))]);
        }
        let after = STEP + CHOSEN_FIRST;
        assert_eq!(other.decide(&beat(8, 0, 45)), Decision::TakeOver { after, cause: cause.clone() });
        for number in 9..13 {
            observe(&mut other, &[("a", leaving.clone()), ("b", beat(8, 0, 40)), ("c", beat(number, 0, 45))]);
        }
        assert_eq!(other.decide(&beat(12, 0, 45)), Decision::TakeOver { after: Duration::ZERO, cause });
    }

    #[test]
    fn the_first_owner_is_the_one_with_the_most_and_nobody_decides_at_once() {
        let mut members = Members::new("b".to_owned());
        for number in 1..=3 {
            assert_eq!(members.decide(&beat(number, 0, 0)), Decision::Follow);
            let a = Beat { sequence: 7, ..beat(number, 0, 0) };
            observe(&mut members, &[("a", a), ("b", beat(number, 0, 0))]);
        }
        let after = FIRST_STEP;
        assert_eq!(members.decide(&beat(3, 0, 0)), Decision::TakeOver { after, cause: Cause::First });
    }
}
