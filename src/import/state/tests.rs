//! Real files of five versions of mosquitto, and files that a writer of these tests makes.

mod builder;
mod files;
mod rules;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::broker::{Owner, Recovered, RestoredMessage};
use crate::server::{inspect_store, store_directory};

/// A time shortly after the real files were made, in seconds.
const NOW: u64 = 1_795_955_850;

fn options() -> Options {
    Options { now: WallTime(NOW * 1_000), saved_at: Some(WallTime((NOW - 10) * 1_000)), ..Options::default() }
}

/// Imports bytes, and returns what a broker recovers.
fn imported(bytes: &[u8], options: &Options) -> (Report, Recovered) {
    let directory = tempfile::tempdir().unwrap();
    let (file, data) = (directory.path().join("mosquitto.db"), directory.path().join("data"));
    fs::write(&file, bytes).unwrap();
    let report = mosquitto_db(&file, &data, options).unwrap();
    assert_eq!(examine_mosquitto_db(&file, options).unwrap(), report, "a dry run says the same");
    let (store, recovered) = inspect_store(&store_directory(&data)).unwrap();
    assert_eq!((store.damages.len(), recovered.unreadable, recovered.orphans.len()), (0, 0, 0));
    assert!(recovered.unknown_kinds.is_empty());
    (report, recovered)
}

fn failure(bytes: &[u8]) -> String {
    examine(std::io::Cursor::new(bytes), Path::new("f"), &options()).unwrap_err().to_string()
}

/// What was recovered, a line for each thing.
fn text(recovered: &Recovered) -> String {
    let mut text = String::new();
    for session in &recovered.sessions {
        let owner = session.owner.user().map_or("nobody", |user| user);
        let interval = session.session_expiry_interval;
        let interval = if interval == u32::MAX { "never".to_owned() } else { interval.to_string() };
        let since = session.detached_at.unwrap().0 / 1_000;
        let since = i64::try_from(NOW).unwrap() - i64::try_from(since).unwrap();
        writeln!(text, "{} of {owner}, expiry {interval} since {since} s", session.client_id.as_str()).unwrap();
        for (subscription, id) in &session.subscriptions {
            let options = subscription.options;
            let flags = [options.no_local, options.retain_as_published].map(u8::from);
            let (qos, id) = (options.qos.level(), id.map_or(0, |id| id.get()));
            writeln!(text, "  filter {} qos {qos} flags {flags:?} id {id}", subscription.filter).unwrap();
        }
        for (sequence, message) in &session.queue {
            let sent = if *sequence < session.sent_until { "sent" } else { "new" };
            match message {
                RestoredMessage::Queued { qos, content, .. } => {
                    writeln!(text, "  {sequence} {sent} qos {} of {content} bytes", qos.level()).unwrap();
                }
                RestoredMessage::Released => writeln!(text, "  {sequence} released").unwrap(),
                RestoredMessage::Shared(_) => panic!("mosquitto does not say which messages are of a share"),
            }
        }
        for id in &session.received {
            writeln!(text, "  received {}", id.number()).unwrap();
        }
    }
    for retained in &recovered.retained {
        let (message, expires) = (&retained.message, retained.expires_at.map(|at| at.0 / 1_000));
        let source = retained.user.as_ref().map(|user| &*user.name);
        let publisher = retained.publisher.as_ref().map(|id| id.as_str());
        let payload = String::from_utf8_lossy(&message.payload);
        let properties = message.properties.as_bytes().len();
        let topic = message.topic.as_str();
        writeln!(
            text,
            "retained {topic}={payload} by {publisher:?} {source:?} expires {expires:?} properties {properties}"
        )
        .unwrap();
    }
    for delayed in &recovered.delayed {
        writeln!(text, "publish at the start: {} bytes for session {}", delayed.bytes > 0, delayed.session.0).unwrap();
    }
    text
}
