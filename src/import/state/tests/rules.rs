//! The rules by which sessions and messages are taken over.

use proptest::prelude::*;

use super::builder::{Client, Db, Message, Queued, VERSIONS};
use super::*;
use crate::broker::RecoveredSession;

/// The Packet Identifier of the message with this sequence.
fn packet_id(sequence: u64) -> u64 {
    (sequence - 1) % 65_535 + 1
}

/// A session with messages in flight with these Packet Identifiers, and two queued ones.
fn in_flight(ids: &[u16]) -> Db {
    let mut db = Db::new(6);
    for id in 1..=ids.len() as u64 + 2 {
        db.message(Message { id, qos: 2, ..Message::default() });
    }
    db.client(Client { last: 40, ..Client::default() });
    for (id, packet_id) in (1..).zip(ids) {
        db.queued(Queued { id, packet_id: *packet_id, qos: 2, state: 5, dup: 1, ..Queued::default() });
    }
    for id in [1, 2].map(|more| ids.len() as u64 + more) {
        db.queued(Queued { id, packet_id: 50, ..Queued::default() });
    }
    db
}

fn only(recovered: Recovered) -> RecoveredSession {
    let [session] = <[_; 1]>::try_from(recovered.sessions).unwrap();
    *session
}

#[test]
fn all_versions_of_the_format_say_the_same() {
    let texts = VERSIONS.map(|version| {
        let mut db = Db::new(version);
        db.message(Message { id: 4, topic: b"r", ..Message::default() });
        db.message(Message { id: 3, topic: b"q", qos: 2, ..Message::default() });
        db.message(Message { id: 2, topic: b"in", qos: 2, ..Message::default() });
        db.client(Client { last: 9, ..Client::default() });
        db.queued(Queued { id: 2, packet_id: 33, qos: 2, state: 7, incoming: true, ..Queued::default() });
        db.queued(Queued { id: 3, packet_id: 8, qos: 2, state: 9, dup: 1, ..Queued::default() });
        db.queued(Queued { id: 4, packet_id: 9, qos: 1, state: 3, dup: 1, ..Queued::default() });
        db.queued(Queued { id: 3, packet_id: 10, qos: 2, ..Queued::default() });
        db.subscription("c", b"a/+", 2).retained(4);
        let (report, recovered) = imported(&db.bytes, &options());
        assert_eq!(report.remarks, [], "{version}");
        let text = text(&recovered);
        text.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>() // the time differs
    });
    let expected = "  filter a/+ qos 2 flags [0, 0] id 0\n  8 released\n  9 sent qos 1 of 2 bytes\n  10 new qos 2 of 2 bytes\n  \
        received 33\nretained r=p by Some(\"source\") None expires None properties 0\npublish at the start: true bytes for session 1\n";
    for (version, text) in VERSIONS.into_iter().zip(texts) {
        assert_eq!(text, expected, "version {version}");
    }
}

#[test]
fn messages_in_flight_keep_their_identifiers_through_a_wrap() {
    let sequences = |ids: &[u16]| {
        let (_, recovered) = imported(&in_flight(ids).bytes, &options());
        let session = only(recovered);
        (session.queue.keys().copied().collect::<Vec<_>>(), session.sent_until)
    };
    assert_eq!(sequences(&[]), (vec![41, 42], 1));
    assert_eq!(sequences(&[7, 8, 12]), (vec![7, 8, 12, 13, 14], 13));
    assert_eq!(sequences(&[65_534, 65_535, 1, 3]), (vec![65_534, 65_535, 65_536, 65_538, 65_539, 65_540], 65_539));
    assert_eq!(sequences(&[5, 4]), (vec![5, 65_539, 65_540, 65_541], 65_540));
}

#[test]
fn a_message_in_flight_without_an_identifier_of_its_own_is_a_new_one() {
    let (report, recovered) = imported(&in_flight(&[7, 7, 0]).bytes, &options());
    let session = only(recovered);
    assert_eq!(session.queue.keys().copied().collect::<Vec<_>>(), [7, 8, 9, 10, 11]);
    assert_eq!(session.sent_until, 8);
    let [remark] = &*report.remarks else { panic!("{report:?}") };
    assert_eq!((remark.kind, remark.count), (RemarkKind::IdentifierTaken, 2));
}

