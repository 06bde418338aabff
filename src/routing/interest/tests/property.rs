use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A cell whose filters change, and its owners after each other; a node, and its lives after each other.
struct World {
    limits: AnnouncerLimits,
    announcer: Announcer,
    epoch: u64,
    table: InterestTable,
    life: u64,
    /// Whether the node accepts messages.
    serves: bool,
    /// How many subscriptions there are to each filter, and the change that its SUBACK waits for; 0: it was sent.
    wanted: [(u32, u64); FILTERS.len()],
    /// The same for the members of a share of each filter.
    shares: [(ShareCounts, u64); FILTERS.len()],
    /// To a life of the node.
    announcements: Vec<(u64, Announcement)>,
    /// From a life of the node.
    answers: Vec<(u64, InterestAnswer)>,
}

impl World {
    fn new(limits: AnnouncerLimits) -> Self {
        let mut world = Self {
            limits,
            announcer: Announcer::new(CELL, 1, key(), limits),
            epoch: 1,
            table: table_with_another_cell(),
            life: 1,
            serves: false,
            wanted: [(0, 0); FILTERS.len()],
            shares: [(ShareCounts::default(), 0); FILTERS.len()],
            announcements: Vec::new(),
            answers: Vec::new(),
        };
        world.announcer.join("b", 1);
        world
    }

    fn step(&mut self, step: u8, number: usize, index: Index) {
        let (name, (count, change)) = (filter(FILTERS[number]), &mut self.wanted[number]);
        match step {
            0..=5 => {
                let number = self.announcer.subscribe(&name);
                if *count == 0 || *change > 0 {
                    *change = number;
                }
                *count += 1;
            }
            6..=11 if *count > 0 => {
                self.announcer.unsubscribe(&name);
                *count -= 1;
            }
            12..=19 => self.announcements.extend(self.announcer.next_announcement("b")),
            20..=27 => self.deliver(index),
            28..=34 if !self.answers.is_empty() => {
                let (life, answer) = self.answers[mostly_last(index, self.answers.len())];
                self.announcer.answer("b", life, answer);
            }
            35 | 36 => self.announcer.repeat("b"),
            37 => self.adopt(),
            38 => self.begin_life(false),
            39 => self.begin_life(true),
            40..=45 => {
                let members = u32::try_from(index.index(8).saturating_sub(2)).unwrap();
                let counts = ShareCounts { members, connected: members / 2 };
                let (change, _) = self.announcer.set_share(&share(FILTERS[number]), counts);
                let (before, waits_for) = &mut self.shares[number];
                if before.members == 0 || *waits_for > 0 {
                    *waits_for = change;
                }
                *before = counts;
            }
            _ => {}
        }
        let known = self.announcer.known();
        self.wanted.iter_mut().filter(|(_, change)| *change <= known).for_each(|(_, change)| *change = 0);
        self.shares.iter_mut().filter(|(_, change)| *change <= known).for_each(|(_, change)| *change = 0);
        self.serves |= self.table.epoch(CELL) == self.epoch;
    }

    fn deliver(&mut self, index: Index) {
        if self.announcements.is_empty() {
            return;
        }
        let (life, announcement) = self.announcements[mostly_last(index, self.announcements.len())].clone();
        if life == self.life {
            self.answers.push((life, self.table.take(announcement)));
        }
    }

    fn adopt(&mut self) {
        self.epoch += 1;
        self.announcer = Announcer::new(CELL, self.epoch, key(), self.limits);
        for (name, (count, change)) in FILTERS.iter().zip(&mut self.wanted) {
            for _ in 0..*count {
                let number = self.announcer.subscribe(&filter(name));
                *change = if *change > 0 { number } else { 0 };
            }
        }
        for (name, (counts, change)) in FILTERS.iter().zip(&mut self.shares) {
            let number = self.announcer.set_share(&share(name), *counts).0;
            *change = if *change > 0 { number } else { 0 };
        }
        self.announcer.join("b", self.life);
    }

    fn begin_life(&mut self, is_restart: bool) {
        self.life += 1;
        self.serves = false;
        if is_restart {
            self.table = table_with_another_cell();
        } else {
            self.table.join_again();
        }
        self.announcer.join("b", self.life);
    }

    /// Whether the cell gets the messages that it must get, and the other cell its own.
    fn check(&self) -> Result<(), TestCaseError> {
        for topic in TOPICS {
            let cells = cells(&self.table, topic);
            let name = TopicName::new(topic.into()).unwrap();
            let mut acknowledged =
                FILTERS.iter().zip(self.wanted).filter(|(_, (count, change))| *count > 0 && *change == 0);
            let is_owed = self.serves && acknowledged.any(|(text, _)| filter(text).matches(&name));
            prop_assert!(!is_owed || cells.contains(&CELL.0), "{}", topic);
            let others = OTHER_FILTERS.iter().any(|text| filter(text).matches(&name) || SAME.contains(&topic));
            prop_assert_eq!(cells.contains(&OTHER.0), others, "{}", topic);
        }
        for (name, (counts, change)) in FILTERS.iter().zip(self.shares) {
            let told = counts_of(&self.table, &share(name), CELL);
            let is_owed = self.serves && counts.members > 0 && change == 0;
            prop_assert!(!is_owed || told.is_some_and(|told| told.members > 0), "{}", name);
        }
        prop_assert_eq!(counts_of(&self.table, &share("a/#"), OTHER), Some(OTHER_COUNTS));
        Ok(())
    }

