use proptest::prelude::*;

use super::*;
use crate::topic::{TopicFilter, TopicName};

const CELL: CellId = CellId(200);

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text.to_owned().into()).unwrap()
}

fn cells(table: &InterestTable, topic: &str) -> Vec<u8> {
    let topic = TopicName::new(topic.to_owned().into()).unwrap();
    table.matching(&topic).iter().map(|CellId(cell)| cell).collect()
}

/// Passes announcements and answers until there is nothing to tell.
fn tell(announcer: &mut Announcer, table: &mut InterestTable, life: u64) -> usize {
    let mut announcements = 0;
    while let Some((to, announcement)) = announcer.next_announcement("b") {
        assert_eq!(to, life);
        announcements += 1;
        announcer.answer("b", life, table.take(announcement));
    }
    announcements
}

#[test]
fn suback_can_be_sent_when_all_nodes_have_answered() {
    let (mut announcer, mut table) = (Announcer::new(CELL, 1), InterestTable::new());
    announcer.join("b", 1);
    let change = announcer.subscribe(&filter("a/+"));
    assert!(announcer.known() < change);
    tell(&mut announcer, &mut table, 1);
    assert!(announcer.known() >= change);
    assert_eq!((cells(&table, "a/x"), cells(&table, "x")), (vec![200], Vec::new()));
    announcer.join("c", 1);
    assert_eq!(announcer.subscribe(&filter("a/+")), change);
    assert!(announcer.known() < change, "another node has come");
    announcer.leave("c", 2);
    assert!(announcer.known() < change, "another life of it has ended");
    announcer.leave("c", 1);
    announcer.unsubscribe(&filter("a/+"));
    tell(&mut announcer, &mut table, 1);
    assert_eq!(cells(&table, "a/x"), [200], "one of two subscriptions is left");
    announcer.unsubscribe(&filter("a/+"));
    tell(&mut announcer, &mut table, 1);
    assert_eq!(cells(&table, "a/x"), [] as [u8; 0]);
}

#[test]
fn answers_of_a_former_life_or_epoch_are_passed_over_and_a_new_life_is_told_what_it_lacks() {
    let (mut announcer, mut table) = (Announcer::new(CELL, 2), InterestTable::new());
    announcer.join("b", 1);
    announcer.subscribe(&filter("a"));
    let (_, announcement) = announcer.next_announcement("b").unwrap();
    let answer = table.take(announcement);
    announcer.join("b", 2);
    announcer.answer("b", 1, answer);
    announcer.answer("b", 2, InterestAnswer { epoch: 1, ..answer });
    assert_eq!(announcer.known(), 0);
    table.join_again();
    assert_eq!((table.epoch(CELL), cells(&table, "a")), (0, vec![200]), "what it has is kept, and may be too little");
    tell(&mut announcer, &mut table, 2);
    assert_eq!((table.epoch(CELL), announcer.known()), (2, 1));
}

/// What a node had at the end of its former life must not count as all: a SUBACK that did not wait for it may be behind that.
#[test]
fn a_node_has_joined_when_it_has_what_there_was_when_it_was_told() {
    let (mut announcer, mut table) = (Announcer::new(CELL, 1), InterestTable::new());
    announcer.join("b", 1);
    announcer.subscribe(&filter("a"));
    tell(&mut announcer, &mut table, 1);
    announcer.leave("b", 1);
    let change = announcer.subscribe(&filter("b"));
    assert!(announcer.known() >= change, "nobody is waited for");
    table.join_again();
    announcer.join("b", 2);
    while let Some((life, announcement)) = announcer.next_announcement("b") {
        announcer.answer("b", life, table.take(announcement));
        assert_eq!(table.epoch(CELL) == 1, cells(&table, "b") == [200]);
    }
    assert_eq!(table.epoch(CELL), 1);
}

