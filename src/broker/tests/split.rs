//! What the cells of a cluster get of the log of one broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::packets::*;
use crate::broker::persistence::dead_letter::{DeadLetter, DeadLetterInfo};
use crate::broker::persistence::receipt::{Originator, ReceiptChange, ReceiptState};
use crate::broker::streams::table::TopicStreams;
use crate::broker::{
    Addressed, Deduplicated, Delay, Durability, Owner, Record, RecordBytes, RecordKey, Recovered, Recovery,
    RetainedChange, Split, SplitError, SplitTerms, StoredMark, StreamBounds, StreamDefinition, VerifiedUser, WillState,
};
use crate::codec::{ClientId, Matched, Message, MessageId, PacketId, Qos, SubscriptionId};
use crate::routing::{Access, CellId, Location, RetainedMessage, SessionKey, ShardId, Subscriber};
use crate::session::{Delivery, DeliveryPlace, Redelivery};
use crate::timestamp::Timestamp;
use crate::topic::{Filter, MountPoint, TopicFilter, TopicName};

const TERMS: SplitTerms = SplitTerms { cells: 3, drops_receipts: false };

/// A change, by some numbers.
type Change = (u8, u8, u8, u8);

fn client_id(session: u8) -> ClientId {
    format!("client {session}").as_str().into()
}

fn key(session: u8) -> SessionKey {
    SessionKey(u64::from(session) + 1)
}

fn owner(session: u8) -> Owner {
    let user = |name: &str| Owner::of(Some(VerifiedUser { provider: "tokens".into(), name: name.into() }));
    match session % 5 {
        0 => Owner::Anonymous,
        1 => Owner::Anonymous.below(MountPoint::new("m/").ok().as_ref()),
        2 => Owner::named("alice".into()),
        3 => user("bob").below(MountPoint::new("m/").ok().as_ref()),
        _ => Owner::Unknown,
    }
}

fn share() -> Filter {
    Filter::try_from("$share/g/#").unwrap()
}

fn message(number: u64, topic: u8) -> Arc<Message> {
    let topic = TopicName::new(format!("topic/{topic}").into()).unwrap();
    let id = Some(MessageId { run: u64::MAX - 1, number });
    Arc::new(Message { id, is_noted: true, qos: Qos::AtLeastOnce, ..Message::new(topic, format!("m{number}")) })
}

