use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use super::super::engine::EngineError;
use super::super::request::Reply;
use super::api::{Acknowledgement, WRONG_LAST_SEQUENCE};
use super::connection::{Call, Connection};

/// What an append expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// The stream ends at this position.
    End(u64),
    /// The last entry with the same subject has this position; 0: there is none.
    OfSubject(u64),
    /// Nothing.
    Anything,
}

/// Appends an entry to a stream. The first poll puts it in line.
pub(super) async fn append(
    connection: &Connection,
    (stream, subject): (&str, &str),
    expected: Expected,
    entry: Bytes,
) -> Result<Reply, EngineError> {
    let header = match expected {
        Expected::End(position) => Some(("Nats-Expected-Last-Sequence", position)),
        Expected::OfSubject(position) => Some(("Nats-Expected-Last-Subject-Sequence", position)),
        Expected::Anything => None,
    };
    let headers = header.map(|(name, position)| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from(position));
        headers
    });
    let (subject, what) = (subject.to_owned(), "an append");
    let message = connection.request(Call { subject, headers, payload: entry, limit: LIMIT, what }).await?;
    let acknowledgement: Acknowledgement = serde_json::from_slice(&message.payload)
        .map_err(|_| EngineError::Malformed("an acknowledgement that is no JSON"))?;
    match acknowledgement.error {
        Some(error) if WRONG_LAST_SEQUENCE.contains(&error.code) => Ok(Reply::Refused),
        Some(error) => Err(error.into()),
        None if acknowledgement.stream != stream => Err(EngineError::Malformed("another stream has the entry")),
        None if acknowledgement.position == 0 => Err(EngineError::Malformed("an acknowledgement without a position")),
        None => Ok(Reply::Appended(acknowledgement.position)),
    }
}

/// Far beyond the slowest healthy disk. It is carried out later than that at most if nothing else was appended.
const LIMIT: Duration = Duration::from_secs(2);
