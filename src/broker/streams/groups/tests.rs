//! The rules of a group, without shards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::broker::persistence::stream_group::GroupPosition;
use crate::broker::streams::groups::dispatch::GroupDispatch;
use crate::broker::streams::groups::fresh::{FRESH_MESSAGES_MAX, FreshMessage};
use crate::broker::streams::groups::ledger::{Ledger, Reading, WINDOW_MESSAGES_MAX};
use crate::broker::streams::groups::refusals::Refusal;
use crate::broker::streams::read::{ReadMessages, StoredStreamMessage};
use crate::broker::streams::start::StreamStart;
use crate::codec::{ClientId, Message, MessageProperties, MessageProperty, Qos};
use crate::routing::{Access, AccessAction, AccessRule, Effect, Location, RuleSource, SessionKey, ShardId, Subscriber};
use crate::timestamp::Timestamp;
use crate::topic::{TopicFilter, TopicName};

const SHARD: ShardId = ShardId(0);
const NOW: Timestamp = Timestamp(1_000);
/// All refused messages are due.
const LATER: Timestamp = Timestamp(1_000_000);

fn member(key: u64) -> Arc<Subscriber> {
    member_with(key, Access::everything())
}

fn member_with(key: u64, access: Access) -> Arc<Subscriber> {
    let location = Location { shard: SHARD, slot: u32::try_from(key).unwrap() };
    Arc::new(Subscriber::new(SessionKey(key), ClientId("c".into()), location, Arc::new(access)))
}

/// A message whose topic is its sequence modulo `topics`.
fn stored(sequence: u64, topics: u64) -> StoredStreamMessage {
    let topic = TopicName::new(format!("t/{}", sequence % topics).into()).unwrap();
    let message = Message { qos: Qos::AtLeastOnce, ..Message::new(topic, "x") };
    StoredStreamMessage { sequence, timestamp: sequence * 10, message, expires_at: Timestamp::NEVER }
}

/// Reads as a shard does, from a stream that has the messages `oldest..end`. Returns whether something was read.
fn read(ledger: &mut Ledger, (oldest, end): (u64, u64), dispatch: &GroupDispatch) -> bool {
    let Some(from) = ledger.wanted() else { return false };
    let from = match from {
        StreamStart::Sequence(from) => from.max(oldest),
        StreamStart::Earliest => oldest,
        StreamStart::Latest => end,
        StreamStart::Time(time) => time.div_ceil(10).clamp(oldest, end),
    };
    if from >= end {
        return false;
    }
    let next = end.min(from + 7);
    ledger.set_reading(Reading::Reads(SHARD, 1));
    let messages = Arc::new((from..next).map(|sequence| stored(sequence, 5)).collect());
    ledger.on_read(ReadMessages { messages, next, oldest, unreadable: None }, dispatch.clone());
    true
}

/// Reads all, and takes and acknowledges all, of all members.
fn drain(ledger: &mut Ledger, members: &[u64], range: (u64, u64), dispatch: &GroupDispatch) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    loop {
        let mut is_idle = !read(ledger, range, dispatch);
        ledger.send_again(LATER);
        for member in members {
            while let Some(taken) = ledger.take(SessionKey(*member), NOW) {
                all.push((*member, taken.sequence));
                ledger.settle(taken.sequence, taken.delivery);
                is_idle = false;
            }
        }
        if is_idle {
            return all;
        }
    }
}

fn earliest() -> Ledger {
    Ledger::new(GroupPosition::new(StreamStart::Earliest))
}

