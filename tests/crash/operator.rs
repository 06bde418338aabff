//! An operator who puts dead letters back into the queues that they came from, again and again, also while the broker is killed.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Redrives each dead letter that there is. Returns how many there were, or `None` without an answer.
pub(crate) fn redrive_all(socket: &Path) -> Option<usize> {
    let (code, list) = exchange(socket, "GET", "/dead-letters?limit=1000")?;
    if code != 200 {
        return None;
    }
    let letters = list["dead_letters"].as_array()?;
    for letter in letters {
        let number = letter["number"].as_u64().or_else(|| letter["number"].as_str()?.parse().ok())?;
        let (code, answer) = exchange(socket, "POST", &format!("/dead-letters/{number}/redrive"))?;
        // It may be there no more, or not stored yet, or its session moves.
        assert_ne!(code, 500, "{answer}");
    }
    Some(letters.len())
}

/// Asks a broker. `None`: it does not answer.
pub(crate) fn exchange(socket: &Path, method: &str, path: &str) -> Option<(u16, Value)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(ANSWER_TIME)).ok()?;
    stream.write_all(format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).unwrap_or_default()))
}

/// An operator does not wait longer for an answer; it asks again.
const ANSWER_TIME: Duration = Duration::from_secs(5);
