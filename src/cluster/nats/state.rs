//! The state of the tail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::engine::{EngineError, Tail, TailCopy};
use super::super::request::Found;
use super::api;
use super::connection::Connection;
use super::terms::{Terms, id_of};

/// The end of the tail, as far as this node has seen it.
///
/// A server that led the tail, and was cut off, answers with what it had until it knows that it does not lead any more. Only if the tail seems to
/// end for a while before what this node has seen of it, it has lost its end.
#[derive(Debug, Default)]
pub(super) struct End {
    /// The highest position.
    seen: AtomicU64,
    /// Since when the tail seems to end before that.
    short_since: Mutex<Option<Instant>>,
}

impl End {
    pub(super) fn see(&self, position: u64) {
        self.seen.fetch_max(position, Ordering::Relaxed);
    }

    pub(super) fn see_entries(&self, entries: &[Found]) {
        self.see(entries.last().map_or(0, |entry| entry.position));
    }

    /// The highest position so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Whether an answer, with this as the last position, may be of a server that was cut off. `seen`: what this node had seen before it asked.
    pub(super) async fn is_doubtful(&self, last: u64, seen: u64) -> bool {
        let mut short_since = self.short_since.lock().await;
        if last >= seen {
            *short_since = None;
            return false;
        }
        short_since.get_or_insert_with(Instant::now).elapsed() < SHORT_MAX
    }
}

/// The state of the tail, as a server says that leads it.
///
/// # Errors
/// There is no answer, or the stream is not the one with this number, or not what it must be.
pub(super) async fn tail(connection: &Connection, terms: &Terms, id: u128) -> Result<Tail, EngineError> {
    let info = api::ask(connection, &format!("STREAM.INFO.{}", terms.name), Value::Null).await?;
    let state = |name: &str| info.get("state").and_then(|state| state.get(name)?.as_u64()).unwrap_or_default();
    let none = Value::Null;
    let all = info.get("config").unwrap_or(&none);
    terms.check(all)?;
    if id_of(all) != Some(id) {
        return Err(EngineError::Replaced);
    }
    let group = info.get("cluster");
    let leader = group.and_then(|group| group.get("leader")?.as_str()).map(str::to_owned);
    let copies = group.and_then(|group| group.get("replicas")?.as_array()).map(Vec::as_slice).unwrap_or_default();
    let others = copies.iter().map(|copy| {
        let is = |name: &str| copy.get(name).and_then(Value::as_bool).unwrap_or_default();
        let server = copy.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        TailCopy { server, is_current: is("current") && !is("offline") }
    });
    Ok(Tail {
        bytes: state("bytes"),
        bytes_max: all.get("max_bytes").and_then(Value::as_u64).filter(|bytes| *bytes > 0),
        first: state("first_seq"),
        last: state("last_seq"),
        leader,
        others: others.collect(),
    })
}

/// Longer than a server needs to notice that it does not lead any more.
const SHORT_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_tail_has_lost_its_end_when_it_ends_early_for_half_a_minute() {
        let end = End::default();
        end.see(10);
        assert!(!end.is_doubtful(10, end.seen()).await);
        assert!(end.is_doubtful(5, end.seen()).await);
        advance(Duration::from_secs(29)).await;
        assert!(end.is_doubtful(7, end.seen()).await, "a server that was cut off");
        assert!(!end.is_doubtful(10, end.seen()).await, "another one has all");
        assert!(end.is_doubtful(5, end.seen()).await);
        advance(Duration::from_secs(29)).await;
        assert!(end.is_doubtful(5, end.seen()).await, "it counts from the first of the answers in a row");
        advance(Duration::from_secs(1)).await;
        assert!(!end.is_doubtful(5, end.seen()).await, "it is so");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_in_while_the_tail_was_asked_is_not_missing() {
        let end = End::default();
        end.see(10);
        let seen = end.seen();
        end.see(12);
        assert!(!end.is_doubtful(10, seen).await);
    }
}