#[test]
fn messages_go_round_and_the_position_is_the_first_that_is_not_acknowledged() {
    let mut ledger = earliest();
    (1..=3).for_each(|key| ledger.join(member(key), 10));
    assert!(read(&mut ledger, (1, 7), &GroupDispatch::RoundRobin));
    let of = |ledger: &mut Ledger, key| ledger.take(SessionKey(key), NOW).map(|taken| (taken.sequence, taken.delivery));
    let first: Vec<_> = (1..=3).map(|key| of(&mut ledger, key).unwrap()).collect();
    assert_eq!(first.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 2, 3]);
    for (sequence, delivery) in &first[1..] {
        ledger.settle(*sequence, *delivery);
    }
    let position = ledger.position();
    assert_eq!((position.from, position.until), (StreamStart::Sequence(1), 7));
    assert_eq!(position.open, [1, 4, 5, 6]);
    ledger.settle(first[0].0, first[0].1);
    assert_eq!(ledger.position().from, StreamStart::Sequence(4));
    assert_eq!(ledger.position().open, [4, 5, 6]);
}

#[test]
fn a_read_has_several_messages_for_each_of_many_members_and_no_more_than_the_window() {
    let mut ledger = earliest();
    let mut joined = 0;
    for (members, messages_max) in [(1, 512), (32, 512), (50, 800), (64, 1_024), (600, 1_024)] {
        (joined + 1..=members).for_each(|key| ledger.join(member(key), 10));
        joined = members;
        assert_eq!(ledger.chunk_max(), messages_max, "{members}");
    }
    for from in (1..).step_by(7) {
        let room = WINDOW_MESSAGES_MAX + 1 - from;
        assert_eq!(ledger.chunk_max(), room.min(1_024));
        if !read(&mut ledger, (1, 10_000), &GroupDispatch::RoundRobin) {
            assert!(room < 512, "{room}");
            break;
        }
    }
}

#[test]
fn a_member_that_leaves_gives_its_messages_to_others_in_their_order() {
    let mut ledger = earliest();
    (1..=2).for_each(|key| ledger.join(member(key), 10));
    read(&mut ledger, (1, 7), &GroupDispatch::RoundRobin);
    let taken: Vec<_> = (0..2).map(|_| ledger.take(SessionKey(1), NOW).unwrap()).collect();
    ledger.leave(SessionKey(1));
    let got = drain(&mut ledger, &[1, 2], (1, 7), &GroupDispatch::RoundRobin);
    assert_eq!(got, (1..7).map(|sequence| (2, sequence)).collect::<Vec<_>>());
    ledger.settle(taken[0].sequence, taken[0].delivery); // too late
    assert_eq!(ledger.position(), GroupPosition { until: 7, ..GroupPosition::new(StreamStart::Sequence(7)) });
}

#[test]
fn without_members_nothing_is_in_memory_and_what_was_acknowledged_is_not_sent_again() {
    let mut ledger = earliest();
    ledger.join(member(1), 3);
    read(&mut ledger, (1, 7), &GroupDispatch::RoundRobin);
    let taken: Vec<_> = (0..3).map(|_| ledger.take(SessionKey(1), NOW).unwrap()).collect();
    assert!(ledger.take(SessionKey(1), NOW).is_none(), "it has three");
    ledger.settle(taken[1].sequence, taken[1].delivery);
    ledger.leave(SessionKey(1));
    assert_eq!(ledger.members(), (0, 0));
    assert!(ledger.wanted().is_none());
    let mut again = Ledger::new(ledger.position());
    for ledger in [&mut ledger, &mut again] {
        ledger.join(member(2), 3);
        let got = drain(ledger, &[2], (1, 10), &GroupDispatch::RoundRobin);
        assert_eq!(got, [1, 3, 4, 5, 6, 7, 8, 9].map(|sequence| (2, sequence)));
    }
}

#[test]
fn a_former_member_keeps_what_was_sent_to_it() {
    let mut ledger = earliest();
    ledger.join(member(1), 10);
    read(&mut ledger, (1, 4), &GroupDispatch::RoundRobin);
    let taken = ledger.take(SessionKey(1), NOW).unwrap();
    ledger.retire(SessionKey(1));
    assert_eq!(ledger.position().open, [1, 2, 3]);
    ledger.join(member(2), 10);
    assert_eq!(drain(&mut ledger, &[2], (1, 4), &GroupDispatch::RoundRobin), [(2, 2), (2, 3)]);
    ledger.settle(1, taken.delivery);
    assert_eq!(ledger.position().from, StreamStart::Sequence(4));
    let mut ledger = earliest();
    ledger.join(member(1), 10);
    read(&mut ledger, (1, 4), &GroupDispatch::RoundRobin);
    ledger.take(SessionKey(1), NOW).unwrap();
    ledger.retire(SessionKey(1));
    ledger.leave(SessionKey(1)); // its connection ends without an acknowledgement
    ledger.join(member(2), 10);
    assert_eq!(drain(&mut ledger, &[2], (1, 4), &GroupDispatch::RoundRobin), [(2, 1), (2, 2), (2, 3)]);
}