#[test]
fn the_filters_of_a_former_owner_are_kept_until_those_of_its_successor_are_there() {
    let mut table = InterestTable::new();
    for (epoch, name) in [(1, "a"), (2, "b")] {
        let mut announcer = Announcer::new(CELL, epoch);
        announcer.join("b", 1);
        // Several parts.
        let long = "x".repeat(40_000);
        (0..3).for_each(|number| {
            announcer.subscribe(&filter(&format!("{name}/{number}/{long}")));
        });
        announcer.subscribe(&filter(name));
        let mut parts = 0;
        while let Some((_, announcement)) = announcer.next_announcement("b") {
            if epoch == 2 {
                assert_eq!(cells(&table, "a"), [200]);
            }
            let answer = table.take(announcement.clone());
            assert_eq!(table.take(announcement), answer, "a repeat");
            announcer.answer("b", 1, answer);
            parts += 1;
        }
        assert!(parts >= 3, "{parts}");
        assert_eq!((cells(&table, name), table.epoch(CELL)), (vec![200], epoch));
    }
    assert_eq!(cells(&table, "a"), [] as [u8; 0]);
}

#[test]
fn a_node_that_is_further_behind_than_the_kept_changes_gets_all_filters() {
    let (mut announcer, mut table) = (Announcer::new(CELL, 1), InterestTable::new());
    announcer.join("b", 1);
    tell(&mut announcer, &mut table, 1);
    let long = "x".repeat(60_000);
    for number in 0..2 * Announcer::CHANGES_BYTES_MAX / 60_000 {
        announcer.subscribe(&filter(&format!("{number}/{long}")));
        announcer.unsubscribe(&filter(&format!("{number}/{long}")));
    }
    announcer.subscribe(&filter("a"));
    let told = tell(&mut announcer, &mut table, 1);
    assert!(told < 5, "{told} announcements");
    assert_eq!(cells(&table, "a"), [200]);
}

#[test]
fn numbers_that_no_owner_gives_do_no_harm() {
    let mut table = InterestTable::new();
    let announcement = |what| Announcement { cell: CELL, epoch: 1, last: u64::MAX, what };
    let filters = vec![filter("a")];
    table.take(announcement(Announced::Whole { number: u64::MAX - 1, place: 0, filters, is_last: true }));
    for first in [0, u64::MAX, u64::MAX] {
        table.take(announcement(Announced::Changes { first, changes: vec![(filter("b"), true); 3] }));
    }
    let (mut announcer, answer) = (
        Announcer::new(CELL, 1),
        table.take(announcement(Announced::Whole { number: 0, place: usize::MAX, filters: Vec::new(), is_last: true })),
    );
    announcer.join("b", 1);
    announcer.answer("b", 1, InterestAnswer { incoming: Some((0, usize::MAX)), ..answer });
    let change = announcer.subscribe(&filter("c"));
    assert!(announcer.known() < change);
    assert!(announcer.next_announcement("b").is_some());
}

proptest! {
    #[test]
    fn whatever_is_lost_late_or_repeated_a_table_has_what_it_has_answered_and_in_the_end_all(
        steps in prop::collection::vec((0_u8..8, 0_usize..6, any::<prop::sample::Index>()), 1..200)
    ) {
        let (mut announcer, mut table) = (Announcer::new(CELL, 1), InterestTable::new());
        let names = ["a", "a/b", "+/b", "#", "a/+", "c"];
        let (mut wanted, mut mail, mut answers) = ([0_u32; 6], Vec::new(), Vec::new());
        announcer.join("b", 1);
        for (step, name, index) in steps {
            match step {
                0 | 1 => {
                    announcer.subscribe(&filter(names[name]));
                    wanted[name] += 1;
                }
                2 if wanted[name] > 0 => {
                    announcer.unsubscribe(&filter(names[name]));
                    wanted[name] -= 1;
                }
                3 => mail.extend(announcer.next_announcement("b").map(|(_, announcement)| announcement)),
                4 if !mail.is_empty() => answers.push(table.take(index.get(&mail).clone())),
                5 if !answers.is_empty() => announcer.answer("b", 1, *index.get(&answers)),
                6 => announcer.repeat("b"),
                _ => {}
            }
        }
        announcer.repeat("b");
        tell(&mut announcer, &mut table, 1);
        for topic in ["a", "a/b", "c", "x/b", "x"] {
            let name = TopicName::new(topic.into()).unwrap();
            let is_wanted = names.iter().zip(wanted).any(|(text, count)| count > 0 && filter(text).matches(&name));
            prop_assert!(!is_wanted || cells(&table, topic) == [200], "{topic}");
        }
        prop_assert_eq!(table.epoch(CELL), 1);
    }
}
