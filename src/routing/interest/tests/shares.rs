use std::collections::BTreeMap;

use super::*;
use crate::routing::ShareStrategy;

const fn counts(members: u32, connected: u32) -> ShareCounts {
    ShareCounts { members, connected }
}

#[test]
fn few_changes_of_the_number_of_members_are_told_but_always_the_first_and_the_last() {
    let mut announcer = announcer(1);
    let is_told = |(members, connected)| announcer.set_share(&share("a"), counts(members, connected)).1;
    let steps = [(1, 0), (1, 1), (2, 1), (4, 1), (5, 1), (6, 1), (5, 1), (100, 1), (99, 1), (1, 0), (0, 0), (0, 0)];
    let expected = [true, true, true, true, false, true, false, true, false, true, true, false];
    assert_eq!(steps.map(is_told), expected);
}

#[test]
fn suback_of_a_later_member_waits_for_the_change_with_which_the_share_came() {
    let (mut announcer, mut table) = (announcer(1), InterestTable::new(key()));
    announcer.join("b", 1);
    assert_eq!(announcer.set_share(&share("a"), counts(100, 0)), (1, true));
    assert_eq!(announcer.set_share(&share("a"), counts(101, 0)), (1, false));
    tell(&mut announcer, &mut table, 1);
    assert_eq!(announcer.known(), 1);
    assert!(announcer.set_share(&share("a"), counts(102, 0)).0 <= 1);
    announcer.set_share(&share("a"), counts(0, 0));
    assert_eq!(announcer.set_share(&share("a"), counts(1, 0)), (3, true));
}

#[test]
fn shares_are_told_by_a_cell_that_wants_everything_and_have_room_of_their_own() {
    let limits = AnnouncerLimits { table_bytes_max: 1_000, ..AnnouncerLimits::default() };
    let (mut announcer, mut table) = (Announcer::new(CELL, 1, key(), limits), InterestTable::new(key()));
    announcer.join("b", 1);
    announcer.set_share(&share("a"), counts(1, 1));
    (0..1_000).for_each(|number| _ = announcer.subscribe(&filter(&number.to_string())));
    assert!(announcer.wants_everything());
    tell(&mut announcer, &mut table, 1);
    announcer.set_share(&share("b"), counts(1, 1));
    announcer.set_share(&share("a"), counts(0, 0));
    tell(&mut announcer, &mut table, 1);
    assert_eq!(["a", "b"].map(|text| counts_of(&table, &share(text), CELL)), [None, Some(counts(1, 1))]);
    assert!(announcer.has_room_for(&share("c")));
    announcer.set_share(&share("c/d/e"), counts(1, 1));
    assert!(!announcer.has_room_for(&share("c/f")) && announcer.has_room_for(&share("c/d/e")));
    announcer.set_share(&share("c/d/e"), counts(0, 0));
    assert!(announcer.has_room_for(&share("c/f")));
}

#[test]
fn a_later_owner_without_a_share_ends_it_and_others_of_the_filter_stay() {
    let mut table = InterestTable::new(key());
    let other = Filter { share: Some(ShareName::try_from("h").unwrap()), ..share("a") };
    for (epoch, shares) in [(1, &[share("a"), other.clone()][..]), (2, &[other][..])] {
        let mut announcer = announcer(epoch);
        announcer.join("b", 1);
        shares.iter().for_each(|share| _ = announcer.set_share(share, counts(1, 1)));
        tell(&mut announcer, &mut table, 1);
        let names = table.shares(&TopicName::try_from("a").unwrap());
        assert!(names.iter().map(|it| &**it.filter()).eq(shares));
    }
}

/// A share with members in these cells.
fn share_of(cells: &[(u8, ShareCounts)]) -> std::sync::Arc<CellShare> {
    let mut table = InterestTable::new(key());
    cells.iter().for_each(|(cell, counts)| table.set_own_share(CellId(*cell), &share("a/+"), *counts));
    table.share(&share("a/+")).unwrap()
}

/// How many of these topics each cell gets.
fn spread(
    share: &CellShare,
    strategy: ShareStrategy,
    reach: impl Fn(CellId) -> Option<CellReach>,
) -> BTreeMap<Option<CellId>, usize> {
    let mut spread = BTreeMap::new();
    for number in 0..60 {
        let topic = TopicName::new(format!("a/{number}").into()).unwrap();
        *spread.entry(share.choose(strategy, (number, &topic), &reach)).or_default() += 1;
    }
    spread
}

#[test]
fn cells_get_messages_in_proportion_to_their_connected_members() {
    let ready = |_| Some(CellReach::Ready);
    let of = |cell: u8| Some(CellId(cell));
    let share = share_of(&[(1, counts(5, 1)), (2, counts(1, 0)), (7, counts(2, 2))]);
    let turns = spread(&share, ShareStrategy::RoundRobin, ready);
    assert_eq!(turns, BTreeMap::from([(of(1), 20), (of(7), 40)]));
    let away = spread(&share, ShareStrategy::LeastInFlight, |cell| {
        Some(if cell == CellId(7) { CellReach::Away } else { CellReach::Ready })
    });
    assert_eq!(away, BTreeMap::from([(of(1), 60)]), "the connection to a cell is lost");
    let none = spread(&share, ShareStrategy::RoundRobin, |_| None);
    assert_eq!(none, BTreeMap::from([(None, 60)]));
    let nobody = share_of(&[(1, counts(2, 0)), (2, counts(1, 0))]);
    assert_eq!(spread(&nobody, ShareStrategy::RoundRobin, ready), BTreeMap::from([(of(1), 40), (of(2), 20)]));
}

#[test]
fn what_is_hashed_stays_in_its_cell_while_clients_of_other_cells_come_and_go() {
    let ready = |_| Some(CellReach::Ready);
    let all = share_of(&[(1, counts(3, 3)), (2, counts(3, 3)), (3, counts(3, 3))]);
    let fewer = share_of(&[(1, counts(3, 3)), (2, counts(3, 0)), (3, counts(3, 3))]);
    for strategy in [ShareStrategy::HashTopic, ShareStrategy::HashPublisher] {
        assert_eq!(spread(&all, strategy, ready).len(), 3);
        for number in 0..60 {
            let topic = TopicName::new(format!("a/{number}").into()).unwrap();
            let [before, after] = [&all, &fewer].map(|share| share.choose(strategy, (number, &topic), ready));
            assert!(after != Some(CellId(2)) && (before == after || before == Some(CellId(2))));
        }
    }
    assert_eq!(spread(&all, ShareStrategy::Sticky, ready).len(), 1);
}