/// The messages of a key may have topics that different members may receive.
#[test]
fn a_message_of_a_key_waits_for_an_earlier_one_that_another_member_was_given() {
    let mut ledger = earliest();
    for key in 1..=2 {
        let rule = AccessRule {
            effect: Effect::Allow,
            action: AccessAction::Subscribe,
            topic_filter: TopicFilter::new(format!("t/{key}").into()).unwrap(),
            source: RuleSource::new("acl.txt", 1, ""),
        };
        ledger.join(member_with(key, Access::new(vec![rule])), 10);
    }
    let properties = MessageProperties::from_properties([MessageProperty::UserProperty("k".into(), "v".into())]);
    let messages = (1..=2).map(|sequence| {
        let stored = stored(sequence, 5);
        StoredStreamMessage { message: Message { properties: properties.clone(), ..stored.message }, ..stored }
    });
    ledger.set_reading(Reading::Reads(SHARD, 1));
    let read = ReadMessages { messages: Arc::new(messages.collect()), next: 3, oldest: 1, unreadable: None };
    ledger.on_read(read, GroupDispatch::HashKey("k".into()));
    assert!(ledger.take(SessionKey(2), NOW).is_none(), "the first one is not acknowledged");
    let first = ledger.take(SessionKey(1), NOW).unwrap();
    assert!(ledger.take(SessionKey(2), NOW).is_none(), "the first one is not acknowledged");
    ledger.settle(first.sequence, first.delivery);
    assert_eq!(ledger.take(SessionKey(2), NOW).unwrap().sequence, 2);
}

#[test]
fn trimmed_messages_are_named_and_a_reset_forgets_what_was_sent() {
    let mut ledger = earliest();
    ledger.join(member(1), 10);
    read(&mut ledger, (1, 4), &GroupDispatch::RoundRobin);
    let before = ledger.take(SessionKey(1), NOW).unwrap();
    ledger.reset(GroupPosition::new(StreamStart::Sequence(1)));
    read(&mut ledger, (3, 6), &GroupDispatch::RoundRobin);
    ledger.settle(before.sequence, before.delivery);
    let taken = ledger.take(SessionKey(1), NOW).unwrap();
    assert_eq!((taken.sequence, taken.lost.trimmed()), (3, Some(&(1..=2))));
    assert!(ledger.take(SessionKey(1), NOW).unwrap().lost.trimmed().is_none());
}

#[test]
fn what_is_missing_is_named_by_the_next_message_however_many_reads_later() {
    let mut ledger = Ledger::new(GroupPosition::new(StreamStart::Sequence(5)));
    ledger.join(member(1), 10);
    for (next, oldest, unreadable) in [(10, 10, None), (12, 10, Some(10..=11))] {
        ledger.set_reading(Reading::Reads(SHARD, 1));
        let chunk = ReadMessages { messages: Arc::default(), next, oldest, unreadable };
        ledger.on_read(chunk, GroupDispatch::RoundRobin);
    }
    read(&mut ledger, (10, 14), &GroupDispatch::RoundRobin);
    let taken = ledger.take(SessionKey(1), NOW).unwrap();
    let named = (taken.lost.trimmed(), taken.lost.unreadable());
    assert_eq!((taken.sequence, named), (12, (Some(&(5..=9)), Some(&(10..=11)))));
    assert!(ledger.take(SessionKey(1), NOW).unwrap().lost.trimmed().is_none());
}

