//! What interest takes: resident bytes of each filter without wildcards in the table of a node and at the owners of the cells, and nanoseconds of
//! each change at an owner and in a table, of matching a topic that a cell wants and one that none wants, and of each filter when a cell has a new owner, with
//! the longest pause that one announcement makes.
//!
//! `cargo bench --bench interest`; `--profile quick` during development, and `-- 10000000` for one number of filters. Times are the best of [`ROUNDS`].
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "the input is our own")]
#![expect(clippy::cast_possible_truncation, reason = "there are 64 cells")]
#![expect(clippy::print_stdout, reason = "the figures")]
#![expect(clippy::disallowed_methods, reason = "real time is measured")]

use std::fs;
use std::hint::black_box;
use std::mem;
use std::ops::Range;
use std::time::{Duration, Instant};

use oncemq::routing::{
    Announced, Announcement, Announcer, AnnouncerLimits, CellId, Interest, InterestAnswer, InterestKey, InterestTable,
};
use oncemq::topic::{TopicFilter, TopicName};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() {
    let chosen: Option<u32> = std::env::args().find_map(|argument| argument.parse().ok());
    println!(
        "                 |  bytes of a filter |        owner, ns      |  table, ns | matching, ns    | new owner"
    );
    println!(
        "  filters  cells |   table     owners | subscribe unsubscribe |  add remove | wanted unwanted |  ns  pause, µs"
    );
    for count in chosen.map_or(vec![10_000, 100_000, 1_000_000], |count| vec![count]) {
        [6, 64].into_iter().for_each(|cells| measure(count, cells));
    }
}

fn measure(count: u32, cells: u32) {
    let before = resident();
    let mut announcers: Vec<_> = (0..cells).map(|cell| announcer(cell, 1)).collect();
    let [mut subscribe, mut unsubscribe, mut add, mut remove] = [Duration::MAX; 4];
    subscribe = subscribe.min(each(&mut announcers, count, |announcer, filter| _ = announcer.subscribe(filter)));
    let owners_bytes = resident() - before;
    for _ in 1..ROUNDS {
        unsubscribe = unsubscribe.min(each(&mut announcers, count, Announcer::unsubscribe));
        subscribe = subscribe.min(each(&mut announcers, count, |announcer, filter| _ = announcer.subscribe(filter)));
    }
    // What is freed would be used again, and not be counted.
    mem::forget(announcers);

    let before = resident();
    let mut table = InterestTable::new(key());
    for cell in 0..cells {
        let what = Announced::Whole { number: 0, place: 0, interest: Vec::new(), is_last: true };
        table.take(Announcement { cell: id(cell), epoch: 1, last: 0, what });
    }
    let mut numbers = vec![0; cells as usize];
    add = add.min(change(&mut table, &mut numbers, (exact, 0..count), true));
    let table_bytes = resident() - before;
    for _ in 1..ROUNDS {
        remove = remove.min(change(&mut table, &mut numbers, (exact, 0..count), false));
        add = add.min(change(&mut table, &mut numbers, (exact, 0..count), true));
    }
    change(&mut table, &mut numbers, (wildcard, 0..WILDCARDS), true);
    let (adopt, longest) = adopt(&mut table, count, cells);
    let wanted = matching(&table, 1, |number| format!("devices/{:010}/commands", number * 7_919 % count));
    let unwanted = matching(&table, 0, |number| format!("devices/{number:010}/events"));
    mem::forget(table);
    let [subscribe, unsubscribe, add, remove] =
        [subscribe, unsubscribe, add, remove].map(|time| time.as_nanos() / u128::from(count));
    let of_each = |bytes: u64| bytes as f64 / f64::from(count);
    println!(
        "{count:9} {cells:6} | {:7.1} {:10.1} | {subscribe:9} {unsubscribe:11} | {add:4} {remove:6} | {wanted:6} {unwanted:8} | {adopt:3} {:9}",
        of_each(table_bytes),
        of_each(owners_bytes),
        longest.as_micros(),
    );
}

/// Does something with all filters, of which each cell has some, and lets a node know them.
fn each(announcers: &mut [Announcer], count: u32, mut call: impl FnMut(&mut Announcer, &TopicFilter)) -> Duration {
    let mut time = Duration::ZERO;
    let mut at = (0..announcers.len()).cycle();
    for first in (0..count).step_by(BATCH as usize) {
        let filters: Vec<_> = (first..count.min(first + BATCH)).map(exact).collect();
        let announcer = &mut announcers[at.next().unwrap()];
        let start = Instant::now();
        filters.iter().for_each(|filter| call(announcer, filter));
        know_all(announcer);
        time += start.elapsed();
    }
    time
}

