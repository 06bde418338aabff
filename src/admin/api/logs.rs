//! Merges the logs that each shard has its own part of.

use std::fmt;
use std::str::FromStr;

use super::failure::Failure;
use super::state::ApiState;
use super::topics::ask;
use crate::broker::{LogPage, LogRequest, TopicAnswer, TopicQuery};
use crate::routing::ShardId;
use crate::timestamp::Timestamp;

/// Where the previous page began: for each shard the number of its first entry in a page, if it has any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LogCursor(Vec<Option<u64>>);

impl FromStr for LogCursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parse = |part: &str| if part == "x" { Some(None) } else { part.parse().ok().map(Some) };
        let parsed: Option<Vec<_>> = text.split('-').map(parse).collect();
        parsed.map(Self).ok_or_else(|| Failure::bad_request("the cursor is invalid"))
    }
}

impl LogCursor {
    /// Those of the entries of a page, for what merges it with those of other cells; of a broker without cells none.
    pub(super) fn texts(state: &ApiState, places: &[Self]) -> Vec<String> {
        if state.cell.is_none() { Vec::new() } else { places.iter().map(Self::to_string).collect() }
    }
}

impl fmt::Display for LogCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.iter().map(|before| before.map_or_else(|| "x".to_owned(), |before| before.to_string()));
        formatter.write_str(&parts.collect::<Vec<_>>().join("-"))
    }
}

/// The newest entries before the cursor, newest last.
pub(super) struct Merged<T> {
    pub(super) entries: Vec<T>,
    /// For each entry, that of the page before it.
    pub(super) places: Vec<LogCursor>,
    /// Of the page before, which has older entries.
    pub(super) cursor: Option<LogCursor>,
    pub(super) left_out: u64,
}

/// The part of a log in an answer.
type Part<T> = fn(TopicAnswer) -> Option<LogPage<T>>;

/// Asks each shard for its part, and takes the newest `limit` entries of all.
pub(super) async fn newest<T>(
    state: &ApiState,
    (limit, LogCursor(before)): (usize, LogCursor),
    query: fn(LogRequest) -> TopicQuery,
    (part, at): (Part<T>, fn(&T) -> Timestamp),
) -> Result<Merged<T>, Failure> {
    let mut parts = Vec::new();
    for (shard, number) in (0..state.queries.shards()).zip(0..) {
        let before = before.get(shard).copied().flatten();
        let answer = ask(state, ShardId(number), query(LogRequest { before, limit })).await?;
        parts.push((before, part(answer).ok_or_else(Failure::unexpected_answer)?));
    }
    Ok(merge(parts, limit, at))
}

fn merge<T>(parts: Vec<(Option<u64>, LogPage<T>)>, limit: usize, at: fn(&T) -> Timestamp) -> Merged<T> {
    let left_out = parts.iter().map(|(_, part)| part.left_out).sum();
    let is_full = parts.iter().any(|(_, part)| part.entries.len() >= limit);
    let mut next: Vec<Option<u64>> = parts.iter().map(|(before, _)| *before).collect();
    let pages = parts.into_iter().enumerate();
    let mut all: Vec<(Timestamp, usize, u64, T)> = pages
        .flat_map(|(shard, (_, part))| part.entries.into_iter().map(move |(number, entry)| (shard, number, entry)))
        .map(|(shard, number, entry)| (at(&entry), shard, number, entry))
        .collect();
    all.sort_unstable_by_key(|(at, shard, number, _)| (*at, *shard, *number));
    let older = all.len().saturating_sub(limit);
    let newest = all.split_off(older);
    let mut places: Vec<LogCursor> = Vec::with_capacity(newest.len());
    for (_, shard, number, _) in newest.iter().rev() {
        if let Some(before) = next.get_mut(*shard) {
            *before = Some(before.map_or(*number, |before| before.min(*number)));
        }
        places.push(LogCursor(next.clone()));
    }
    places.reverse();
    let entries: Vec<T> = newest.into_iter().map(|(_, _, _, entry)| entry).collect();
    let has_more = older > 0 || (is_full && !entries.is_empty());
    Merged { entries, places, cursor: has_more.then_some(LogCursor(next)), left_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard's log of entries at these times, with the numbers 1, 2, ….
    fn part(times: &[u64], before: Option<u64>, limit: usize) -> (Option<u64>, LogPage<u64>) {
        let all = (1..).zip(times.iter().copied()).filter(|(number, _)| before.is_none_or(|before| *number < before));
        let all: Vec<_> = all.collect();
        let older = all.len().saturating_sub(limit);
        (before, LogPage { entries: all[older..].to_vec(), left_out: 1 })
    }

    #[test]
    fn pages_go_back_in_time_and_have_each_entry_once() {
        let shards: [&[u64]; 3] = [&[1, 4, 5, 9], &[], &[2, 3, 9, 10, 11]];
        for limit in 1..12 {
            let (mut all, mut cursor) = (Vec::new(), Some(LogCursor::default()));
            while let Some(LogCursor(before)) = cursor {
                let before = |shard: usize| before.get(shard).copied().flatten();
                let parts = shards.iter().enumerate().map(|(shard, times)| part(times, before(shard), limit));
                let merged = merge(parts.collect(), limit, |at| Timestamp(*at));
                assert!(merged.entries.is_sorted() && merged.entries.len() <= limit);
                assert_eq!(merged.left_out, 3);
                assert_eq!(merged.places.len(), merged.entries.len());
                assert!(merged.cursor.as_ref().is_none_or(|cursor| merged.places.first() == Some(cursor)));
                all.splice(0..0, merged.entries);
                cursor = merged.cursor.map(|cursor| cursor.to_string().parse().unwrap());
            }
            assert_eq!(all, [1, 2, 3, 4, 5, 9, 9, 10, 11], "{limit}");
        }
    }

    #[test]
    fn a_cursor_parses_back() {
        let cursor = LogCursor(vec![Some(7), None, Some(u64::MAX)]);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "-", "1-", "y", "1--2"] {
            assert!(text.parse::<LogCursor>().is_err(), "{text}");
        }
    }
}