fn delivery(message: &Arc<Message>, how: u8) -> Delivery {
    let subscription_ids = SubscriptionId::new(u32::from(how) + 1).into_iter().collect();
    let share = how.is_multiple_of(3).then(|| Arc::new(share()));
    let matched = Some(Arc::new(Matched { subscription_ids, share, ..Matched::default() }));
    let qos = if how.is_multiple_of(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
    let (expires_at, place) = (Timestamp::NEVER, DeliveryPlace::Record);
    Delivery { message: Arc::clone(message), qos, retain: how.is_multiple_of(5), expires_at, matched, place }
}

/// The record of the change with this number, which all numbers in it follow.
fn record(number: u64, (kind, a, b, c): Change) -> Record {
    let (a, session) = (a % SESSIONS, key(a % SESSIONS));
    // Of a message before, if it was for the Session. Sequences ascend.
    let sequence = number.saturating_sub(u64::from(c % 8)).max(1);
    match kind % 19 {
        0 | 1 => Record::SessionOpened {
            key: session,
            client_id: client_id(a),
            owner: owner(a),
            session_expiry_interval: b.into(),
            will: c.is_multiple_of(2).then(|| Box::new(will("will", "gone"))),
        },
        2 => Record::SessionDetached {
            key: session,
            session_expiry_interval: b.into(),
            at: Timestamp(number),
            will: if c.is_multiple_of(2) { WillState::Gone } else { WillState::Delayed },
            sent_until: c.into(),
        },
        3 | 4 => {
            let filters = ["a/#", "b", "$share/g/#"].into_iter().skip(usize::from(b % 3));
            let subscriptions = filters.map(|filter| subscription(filter, options(Q1))).collect();
            let id = SubscriptionId::new(c.into());
            Record::Subscribed { key: session, subscriptions, subscription_id: id, message_id: a.is_multiple_of(2) }
        }
        5 => Record::Unsubscribed { key: session, filters: vec![Filter::try_from("b").unwrap()] },
        6 => Record::SessionEnded { key: session },
        7 => Record::SessionGone { key: session, left: vec![sequence] },
        8 => Record::Redelivery { key: session, sequence, state: redelivery(number) },
        9 => Record::OutboundReleased { key: session, sequence, is_of_link: false },
        10 => Record::Done { key: session, sequence },
        11 => Record::ReceivedReleased { key: session, packet_id: packet_id(c), is_of_link: false },
        12 => dead_letter(number, a, sequence),
        13 => Record::RetainedDeletion {
            number,
            filter: TopicFilter::try_from(["topic/1", "topic/+"][usize::from(b % 2)]).unwrap(),
        },
        _ => accepted(number, (kind, a, b, c)),
    }
}

fn redelivery(number: u64) -> Redelivery {
    Redelivery { attempts: 2, reason_code: 0x97, due: Timestamp(number), origin: 3, topic: 4 }
}

fn packet_id(number: u8) -> PacketId {
    PacketId::new(u16::from(number % 4) + 1).unwrap()
}

fn dead_letter(number: u64, session: u8, sequence: u64) -> Record {
    let delivery = delivery(&message(number, 1), 1);
    let info = DeadLetterInfo {
        session: key(session),
        client_id: client_id(session),
        owner: owner(session),
        attempts: 5,
        reason_code: 0x80,
        at: Timestamp(number),
        topic: delivery.message.topic.as_str().into(),
        bytes: u32::try_from(delivery.queued_bytes()).unwrap(),
    };
    let letter = Box::new(DeadLetter { number, info, delivery });
    Record::DeadLetterKept { letter, sequence, at: Timestamp(number), change: None }
}

/// A message for some Sessions, with some of what a record of a message can have.
fn accepted(number: u64, (kind, a, b, c): Change) -> Record {
    let has = |bit: u8| kind & 1 << bit != 0;
    let message = match c % 4 {
        0 => Arc::new(Message { payload: "".into(), ..Message::clone(&message(number, b % 3)) }),
        _ => message(number, b % 3),
    };
    let to = |session: u8| {
        let arriving = Location { shard: ShardId(0), slot: Location::ARRIVING };
        let access = Arc::new(Access::everything());
        let to = Arc::new(Subscriber::new(key(session), client_id(session), arriving, access));
        Addressed { to, sequence: number, delivery: delivery(&message, b.wrapping_add(session)) }
    };
    let of_client = owner(a).publisher_name(client_id(a).as_str());
    let dedup = Deduplicated {
        number,
        publisher: of_client.into(),
        id: number.to_string().into(),
        at: Timestamp(number),
        holder: None,
        left: Vec::new(),
    };
    let delay = Delay {
        number,
        due: Timestamp(number + 9),
        at: Timestamp(number),
        retain: true,
        session: key(a),
        client_id: client_id(a),
        owner: owner(a),
    };
    let retained = match (has(5), message.payload.is_empty()) {
        (false, _) => RetainedChange::None,
        (true, true) => RetainedChange::Cleared { number, gone: Vec::new() },
        (true, false) => {
            let owner = (a % 4 > 0).then(|| Box::new(owner(a)));
            RetainedChange::Set { number, gone: Vec::new(), publisher: Some(client_id(a)), owner }
        }
    };
    Record::Accepted {
        publisher: has(6).then(|| (key(a), packet_id(c))),
        qos: message.qos,
        at: Timestamp(number),
        expires_at: b.is_multiple_of(3).then_some(Timestamp(number + 99)),
        retained,
        deduplicated: has(7).then(|| Box::new(dedup)),
        receivers: Arc::new((0..SESSIONS).filter(|session| b & 1 << session != 0).map(to).collect()),
        streams: TopicStreams::new(),
        sequences: None,
        durability: Durability::PowerLoss,
        is_awaited: false,
        instead_of: None,
        delayed: b.is_multiple_of(7).then(|| Box::new(delay)),
        receipt: None,
        message,
    }
}

type Live<'a> = (&'a RecordBytes, Vec<RecordKey>, Vec<&'a [u8]>);

/// The live entries of a log: the record, and those of its puts that no later one has replaced or deleted.
fn live(records: &[RecordBytes]) -> Vec<Live<'_>> {
    let mut places = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        places.retain(|key: &RecordKey, _| record.ends != Some(key.group));
        record.deletes.iter().for_each(|key| _ = places.remove(key));
        places.extend(record.puts.iter().map(|key| (*key, place)));
    }
    let live = records.iter().enumerate().map(|(place, record)| {
        let parts = record.parts.iter().chain(std::iter::repeat(&[][..]));
        let puts = record.puts.iter().zip(parts).filter(|(key, _)| places.get(key) == Some(&place));
        let (puts, parts): (Vec<_>, _) = puts.map(|(key, part)| (*key, part)).unzip();
        (record, puts, parts)
    });
    live.filter(|(_, puts, _)| !puts.is_empty()).collect()
}

fn recover(records: &[RecordBytes]) -> Recovered {
    let mut recovery = Recovery::default();
    for RecordBytes { body, puts, parts, deletes, ends, .. } in records {
        recovery.apply(body, (puts, &parts.list()), deletes, *ends);
    }
    recovery.finish()
}

