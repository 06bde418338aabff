//! The same clients with five versions of mosquitto. They differ in what is stored, not in what happened:
//!
//! - `a5` (Clean Start 0) acknowledged nothing, and left; `b3` has one QoS 2 message behind it and received the PUBREL of the next; `u3` is
//!   the user `bob`; `z5` has a session that ends with its connection in 5.0; `pub` sent a QoS 2 message and no PUBREL.

use super::builder::VERSIONS;
use super::*;

/// The queues of `a5`, `b3` and `u3`.
const QUEUES: [&str; 3] = [
    "  1 sent qos 2 of 5 bytes\n  2 sent qos 2 of 5 bytes\n  3 sent qos 2 of 5 bytes\n  4 sent qos 2 of 5 bytes\n  5 sent qos 2 of 5 bytes\n  6 new qos 1 of 8 bytes\n",
    "  2 released\n  3 sent qos 2 of 5 bytes\n  4 sent qos 2 of 5 bytes\n  5 sent qos 2 of 5 bytes\n  6 sent qos 1 of 8 bytes\n",
    "  1 sent qos 1 of 5 bytes\n  2 sent qos 1 of 5 bytes\n  3 sent qos 1 of 5 bytes\n  4 sent qos 1 of 5 bytes\n  5 sent qos 1 of 5 bytes\n",
];

fn real(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/state/tests").join(name)).unwrap()
}

/// The lines of a client without its queue, then its queue.
fn section<'a>(text: &'a str, client: &str) -> (Vec<&'a str>, String) {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&format!("{client} of ")));
    let first = lines.next().unwrap();
    let of_client: Vec<_> = lines.take_while(|line| line.starts_with("  ")).collect();
    let (queue, rest): (Vec<_>, Vec<_>) =
        of_client.iter().partition(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()));
    let queue = queue.iter().map(|line| format!("{line}\n")).collect();
    ([first].into_iter().chain(rest).collect(), queue)
}

#[test]
fn the_files_of_five_versions_of_mosquitto_are_read() {
    for (name, version, is_5) in [
        ("mosquitto-1.4.15.db", 3, false),
        ("mosquitto-1.5.11.db", 4, false),
        ("mosquitto-1.6.7.db", 5, true),
        ("mosquitto-2.0.11.db", 6, true),
        ("mosquitto-2.1.2.db", 6, true),
    ] {
        let (report, recovered) = imported(&real(name), &options());
        let text = text(&recovered);
        let bob = if version == 6 { "bob" } else { "nobody" };
        assert_eq!(report.format, format!("mosquitto.db, version {version}"), "{name}");
        for ((client, owner), queue) in [("a5", "nobody"), ("b3", "nobody"), ("u3", bob)].into_iter().zip(QUEUES) {
            let (head, of_client) = section(&text, client);
            assert_eq!(of_client, queue, "{name}: {client}\n{text}");
            assert!(head[0].starts_with(&format!("{client} of {owner}, expiry ")), "{name}: {text}");
        }
        let expected: &[&str] = match is_5 {
            true => &["  filter n/# qos 2 flags [1, 1] id 0", "  filter q/# qos 2 flags [0, 0] id 7"],
            false => &["  filter n/# qos 2 flags [0, 0] id 0", "  filter q/# qos 2 flags [0, 0] id 0"],
        };
        let mut subscriptions = section(&text, "a5").0.split_off(1);
        subscriptions.sort_unstable();
        assert_eq!(subscriptions, expected, "{name}: {text}");
        assert_eq!(section(&text, "a5").0[0].contains("expiry 3600 since"), is_5, "{name}: {text}");
        assert!(section(&text, "b3").0[0].contains("expiry never since"), "{name}: {text}");
        let publisher = section(&text, "pub").0;
        assert!(publisher[0].starts_with("pub of nobody") && publisher.contains(&"  received 77"), "{name}: {text}");
        assert_eq!(text.contains("z5 of nobody"), !is_5, "{name}: {text}");
        assert_eq!(text.matches("publish at the start: true").count(), 1, "{name}: {text}");
        let properties = if is_5 { 22 } else { 0 };
        assert!(
            text.contains(&format!("retained ret/1=hello by Some(\"pub\") None expires None properties {properties}"))
                || !is_5,
            "{name}: {text}"
        );
        assert_eq!((report.retained, recovered.retained.len()), (2, 2), "{name}");
        assert_eq!(text.contains("retained ret/2=expiring by Some(\"pub\") None expires Some(17959"), is_5, "{name}");
    }
}