proptest! {
    #[test]
    fn any_identifiers_in_flight_are_kept_within_one_round(
        ids in proptest::collection::btree_set(1_u16.., 0..30),
        rotation in 0_usize..30,
    ) {
        let mut ids: Vec<u16> = ids.into_iter().collect();
        let length = ids.len().max(1);
        ids.rotate_left(rotation % length);
        let db = in_flight(&ids);
        let (mut source, contents) = MosquittoDb::open(std::io::Cursor::new(&db.bytes[..])).unwrap();
        let mut report = Report::default();
        let plan = plan::plan(&contents, &options(), &mut report).unwrap();
        let mut deliveries = plan.deliveries.clone();
        deliveries.sort_by_key(|delivery| delivery.sequence);
        let sent = plan.sessions[0].sent_until;
        let found: Vec<u16> = deliveries.iter().filter(|one| one.sequence < sent)
            .map(|one| u16::try_from(packet_id(one.sequence)).unwrap()).collect();
        prop_assert_eq!(&found, &ids, "in the order of mosquitto");
        let numbers: Vec<u64> = deliveries.iter().map(|one| one.sequence).collect();
        prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        if let (Some(first), Some(last)) = (numbers.first(), ids.last()) {
            let last_sent = sent - 1;
            prop_assert!(last_sent - first < 65_535 && packet_id(last_sent) == u64::from(*last));
        }
        prop_assert!(source.content(&contents.messages[0]).is_ok());
    }

    #[test]
    fn any_bytes_are_a_report_or_an_error(changes in proptest::collection::vec((0_usize..4_000, any::<u8>()), 1..8)) {
        for version in VERSIONS {
            let mut bytes = in_flight(&[3, 4]).bytes;
            bytes[22] = u8::try_from(version).unwrap();
            let length = bytes.len();
            for (place, byte) in &changes {
                bytes[place % length] = *byte;
            }
            let _ = examine(std::io::Cursor::new(bytes), Path::new("f"), &options());
        }
    }
}

#[test]
fn what_is_lost_is_counted_and_named() {
    let past = i64::try_from(NOW).unwrap() - 1;
    let mut db = Db::new(6);
    db.message(Message { id: 1, expires: past, ..Message::default() });
    db.message(Message { id: 2, topic: b"a/#", ..Message::default() });
    db.message(Message { id: 3, topic: b"gone", expires: past, ..Message::default() });
    db.client(Client::default());
    db.client(Client { id: "expired", expiry: (past, 60), ..Client::default() });
    db.client(Client { id: "ended", expiry: (0, 0), ..Client::default() });
    db.client(Client { id: "local.host.cloud", ..Client::default() });
    db.client(Client { id: "left", ..Client::default() });
    db.queued(Queued { id: 1, qos: 0, ..Queued::default() });
    db.queued(Queued { id: 1, ..Queued::default() });
    db.queued(Queued { id: 2, ..Queued::default() });
    db.queued(Queued { id: 9, ..Queued::default() });
    db.queued(Queued { id: 2, qos: 1, incoming: true, ..Queued::default() });
    db.queued(Queued { id: 2, client: "expired", ..Queued::default() });
    db.queued(Queued { id: 2, client: "stray", ..Queued::default() });
    db.subscription("c", b"a/#/b", 1).subscription("c", b"ok", 1).retained(3).retained(2);
    let left_out = [String::from("left")].into();
    let (report, recovered) = imported(&db.bytes, &Options { left_out, ..options() });
    let found: Vec<_> =
        report.remarks.iter().map(|remark| (remark.kind, remark.count, remark.examples.join(" "))).collect();
    let one = |kind, example: &str| (kind, 1, example.to_owned());
    assert_eq!(
        found,
        [
            one(RemarkKind::SessionExpired, "expired"),
            one(RemarkKind::SessionEnded, "ended"),
            one(RemarkKind::SessionLeftOut, "left"),
            one(RemarkKind::Stray, "stray"),
            one(RemarkKind::MessageOfSession, ""),
            one(RemarkKind::SubscriptionInvalid, "a/#/b"),
            one(RemarkKind::QueuedQos0, "c"),
            one(RemarkKind::QueuedExpired, "c"),
            one(RemarkKind::MessageMissing, "c"),
            one(RemarkKind::IncomingIncomplete, "c"),
            one(RemarkKind::RetainedExpired, ""),
            (RemarkKind::TopicInvalid, 2, "a/#".to_owned()),
            one(RemarkKind::BridgeLike, "local.host.cloud"),
        ]
    );
    let lost: Vec<_> = report.remarks.iter().filter(|remark| !remark.kind.is_loss()).map(|one| one.kind).collect();
    assert_eq!(lost, [RemarkKind::IncomingIncomplete, RemarkKind::BridgeLike]);
    let names: Vec<_> = recovered.sessions.iter().map(|session| session.client_id.as_str()).collect();
    assert_eq!(names, ["c", "local.host.cloud"]);
    assert!(report.to_string().contains("their expiry had passed: \"expired\""), "{report}");
}

