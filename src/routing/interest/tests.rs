mod property;
mod shares;

use super::counts::Counts;
use super::fingerprint::Fingerprint;
use super::fingerprints::Fingerprints;
use super::*;
use crate::topic::{Filter, ShareName, TopicFilter, TopicName};

const CELL: CellId = CellId(200);

fn key() -> InterestKey {
    InterestKey::new(&[0; 16])
}

/// Two filters with the same fingerprint under this key.
const SAME: [&str; 2] = ["d/1571595", "d/2599984"];

fn announcer(epoch: u64) -> Announcer {
    Announcer::new(CELL, epoch, key(), AnnouncerLimits::default())
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text.to_owned().into()).unwrap()
}

/// A share with this Topic Filter.
fn share(text: &str) -> Filter {
    Filter { share: Some(ShareName::try_from("g").unwrap()), ..filter(text).into() }
}

/// What a table has of a share and a cell.
fn counts_of(table: &InterestTable, filter: &Filter, cell: CellId) -> Option<ShareCounts> {
    table.share(filter)?.counts(cell)
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
        assert!(announcements < 1_000, "it goes on and on");
        announcer.answer("b", life, table.take(announcement));
    }
    announcements
}

#[test]
fn suback_can_be_sent_when_all_nodes_have_answered() {
    let (mut announcer, mut table) = (announcer(1), InterestTable::new(key()));
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
    let (mut announcer, mut table) = (announcer(2), InterestTable::new(key()));
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
    let (mut announcer, mut table) = (announcer(1), InterestTable::new(key()));
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
fn what_an_earlier_and_a_later_owner_have_is_there_while_the_later_one_tells_it() {
    let mut table = InterestTable::new(key());
    for (epoch, name) in [(1, "a"), (2, "b")] {
        let limits = AnnouncerLimits { announcement_bytes_max: 16, ..AnnouncerLimits::default() };
        let mut announcer = Announcer::new(CELL, epoch, key(), limits);
        announcer.join("b", 1);
        for number in 0..10 {
            announcer.subscribe(&filter(&format!("{number}")));
            announcer.subscribe(&filter(&format!("+/{number}")));
            announcer.subscribe(&filter(&format!("{name}/{number}/x/y")));
            announcer.subscribe(&filter(&format!("{name}/{number}/+")));
        }
        let mut parts = 0;
        while let Some((_, announcement)) = announcer.next_announcement("b") {
            let answer = table.take(announcement.clone());
            assert_eq!(table.take(announcement), answer, "a repeat");
            announcer.answer("b", 1, answer);
            parts += 1;
            for number in (0..10).filter(|_| epoch == 2) {
                assert_eq!(cells(&table, &format!("{number}")), [200]);
                assert_eq!(cells(&table, &format!("x/{number}")), [200]);
            }
        }
        assert!(parts >= 20, "{parts}");
        assert_eq!(table.epoch(CELL), epoch);
        for (number, other) in (0..10).flat_map(|number| [(number, "a"), (number, "b")]) {
            let expected: &[u8] = if other == name { &[200] } else { &[] };
            assert_eq!(cells(&table, &format!("{other}/{number}/x")), expected);
            assert_eq!(cells(&table, &format!("{other}/{number}/x/y")), expected);
        }
    }
}

#[test]
fn a_node_that_is_further_behind_than_the_kept_changes_gets_all_interest() {
    let bounds = [
        AnnouncerLimits { changes_max: 20, ..AnnouncerLimits::default() },
        AnnouncerLimits { changes_bytes_max: 1_000, ..AnnouncerLimits::default() },
    ];
    for limits in bounds {
        let (mut announcer, mut table) = (Announcer::new(CELL, 1, key(), limits), InterestTable::new(key()));
        announcer.join("b", 1);
        let old = announcer.subscribe(&filter("old"));
        tell(&mut announcer, &mut table, 1);
        for number in 0..1_000 {
            announcer.subscribe(&filter(&format!("{number}/+")));
            announcer.unsubscribe(&filter(&format!("{number}/+")));
        }
        announcer.subscribe(&filter("a"));
        assert!(announcer.subscribe(&filter("old")) >= old, "it may be one that came later");
        assert_eq!(tell(&mut announcer, &mut table, 1), 1);
        assert_eq!((cells(&table, "a"), cells(&table, "old"), cells(&table, "1/x")), (vec![200], vec![200], vec![]));
    }
}

/// The late change ends a subscription that the whole has, because it began anew.
#[test]
fn a_late_change_between_the_parts_of_a_whole_takes_nothing_of_it_away() {
    let limits = AnnouncerLimits { announcement_bytes_max: 1, changes_max: 4, ..AnnouncerLimits::default() };
    for (name, parts) in ["a", "a/+"].into_iter().flat_map(|name| (0..8).map(move |parts| (name, parts))) {
        let (mut announcer, mut table) = (Announcer::new(CELL, 1, key(), limits), InterestTable::new(key()));
        announcer.join("b", 1);
        announcer.subscribe(&filter(name));
        tell(&mut announcer, &mut table, 1);
        announcer.unsubscribe(&filter(name));
        let (_, late) = announcer.next_announcement("b").unwrap();
        announcer.subscribe(&filter(name));
        for other in 0..6 {
            announcer.subscribe(&filter(&format!("{other}{}", name.replace('a', ""))));
        }
        announcer.repeat("b");
        for _ in 0..parts {
            let Some((_, part)) = announcer.next_announcement("b") else { break };
            announcer.answer("b", 1, table.take(part));
        }
        table.take(late);
        tell(&mut announcer, &mut table, 1);
        assert_eq!(cells(&table, &name.replace('+', "x")), [200], "{name} after {parts} parts");
    }
}

#[test]
fn what_came_with_a_whole_that_another_one_replaced_does_not_stay() {
    let limits = AnnouncerLimits { announcement_bytes_max: 1, changes_max: 1, ..AnnouncerLimits::default() };
    let (mut announcer, mut table) = (Announcer::new(CELL, 1, key(), limits), InterestTable::new(key()));
    announcer.join("b", 1);
    let before = ["a", "b", "+/c", "+/d", "+/e"];
    before.iter().for_each(|name| _ = announcer.subscribe(&filter(name)));
    for _ in 0..4 {
        let (_, part) = announcer.next_announcement("b").unwrap();
        announcer.answer("b", 1, table.take(part));
    }
    before.iter().for_each(|name| announcer.unsubscribe(&filter(name)));
    tell(&mut announcer, &mut table, 1);
    for topic in ["a", "b", "x/c", "x/d", "x/e"] {
        assert_eq!(cells(&table, topic), [] as [u8; 0], "{topic}");
    }
}

#[test]
fn a_subscription_to_what_all_nodes_know_waits_for_nothing_else() {
    let (mut announcer, mut table) = (announcer(1), InterestTable::new(key()));
    announcer.join("b", 1);
    announcer.subscribe(&filter("a"));
    tell(&mut announcer, &mut table, 1);
    let change = announcer.subscribe(&filter("b"));
    assert!(announcer.subscribe(&filter("a")) <= announcer.known());
    assert_eq!(announcer.subscribe(&filter("b")), change);
    assert!(announcer.known() < change);
}

#[test]
fn of_two_filters_with_the_same_fingerprint_the_end_of_one_leaves_the_other() {
    let (mut announcer, mut table) = (announcer(1), InterestTable::new(key()));
    announcer.join("b", 1);
    let [one, other] = SAME;
    assert_eq!(Interest::new(&filter(one), &key()), Interest::new(&filter(other), &key()));
    for name in [one, other, other] {
        announcer.subscribe(&filter(name));
    }
    for (ends, expected) in [(other, &[200_u8] as &[u8]), (one, &[200]), (other, &[])] {
        announcer.unsubscribe(&filter(ends));
        tell(&mut announcer, &mut table, 1);
        assert_eq!((cells(&table, one), cells(&table, other)), (expected.to_vec(), expected.to_vec()));
    }
}

#[test]
fn a_filter_is_wanted_until_the_last_of_a_thousand_subscriptions_has_ended() {
    let (mut counts, fingerprint) = (Counts::new(), key().fingerprint("a"));
    for round in 0..2 {
        assert!((0..1_000).map(|_| counts.add(fingerprint)).eq((0..1_000).map(|number| number == 0)), "{round}");
        assert!((0..1_000).map(|_| counts.remove(fingerprint)).eq((0..1_000).map(|number| number == 999)), "{round}");
        assert!(!counts.remove(fingerprint));
    }
}

#[test]
fn a_cell_with_too_much_interest_wants_everything_until_it_has_half_as_much() {
    let limits = AnnouncerLimits { table_bytes_max: 100 * AnnouncerLimits::EXACT_BYTES, ..AnnouncerLimits::default() };
    let (mut announcer, mut table) = (Announcer::new(CELL, 1, key(), limits), InterestTable::new(key()));
    announcer.join("b", 1);
    for number in 0..100 {
        announcer.subscribe(&filter(&number.to_string()));
    }
    tell(&mut announcer, &mut table, 1);
    assert_eq!((cells(&table, "x"), cells(&table, "99")), (vec![], vec![200]));
    let mut change = 0;
    for number in 100..200 {
        change = announcer.subscribe(&filter(&number.to_string()));
    }
    assert!(announcer.known() < change);
    tell(&mut announcer, &mut table, 1);
    assert!(announcer.known() >= change);
    assert_eq!((cells(&table, "x"), cells(&table, "$x"), table.everything().iter().count()), (vec![200], vec![200], 1));
    assert!(announcer.wants_everything());
    for (ended, still) in [(0..149, vec![200]), (149..150, vec![])] {
        ended.for_each(|number| announcer.unsubscribe(&filter(&number.to_string())));
        tell(&mut announcer, &mut table, 1);
        assert_eq!((cells(&table, "x"), cells(&table, "150")), (still, vec![200]));
    }
    assert_eq!((cells(&table, "149"), table.everything().is_empty()), (vec![], true));
    assert!(!announcer.wants_everything());
}

#[test]
fn an_exact_filter_takes_at_most_11_bytes_at_any_number_of_them_and_finds_nothing_else() {
    let (mut table, key) = (Fingerprints::new(), key());
    let mut other = (0_u32..).map(|number| key.fingerprint(&format!("devices/{number}/events")));
    for number in 0_u32..400_000 {
        table.insert(key.fingerprint(&format!("devices/{number}/commands")), 1);
        assert_eq!(table.tags(other.next().unwrap()).count(), 0);
        if number >= 200_000 && number % 20_000 == 0 {
            let bytes = table.bytes() * 10 / number as usize;
            assert!((60..110).contains(&bytes), "{bytes} tenths of a byte at {number}");
        }
    }
    let all = table.sorted();
    assert_eq!(all.len(), 400_000);
    all.iter().for_each(|fingerprint| assert!(table.remove(*fingerprint, 1)));
    assert!(table.bytes() < 100_000, "{}", table.bytes());
}

#[test]
fn numbers_that_no_owner_gives_do_no_harm() {
    let mut table = InterestTable::new(key());
    let announcement = |what| Announcement { cell: CELL, epoch: 1, last: u64::MAX, what };
    let interest = |name| Interest::new(&filter(name), &key());
    let whole = |number, place, interest| Announced::Whole { number, place, interest, is_last: true };
    table.take(announcement(whole(u64::MAX - 1, 0, vec![interest("a")])));
    for first in [0, u64::MAX, u64::MAX] {
        table.take(announcement(Announced::Changes { first, changes: vec![(interest("b"), true); 3] }));
    }
    let (mut announcer, answer) = (announcer(1), table.take(announcement(whole(0, usize::MAX, Vec::new()))));
    announcer.join("b", 1);
    announcer.answer("b", 1, InterestAnswer { incoming: Some((0, usize::MAX)), ..answer });
    let change = announcer.subscribe(&filter("c"));
    assert!(announcer.known() < change);
    assert!(announcer.next_announcement("b").is_some());
}