#[test]
fn the_user_name_of_another_client_is_not_taken_for_its_own() {
    // mosquitto 2.0.11 wrote "bob" and 765 bytes of its memory as the name of `z5`, and "bob" as that of `pub`.
    let (report, _) = imported(&real("mosquitto-2.0.11.db"), &options());
    assert_eq!(report.sessions_of_users, 1);
    let foreign = report.remarks.iter().find(|remark| remark.kind == RemarkKind::UserForeign).unwrap();
    assert_eq!((foreign.count, &*foreign.examples), (1, &["pub".to_owned()][..]));
    let (report, recovered) = imported(&real("mosquitto-2.0.11.db"), &Options { users: Users::Ignored, ..options() });
    assert_eq!(report.sessions_of_users, 0);
    assert!(recovered.sessions.iter().all(|session| session.owner == Owner::Unknown));
}

#[test]
fn a_file_that_ends_early_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (file, data) = (directory.path().join("f"), directory.path().join("data"));
    for name in ["mosquitto-1.4.15.db", "mosquitto-2.1.2.db"] {
        let bytes = real(name);
        let mut complete = 0;
        for length in 0..bytes.len() {
            match examine(std::io::Cursor::new(&bytes[..length]), Path::new("f"), &options()) {
                Ok(_) => complete += 1, // between two chunks
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        assert!(complete < 40, "{name}: {complete}");
        fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
        let error = mosquitto_db(&file, &data, &options()).unwrap_err().to_string();
        assert!(error.contains("ends within the chunk at offset"), "{error}");
        assert!(!data.exists());
    }
}

#[test]
fn what_is_not_a_file_of_mosquitto_is_named() {
    assert_eq!(failure(b""), "f: the file is empty: mosquitto has never saved its state in it");
    assert!(failure(b"<html><body>404").contains("not a mosquitto.db: it begins with \"<html><body>404\""));
    assert!(failure(b"SQLite format 3\0\x10\0\x01\x01").contains("SQLite database"));
    assert!(failure(b"\0\xB5\0mosquitto db").contains("ends within"));
    for version in [0, 1, 7, u32::MAX] {
        let bytes = [b"\0\xB5\0mosquitto db\0\0\0\0" as &[u8], &version.to_be_bytes()].concat();
        assert!(failure(&bytes).contains(&format!("version {version} of mosquitto.db is not known")));
    }
    let chunk = [b"\0\xB5\0mosquitto db\0\0\0\0\0\0\0\x06" as &[u8], b"\0\0\0\x09\0\0\0\0"].concat();
    assert!(failure(&chunk).contains("the chunk at offset 23 has the unknown kind 9"));
}

#[test]
fn the_file_of_a_broker_that_had_nothing_is_empty() {
    for version in VERSIONS {
        let (report, recovered) = imported(&builder::Db::new(version).bytes, &options());
        assert!(report.is_empty() && recovered.sessions.is_empty() && report.remarks.is_empty());
        assert!(report.to_string().contains("neither sessions nor retained messages"));
    }
}

/// The database as mosquitto wrote it, but for the size of its pages.
#[cfg(feature = "mosquitto-sqlite")]
#[test]
fn the_database_of_the_plugin_of_mosquitto_is_read() {
    let now = WallTime((NOW + 2_100) * 1_000);
    let (report, recovered) =
        imported(&real("mosquitto-2.1.2.sqlite3"), &Options { now, saved_at: Some(now), ..options() });
    let text = text(&recovered);
    assert_eq!(report.format, "SQLite database of mosquitto, version 1.1");
    for ((client, owner), queue) in [("a5", "nobody"), ("b3", "nobody"), ("u3", "bob")].into_iter().zip(QUEUES) {
        let (head, of_client) = section(&text, client);
        assert_eq!(of_client, queue, "{client}\n{text}");
        assert!(head[0].starts_with(&format!("{client} of {owner}, expiry ")), "{text}");
    }
    let mut subscriptions = section(&text, "a5").0.split_off(1);
    subscriptions.sort_unstable();
    let expected = [
        "  filter $share/g/sh/# qos 1 flags [0, 0] id 0",
        "  filter n/# qos 2 flags [1, 1] id 0",
        "  filter q/# qos 2 flags [0, 0] id 7",
    ];
    assert_eq!(subscriptions, expected, "{text}");
    assert!(section(&text, "pub").0.contains(&"  received 77"), "{text}");
    assert!(text.contains("retained ret/1=hello by Some(\"pub\") None expires None properties 22"), "{text}");
    assert!(text.contains("retained ret/2=expiring by Some(\"pub\") None expires Some(17959"), "{text}");
}

#[test]
fn without_the_feature_the_database_of_the_plugin_of_mosquitto_is_named() {
    assert!(failure(&real("mosquitto-2.1.2.sqlite3")).contains("built with the feature mosquitto-sqlite"));
}