#[test]
fn a_time_is_kept_until_a_message_of_it_is_there() {
    let mut ledger = Ledger::new(GroupPosition::new(StreamStart::Time(45)));
    assert_eq!(ledger.position().from, StreamStart::Time(45));
    ledger.join(member(1), 10);
    ledger.set_reading(Reading::Reads(SHARD, 1));
    let messages = Arc::new((1..4).map(|sequence| stored(sequence, 5)).collect());
    let chunk = ReadMessages { messages, next: 4, oldest: 1, unreadable: None };
    ledger.on_read(chunk, GroupDispatch::RoundRobin);
    assert_eq!(ledger.position().from, StreamStart::Time(45));
    assert_eq!(
        drain(&mut ledger, &[1], (1, 9), &GroupDispatch::RoundRobin),
        [5, 6, 7, 8].map(|sequence| (1, sequence))
    );
    assert_eq!(ledger.position().from, StreamStart::Sequence(9));
}

fn offer(ledger: &mut Ledger, sequences: impl IntoIterator<Item = u64>) {
    let messages: Vec<_> =
        sequences.into_iter().map(|sequence| FreshMessage::from_read(&stored(sequence, 5))).collect();
    let wants = |fresh: &FreshMessage| fresh.message.topic.as_str() != "t/0";
    ledger.add_fresh(&messages, wants, GroupDispatch::RoundRobin);
    ledger.follow_fresh();
}

#[test]
fn stable_messages_need_no_read_once_those_before_them_are_there() {
    let mut ledger = Ledger::new(GroupPosition::new(StreamStart::Sequence(1)));
    offer(&mut ledger, 1..3);
    ledger.join(member(1), 9_000);
    assert_eq!(ledger.progress(), (Some(1), 0), "there was no member");
    ledger.set_reading(Reading::Waits(SHARD));
    let taken = |ledger: &mut Ledger| -> Vec<u64> {
        std::iter::from_fn(|| ledger.take(SessionKey(1), NOW).map(|taken| taken.sequence)).collect()
    };
    offer(&mut ledger, [3, 4, 7]);
    assert_eq!(taken(&mut ledger), [0; 0], "another shard has accepted 1 and 2");
    offer(&mut ledger, [1, 2]);
    assert_eq!(taken(&mut ledger), [1, 2, 3, 4]);
    offer(&mut ledger, [5, 6]);
    assert_eq!(taken(&mut ledger), [6, 7], "the topic of 5 is not wanted");
    offer(&mut ledger, [6, 7, 8]);
    assert_eq!(taken(&mut ledger), [8], "6 and 7 were there");
    ledger.set_reading(Reading::Reads(SHARD, 1));
    offer(&mut ledger, [9, 10, 11]);
    assert_eq!(taken(&mut ledger), [0; 0], "they are in the answer");
    let messages = Arc::new((9..11).map(|sequence| stored(sequence, 5)).collect());
    ledger.on_read(ReadMessages { messages, next: 11, oldest: 1, unreadable: None }, GroupDispatch::RoundRobin);
    ledger.follow_fresh();
    assert_eq!(taken(&mut ledger), [9, 10, 11]);
}

#[test]
fn a_group_keeps_a_bounded_number_of_stable_messages_and_reads_the_others() {
    let mut ledger = Ledger::new(GroupPosition::new(StreamStart::Sequence(1)));
    ledger.join(member(1), 9_000);
    let far = WINDOW_MESSAGES_MAX as u64 * 3;
    offer(&mut ledger, 1..far);
    let (next, open) = ledger.progress();
    assert_eq!(open, WINDOW_MESSAGES_MAX);
    let next = next.unwrap();
    while let Some(taken) = ledger.take(SessionKey(1), NOW) {
        ledger.settle(taken.sequence, taken.delivery);
    }
    ledger.follow_fresh();
    assert_eq!(ledger.progress().0, Some(next + FRESH_MESSAGES_MAX as u64), "it had these");
    let rest = drain(&mut ledger, &[1], (1, far), &GroupDispatch::RoundRobin);
    assert_eq!(rest.last(), Some(&(1, far - 1)));
}