/// What each cell recovers.
fn split(records: &[RecordBytes], terms: SplitTerms) -> Result<Vec<Recovered>, SplitError> {
    let split = Split::new(recover(records), terms)?;
    let mut cells: Vec<Recovery> = (0..terms.cells).map(|_| Recovery::default()).collect();
    for (record, puts, parts) in live(records) {
        let mut bytes = 0;
        split.divide(&record.body, (&puts, &parts), &mut |CellId(cell), body, puts, parts| {
            bytes += body.len() + parts.iter().map(|part| part.len()).sum::<usize>() + 24 * puts.len();
            cells[usize::from(cell)].apply(body, (puts, parts), &[], None);
            Ok::<_, SplitError>(())
        })?;
        let bound = Split::bytes_max(terms.cells, &record.body, &puts, &parts);
        assert!(bytes as u64 <= bound, "{bytes} bytes for {puts:?}, and not {bound}");
    }
    Ok(cells.into_iter().map(Recovery::finish).collect())
}

/// What was retained, without what only orders it.
fn contents(retained: &RetainedMessage) -> String {
    let RetainedMessage { message, qos, expires_at, publisher, user, right, .. } = retained;
    let Message { topic, payload, properties, qos: published, .. } = &**message;
    format!(
        "{topic:?} {payload:?} {properties:?} {published:?} {qos:?} {expires_at:?} {publisher:?} {user:?} {right:?}"
    )
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort();
    texts
}

/// What is in one cell alone.
fn once(recovered: &Recovered) -> Vec<String> {
    let Recovered { sessions, delayed, dead_letters, orphans, .. } = recovered;
    let sessions = sessions.iter().map(|session| format!("{session:?}"));
    let letters = dead_letters.iter().map(|letter| format!("{letter:?}"));
    let messages = orphans.iter().flat_map(|orphan| orphan.messages.iter().map(|left| (orphan.key, left)));
    let messages = messages.map(|left| format!("{left:?}"));
    let delayed = delayed.iter().map(|delayed| format!("{delayed:?}"));
    sorted(sessions.chain(letters).chain(messages).chain(delayed))
}

fn check(records: &[RecordBytes]) {
    let before = recover(records);
    let cells = split(records, TERMS).unwrap();
    let (found, expected) = (sorted(cells.iter().flat_map(once)), once(&before));
    let different = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert!(found.len() == expected.len() && different.is_none(), "{different:?}");
    let is_member = |recovered: &Recovered| {
        let mut filters = recovered.sessions.iter().flat_map(|session| &session.subscriptions);
        filters.any(|(subscription, _)| subscription.filter == share())
    };
    let retained: Vec<_> = before.retained.iter().map(|retained| contents(retained)).collect();
    for (number, cell) in (0..).zip(&cells) {
        let of_client = |client_id: &ClientId| CellId::of_client(client_id.as_str(), TERMS.cells) == CellId(number);
        assert!(cell.sessions.iter().all(|session| of_client(&session.client_id)));
        assert!(cell.dead_letters.iter().all(|(_, letter)| of_client(&letter.client_id)));
        let has_left = cell.orphans.iter().any(|orphan| !orphan.messages.is_empty());
        assert!(!has_left || is_member(cell) || !is_member(&before), "a member of another cell could get them");
        let stamps: Vec<_> = (1..).take(retained.len()).map(|run| (run, Some(MessageId { run, number: 0 }))).collect();
        let of_cell = cell.retained.iter();
        assert_eq!(of_cell.clone().map(|one| (one.number, one.message.id)).collect::<Vec<_>>(), stamps);
        assert_eq!(of_cell.map(|retained| contents(retained)).collect::<Vec<_>>(), retained);
        assert!(cell.retained_cleared.is_empty() && cell.retained_gone.is_empty());
        assert_eq!((cell.unreadable, format!("{:?}", cell.anchor)), (0, format!("{:?}", before.anchor)));
        for entry in &before.deduplicated {
            let client = Owner::client_of(&entry.publisher).map(|client_id| of_client(&client_id.into()));
            assert_eq!(cell.deduplicated.contains(entry), client.unwrap_or(true), "{entry:?}");
        }
        assert!(cell.deduplicated.iter().all(|entry| before.deduplicated.contains(entry)));
    }
}