#[test]
fn a_file_that_was_saved_while_mosquitto_ran_is_named() {
    for (version, place) in [(3, 29), (6, 39)] {
        let mut db = Db::new(version);
        assert_eq!(db.bytes[place..place + 2], [1, 8]);
        db.bytes[place] = 0;
        let (report, _) = imported(&db.bytes, &options());
        let kinds: Vec<_> = report.remarks.iter().map(|remark| (remark.kind, remark.count)).collect();
        assert_eq!(kinds, [(RemarkKind::Interim, 1)], "version {version}");
    }
}

#[test]
fn the_time_since_mosquitto_saved_counts() {
    let now = i64::try_from(NOW).unwrap();
    let expiry = |expiry, limit| {
        let mut db = Db::new(6);
        db.client(Client { expiry, ..Client::default() });
        let options = Options { persistent_client_expiration: limit, ..options() };
        let recovered = imported(&db.bytes, &options).1;
        let session = recovered.sessions.into_iter().next()?;
        let since = NOW - session.detached_at.unwrap().0 / 1_000;
        Some((session.session_expiry_interval, since))
    };
    assert_eq!(expiry((0, u32::MAX), None), Some((u32::MAX, 10)));
    assert_eq!(expiry((0, u32::MAX), Some(60)), Some((60, 10)));
    assert_eq!(expiry((0, u32::MAX), Some(10)), None);
    assert_eq!(expiry((now + 50, u32::MAX), Some(60)), Some((60, 10)), "mosquitto's own deadline");
    assert_eq!(expiry((0, 100), None), Some((100, 10)), "it was connected when mosquitto saved");
    assert_eq!(expiry((now + 70, 100), None), Some((100, 30)));
    assert_eq!(expiry((now, 100), None), None);
    assert_eq!(expiry((i64::MAX, 100), None), Some((100, 0)));
    assert_eq!(expiry((i64::MIN, 100), None), None);
}

#[test]
fn an_expired_message_that_was_sent_is_still_in_flight() {
    let past = i64::try_from(NOW).unwrap() - 1;
    let mut db = Db::new(6);
    db.message(Message { id: 1, qos: 2, expires: past, ..Message::default() });
    db.client(Client::default());
    db.queued(Queued { packet_id: 5, qos: 2, state: 5, dup: 1, ..Queued::default() });
    db.queued(Queued { id: 8, packet_id: 6, qos: 2, state: 9, dup: 1, ..Queued::default() });
    db.queued(Queued { packet_id: 9, qos: 2, state: 7, incoming: true, ..Queued::default() });
    let (report, recovered) = imported(&db.bytes, &options());
    assert_eq!((report.in_flight, report.released, report.incoming), (1, 1, 1));
    let session = only(recovered);
    assert!(matches!(session.queue[&6], RestoredMessage::Released) && session.queue.contains_key(&5));
    assert_eq!(session.received.len(), 1);
}

#[test]
fn a_directory_that_is_not_empty_is_refused_and_an_error_leaves_it_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (file, data) = (directory.path().join("f"), directory.path().join("deep/data"));
    let mut db = Db::new(6);
    db.message(Message { id: 1, ..Message::default() });
    db.message(Message { id: 2, properties: b"\x02\x23\x01", ..Message::default() });
    db.retained(1).retained(2);
    fs::write(&file, &db.bytes).unwrap();
    let error = mosquitto_db(&file, &data, &options()).unwrap_err();
    assert!(error.to_string().contains("properties that PUBLISH can't have"), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(!data.exists());
    fs::create_dir_all(&data).unwrap();
    mosquitto_db(&file, &data, &options()).unwrap_err();
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    fs::write(data.join("mine"), "").unwrap();
    let error = mosquitto_db(&file, &data, &options()).unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty(_)), "{error}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    let error = mosquitto_db(&file, &file, &options()).unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty(_)), "{error}");
}

#[test]
fn the_same_file_gives_the_same_and_only_the_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    fs::write(&file, in_flight(&[3, 4]).bytes).unwrap();
    let content = |name: &str| {
        let data = directory.path().join(name);
        mosquitto_db(&file, &data, &options()).unwrap();
        for place in [data.clone(), data.join("log")] {
            assert_eq!(fs::metadata(place).unwrap().permissions().mode() & 0o777, 0o700);
        }
        let mut entries = Vec::new();
        let mut visit = |entry: crate::store::Recovered<'_>| entries.push((entry.body.to_vec(), entry.puts.to_vec()));
        crate::store::check(&data.join("log"), &mut visit).unwrap();
        entries
    };
    assert_eq!(content("first"), content("second"));
}