fn know_all(announcer: &mut Announcer) {
    announcer.join("node", 1);
    while let Some((_, Announcement { cell, epoch, last, .. })) = announcer.next_announcement("node") {
        let number = Some(last);
        announcer.answer("node", 1, InterestAnswer { cell, epoch, number, incoming: None, is_joined: true });
    }
}

/// Each cell in turn announces some filters.
fn change(
    table: &mut InterestTable,
    numbers: &mut [u64],
    (filter, range): (fn(u32) -> TopicFilter, Range<u32>),
    is_wanted: bool,
) -> Duration {
    let mut time = Duration::ZERO;
    let mut at = (0..numbers.len()).cycle();
    for first in range.clone().step_by(BATCH as usize) {
        let changes: Vec<_> = (first..range.end.min(first + BATCH))
            .map(|number| (Interest::new(&filter(number), &key()), is_wanted))
            .collect();
        let cell = at.next().unwrap();
        let (first, added) = (numbers[cell] + 1, changes.len() as u64);
        numbers[cell] += added;
        let what = Announced::Changes { first, changes };
        let announcement = Announcement { cell: id(cell as u32), epoch: 1, last: numbers[cell], what };
        let start = Instant::now();
        let answer = table.take(announcement);
        time += start.elapsed();
        assert_eq!(answer.number, Some(numbers[cell]));
    }
    time
}

/// A new owner tells all interest of a cell: nanoseconds of a filter at the node that is told, and the longest part.
fn adopt(table: &mut InterestTable, count: u32, cells: u32) -> (u128, Duration) {
    let mut announcer = announcer(0, 2);
    let batches = (0..count).step_by(BATCH as usize).step_by(cells as usize);
    let filters = batches.flat_map(|first| first..count.min(first + BATCH));
    let filters = filters.map(|number| announcer.subscribe(&exact(number))).count();
    (0..WILDCARDS).for_each(|number| _ = announcer.subscribe(&wildcard(number)));
    announcer.join("node", 1);
    let (mut time, mut longest) = (Duration::ZERO, Duration::ZERO);
    while let Some((_, announcement)) = announcer.next_announcement("node") {
        let start = Instant::now();
        let answer = table.take(announcement);
        let part = start.elapsed();
        (time, longest) = (time + part, longest.max(part));
        announcer.answer("node", 1, answer);
    }
    (time.as_nanos() / filters as u128, longest)
}

/// The time of one match in nanoseconds. Each match finds `cells` cells.
fn matching(table: &InterestTable, cells: usize, topic: impl Fn(u32) -> String) -> u128 {
    let topics: Vec<_> = (0..TOPICS).map(|number| TopicName::try_from(topic(number).as_str()).unwrap()).collect();
    topics.iter().for_each(|topic| assert_eq!(table.matching(topic).iter().count(), cells));
    let round = || {
        let start = Instant::now();
        topics.iter().for_each(|topic| _ = black_box(table.matching(topic)));
        start.elapsed()
    };
    (0..ROUNDS).map(|_| round()).min().unwrap().as_nanos() / u128::from(TOPICS)
}

fn exact(number: u32) -> TopicFilter {
    TopicFilter::try_from(format!("devices/{number:010}/commands").as_str()).unwrap()
}

fn wildcard(number: u32) -> TopicFilter {
    TopicFilter::try_from(format!("sites/{number:06}/+/alarms").as_str()).unwrap()
}

fn id(cell: u32) -> CellId {
    CellId(cell as u8)
}

fn announcer(cell: u32, epoch: u64) -> Announcer {
    Announcer::new(id(cell), epoch, key(), AnnouncerLimits::default())
}

fn key() -> InterestKey {
    InterestKey::new(&[7; 16])
}

fn resident() -> u64 {
    allocator::release();
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

const ROUNDS: u32 = 5;
/// Filters in an announcement.
const BATCH: u32 = 1_000;
const WILDCARDS: u32 = 1_000;
/// Enough that no CPU cache holds the paths to all of them.
const TOPICS: u32 = 100_000;