fn encode(changes: &[Change]) -> Vec<RecordBytes> {
    (1..).zip(changes).map(|(number, change)| record(number, *change).to_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cells_have_together_what_the_broker_had_and_each_session_is_in_its_cell(
        opened in prop::collection::vec(any::<(u8, u8)>(), 0..12),
        changes in prop::collection::vec(any::<Change>(), 0..60),
    ) {
        let opened = opened.into_iter().map(|(session, more)| (more % 4, session, 9, more));
        check(&encode(&opened.chain(changes).collect::<Vec<_>>()));
    }
}

#[test]
fn the_messages_of_a_share_whose_session_had_ended_get_to_a_cell_with_a_member() {
    let is_in = |session: &u8| CellId::of_client(client_id(*session).as_str(), TERMS.cells) == CellId(2);
    let (gone, member) = (1, (2..SESSIONS).find(is_in).unwrap());
    // A message for the first one alone, which has no record, by its share.
    let changes = [(0, member, 9, 1), (3, member, 2, 1), (14, gone, 1 << gone, 1)];
    let records = encode(&changes);
    check(&records);
    let cells = split(&records, TERMS).unwrap();
    let left = |cell: &Recovered| cell.orphans.iter().map(|orphan| orphan.messages.len()).sum::<usize>();
    assert_eq!(cells.iter().map(left).collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn what_a_bridge_still_has_to_do_is_in_the_cell_of_its_session() {
    let mark = |number| StoredMark { bridge: format!("b{number}"), text: "{}".to_owned() };
    let records: Vec<_> = (0..20).map(|number| mark(number).to_bytes()).collect();
    let cells = split(&records, TERMS).unwrap();
    for (cell, recovered) in (0..).zip(&cells) {
        let of_cell = |mark: &StoredMark| CellId::of_client(&mark.client_id(), TERMS.cells) == CellId(cell);
        assert!(recovered.bridge_marks.iter().all(of_cell));
    }
    assert_eq!(cells.iter().map(|recovered| recovered.bridge_marks.len()).sum::<usize>(), 20);
}

#[test]
fn the_broker_s_time_goes_on_in_all_cells() {
    let mut records = encode(&[(0, 1, 9, 1)]);
    let anchor = [&7_u64.to_le_bytes()[..], &[0], &5_u64.to_le_bytes(), &6_u64.to_le_bytes(), &[1, 0]].concat();
    let key = RecordKey { group: RecordKey::NO_SESSION, kind: RecordKey::CLOCK, id: 0 };
    records.push(RecordBytes { body: anchor, puts: [key].into_iter().collect(), ..RecordBytes::default() });
    assert!(recover(&records).anchor.is_some());
    check(&records);
}

#[test]
fn open_receipts_are_given_up_only_if_that_is_wanted() {
    let originator = Arc::new(Originator { client_id: "c".into(), owner: Owner::Anonymous });
    let (to, places) = (TopicName::try_from("r").unwrap(), vec![(key(0), 1)]);
    let state = ReceiptState { number: 7, originator, to, at: Timestamp(1), left_out: 0, places };
    let mut with_receipt = accepted(2, (0, 0, 1, 1));
    if let Record::Accepted { receipt, .. } = &mut with_receipt {
        *receipt = Some(Box::new(ReceiptChange::Opened(Box::new(state))));
    }
    let records = [record(1, (0, 0, 9, 1)).to_bytes(), with_receipt.to_bytes()];
    assert_eq!(split(&records, TERMS).unwrap_err(), SplitError::Receipts(1));
    let cells = split(&records, SplitTerms { drops_receipts: true, ..TERMS }).unwrap();
    assert!(cells.iter().all(|cell| cell.receipts.is_empty() && cell.orphans.is_empty()));
    assert_eq!(cells.iter().flat_map(|cell| &cell.sessions).map(|session| session.queue.len()).sum::<usize>(), 1);
}

#[test]
fn a_log_with_what_no_cell_can_have_is_refused() {
    let stream = StreamDefinition {
        number: crate::broker::StreamNumber(1),
        name: "s".into(),
        topic: TopicFilter::try_from("#").unwrap(),
        created: 1,
        bounds: StreamBounds::default(),
        key: None,
    };
    assert_eq!(split(&[stream.to_bytes()], TERMS).unwrap_err(), SplitError::Streams("s".to_owned()));
    let of_cell = Record::SessionOpened {
        key: key(0),
        client_id: "$link/to-1".into(),
        owner: Owner::link(),
        session_expiry_interval: u32::MAX,
        will: None,
    };
    assert_eq!(split(&[of_cell.to_bytes()], TERMS).unwrap_err(), SplitError::Cell);
    let of = |kind, body: &[u8]| {
        let puts = [RecordKey { group: 1, kind, id: 0 }].into_iter().collect();
        [RecordBytes { body: body.to_vec(), puts, ..RecordBytes::default() }]
    };
    assert_eq!(split(&of(RecordKey::DETACHED, b"?"), TERMS).unwrap_err(), SplitError::Unreadable(1));
    let kinds: BTreeSet<u8> =
        (0..=u8::MAX).filter(|kind| !RecordKey { group: 1, kind: *kind, id: 0 }.is_known()).collect();
    for kind in kinds {
        assert_eq!(split(&of(kind, b""), TERMS).unwrap_err(), SplitError::UnknownKinds(vec![kind]));
    }
}

const SESSIONS: u8 = 8;