#[test]
fn a_group_that_is_behind_keeps_no_stable_messages() {
    let mut ledger = Ledger::new(GroupPosition::new(StreamStart::Sequence(2)));
    ledger.join(member(1), 10);
    let end = 2 + FRESH_MESSAGES_MAX as u64;
    offer(&mut ledger, [1, end, end + 1]);
    assert_eq!(ledger.kept_fresh(), 0);
    offer(&mut ledger, [end - 1]);
    assert_eq!(ledger.kept_fresh(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Join(u64),
    Leave(u64),
    Retire(u64),
    Take(u64),
    /// The delivery with this index among those that are open.
    Settle(usize),
    /// A member refuses a message, which is due after this number of milliseconds.
    Refuse(usize, u64),
    /// The clock advances by this number of milliseconds.
    Wait(u64),
    GiveBack(usize),
    Append(u64),
    Read,
    /// A read begins, or the one that is in progress ends.
    BeginRead,
    EndRead,
    /// A shard passes its next messages to the group: the number of the shard, and the greatest number of messages.
    Offer(usize, usize),
    /// The broker crashes, and goes on with the position.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..5_u64).prop_map(Step::Join),
        1 => (1..5_u64).prop_map(Step::Leave),
        1 => (1..5_u64).prop_map(Step::Retire),
        8 => (1..5_u64).prop_map(Step::Take),
        6 => any::<usize>().prop_map(Step::Settle),
        3 => (any::<usize>(), 1..20_u64).prop_map(|(place, wait)| Step::Refuse(place, wait)),
        3 => (1..20_u64).prop_map(Step::Wait),
        1 => any::<usize>().prop_map(Step::GiveBack),
        3 => (1..9_u64).prop_map(Step::Append),
        2 => Just(Step::Read),
        1 => Just(Step::BeginRead),
        2 => Just(Step::EndRead),
        6 => (0..2_usize, 1..6_usize).prop_map(|(shard, count)| Step::Offer(shard, count)),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    /// Each message is acknowledged in the end, none after it was acknowledged is sent again, no two members have messages of a key at the same time,
    /// and those of a key are taken in order, except for those that were sent before. What was refused is not sent before it is due, nor after a later
    /// one of its key that was not sent.
    #[test]
    fn any_history_delivers_all(steps in prop::collection::vec(step(), 1..120), is_keyed: bool) {
        let dispatch = if is_keyed { GroupDispatch::HashTopic } else { GroupDispatch::RoundRobin };
        let (mut ledger, mut end) = (earliest(), 1);
        let mut joined = BTreeSet::new();
        // By sequence: member and delivery.
        let mut open: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let (mut sent, mut settled) = (BTreeSet::new(), BTreeSet::new());
        // By sequence: when it is due, if it was not sent since, and how often it was refused.
        let (mut due, mut refused) = (BTreeMap::<u64, Timestamp>::new(), BTreeMap::<u64, u16>::new());
        let mut now = NOW;
        // By shard: the message from which on it has passed none. Of three messages, the first shard has accepted two.
        let mut offered = [1, 1];
        let shard_of = |sequence: u64| usize::from(sequence.is_multiple_of(3));
        let begun = Reading::Reads(SHARD, 2);
        for step in steps {
            match step {
                Step::Join(key) => if joined.insert(key) { ledger.join(member(key), 4) },
                Step::Leave(key) => {
                    joined.remove(&key);
                    ledger.leave(SessionKey(key));
                    open.retain(|_, (holder, _)| *holder != key);
                }
                Step::Retire(key) => if joined.remove(&key) { ledger.retire(SessionKey(key)) },
                Step::Take(key) => if let Some(taken) = ledger.take(SessionKey(key), NOW) {
                    let sequence = taken.sequence;
                    prop_assert!(due.remove(&sequence).is_none_or(|due| due <= now));
                    prop_assert_eq!(taken.refused, refused.get(&sequence).copied().unwrap_or_default());
                    prop_assert!(joined.contains(&key) && !settled.contains(&sequence));
                    prop_assert!(open.insert(sequence, (key, taken.delivery)).is_none());
                    if is_keyed {
                        let others = open.iter().filter(|(other, (holder, _))| *other % 5 == sequence % 5 && *holder != key);
                        prop_assert_eq!(others.count(), 0);
                        let earlier = (1..sequence).filter(|other| other % 5 == sequence % 5);
                        prop_assert!(earlier.clone().all(|other| sent.contains(&other)));
                        prop_assert!(earlier.into_iter().all(|other| !due.contains_key(&other)));
                    }
                    sent.insert(sequence);
                },
                Step::Settle(place) if !open.is_empty() => {
                    let (sequence, (_, delivery)) = open.iter().nth(place % open.len()).map(|(a, b)| (*a, *b)).unwrap();
                    open.remove(&sequence);
                    ledger.settle(sequence, delivery);
                    settled.insert(sequence);
                }
                Step::GiveBack(place) if !open.is_empty() => {
                    let (sequence, (_, delivery)) = open.iter().nth(place % open.len()).map(|(a, b)| (*a, *b)).unwrap();
                    open.remove(&sequence);
                    ledger.give_back(sequence, delivery);
                }
                Step::Refuse(place, wait) if !open.is_empty() => {
                    let (sequence, (_, delivery)) = open.iter().nth(place % open.len()).map(|(a, b)| (*a, *b)).unwrap();
                    open.remove(&sequence);
                    let attempts = refused.entry(sequence).or_default();
                    *attempts += 1;
                    let refusal = Refusal { attempts: *attempts, due: Timestamp(now.0 + wait) };
                    ledger.refuse(sequence, delivery, refusal);
                    due.insert(sequence, refusal.due);
                }
                Step::Wait(millis) => {
                    now.0 += millis;
                    ledger.send_again(now);
                }
                Step::Settle(_) | Step::GiveBack(_) | Step::Refuse(..) => {}
                Step::Append(count) => end += count,
                Step::Read => _ = read(&mut ledger, (1, end), &dispatch),
                Step::BeginRead => if ledger.wanted().is_some() { ledger.set_reading(begun) },
                Step::EndRead => if ledger.reading() == begun {
                    ledger.set_reading(Reading::Idle);
                    if !read(&mut ledger, (1, end), &dispatch) { ledger.set_reading(begun) }
                },
                Step::Offer(shard, count) => {
                    let next = &mut offered[shard];
                    let of_shard = (*next..end).filter(|sequence| shard_of(*sequence) == shard).take(count);
                    let messages: Vec<_> = of_shard.map(|sequence| FreshMessage::from_read(&stored(sequence, 5))).collect();
                    *next = messages.last().map_or(*next, |last| last.sequence + 1);
                    ledger.add_fresh(&messages, |_| true, dispatch.clone());
                }
                Step::Crash => {
                    offered = [end, end];
                    ledger = Ledger::new(ledger.position());
                    open.clear();
                    joined.clear();
                }
            }
            ledger.follow_fresh();
            let position = ledger.position();
            for sequence in 1..end {
                let is_done = match position.from {
                    StreamStart::Sequence(from) => sequence < from || sequence < position.until && !position.open.contains(&sequence),
                    StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) => false,
                };
                prop_assert_eq!(is_done, settled.contains(&sequence), "{} {:?}", sequence, position);
            }
        }
        for (sequence, (_, delivery)) in open {
            ledger.settle(sequence, delivery);
            settled.insert(sequence);
        }
        if joined.insert(9) {
            ledger.join(member(9), 4);
        }
        if ledger.reading() == begun {
            ledger.set_reading(Reading::Idle);
        }
        let members: Vec<u64> = joined.into_iter().collect();
        for (_, sequence) in drain(&mut ledger, &members, (1, end), &dispatch) {
            prop_assert!(settled.insert(sequence));
        }
        prop_assert_eq!(settled.len() as u64, end - 1);
    }
}