    /// When all has been told, the table has nothing else.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        self.announcer.repeat("b");
        let announcements = tell(&mut self.announcer, &mut self.table, self.life);
        prop_assert!(announcements < 100);
        prop_assert_eq!(self.table.epoch(CELL), self.epoch);
        prop_assert_eq!(self.table.everything().iter().eq([CELL]), self.announcer.wants_everything());
        for topic in TOPICS {
            let name = TopicName::new(topic.into()).unwrap();
            let wants = |text: &str| filter(text).matches(&name) || SAME.contains(&topic) && SAME.contains(&text);
            let is_wanted = FILTERS.iter().zip(self.wanted).any(|(text, (count, _))| count > 0 && wants(text));
            let expected = is_wanted || self.announcer.wants_everything();
            prop_assert_eq!(cells(&self.table, topic).contains(&CELL.0), expected, "{}", topic);
            let own = self.table.shares(&name).into_iter().filter(|share| share.counts(CELL).is_some());
            let own: BTreeSet<String> = own.map(|share| share.filter().topic_filter.to_string()).collect();
            let shares = FILTERS.iter().zip(self.shares).filter(|(_, (counts, _))| counts.members > 0);
            let expected = shares.map(|(text, _)| *text).filter(|text| filter(text).matches(&name));
            prop_assert_eq!(own, expected.map(str::to_owned).collect::<BTreeSet<_>>(), "{}", topic);
        }
        for (name, (counts, _)) in FILTERS.iter().zip(self.shares) {
            let told = counts_of(&self.table, &share(name), CELL).unwrap_or_default();
            prop_assert!(!told.differs(counts), "{}: {:?} for {:?}", name, told, counts);
        }
        Ok(())
    }
}

/// A place among `count`: mostly the last one, otherwise any of them.
fn mostly_last(index: Index, count: usize) -> usize {
    if index.index(4) > 0 { count - 1 } else { index.index(4 * count) }
}

fn table_with_another_cell() -> InterestTable {
    let mut table = InterestTable::new(key());
    let interest = OTHER_FILTERS.iter().map(|text| Interest::new(&filter(text), &key()));
    let interest = interest.chain([Interest::Share(share("a/#"), OTHER_COUNTS)]).collect();
    let what = Announced::Whole { number: 1, place: 0, interest, is_last: true };
    table.take(Announcement { cell: OTHER, epoch: 1, last: 1, what });
    table
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_lost_late_or_repeated_a_table_has_what_was_acknowledged_and_in_the_end_nothing_else(
        announcement_bytes_max in prop::sample::select(vec![1, 20, 1_000]),
        changes_max in prop::sample::select(vec![1, 4, 100]),
        table_bytes_max in prop::sample::select(vec![50, 600, 1_000_000]),
        steps in prop::collection::vec((0_u8..46, 0_usize..FILTERS.len(), any::<Index>()), 1..250)
    ) {
        let limits = AnnouncerLimits { announcement_bytes_max, changes_max, table_bytes_max, changes_bytes_max: 200 };
        let mut world = World::new(limits);
        for (step, number, index) in steps {
            world.step(step, number, index);
            world.check()?;
        }
        world.settle()?;
    }

    #[test]
    fn fingerprints_are_a_set_of_pairs(
        steps in prop::collection::vec((0_u8..8, 0_u16..3, 0_u32..40, 0_u8..3), 1..400)
    ) {
        let (mut all, mut oracle) = (Fingerprints::new(), BTreeSet::new());
        for (step, part, rest, tag) in steps {
            let fingerprint = Fingerprint { part, rest };
            match step {
                0..=4 => prop_assert_eq!(all.insert(fingerprint, tag), oracle.insert((fingerprint, tag))),
                5 | 6 => prop_assert_eq!(all.remove(fingerprint, tag), oracle.remove(&(fingerprint, tag))),
                _ => {
                    let to = Fingerprint { part, rest: rest + 20 };
                    let kept: Vec<_> = (0..40).step_by(3).map(|rest| Fingerprint { part, rest }).collect();
                    let before = oracle.len();
                    oracle.retain(|(it, its_tag)| {
                        *its_tag != tag || !(fingerprint..to).contains(it) || kept.contains(it)
                    });
                    prop_assert_eq!(all.remove_others(tag, fingerprint..to, &kept), before - oracle.len());
                }
            }
            let tags: BTreeSet<_> = all.tags(fingerprint).collect();
            let expected = oracle.iter().filter(|(it, _)| *it == fingerprint).map(|(_, tag)| *tag).collect();
            prop_assert_eq!(tags, expected);
        }
        prop_assert_eq!(all.sorted(), oracle.iter().map(|(fingerprint, _)| *fingerprint).collect::<Vec<_>>());
    }
}

/// `ONCEMQ_INTEREST_CASES` is for longer runs.
#[expect(clippy::disallowed_methods, reason = "a test is told how much to do")]
fn cases() -> u32 {
    std::env::var("ONCEMQ_INTEREST_CASES").map_or(64, |cases| cases.parse().unwrap())
}

const FILTERS: [&str; 9] = ["a", "a/b", "c", SAME[0], SAME[1], "$x", "+/b", "a/#", "c/+"];
const TOPICS: [&str; 9] = ["a", "a/b", "c", SAME[0], SAME[1], "$x", "x/b", "c/d", "y"];
const OTHER: CellId = CellId(3);
const OTHER_FILTERS: [&str; 3] = ["a", SAME[1], "+/b"];
const OTHER_COUNTS: ShareCounts = ShareCounts { members: 9, connected: 0 };
