use std::time::Duration;

use async_nats::{HeaderMap, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::engine::EngineError;
use super::super::request::Found;
use super::api::{self, NO_MESSAGE_FOUND};
use super::connection::{Call, Connection};

/// Entries that were read.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Found>,
    /// Whether these were all.
    pub(super) is_end: bool,
}

/// A message of a batch, with its subject.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) found: Found,
}

/// Reads entries behind a position from whichever copy answers. It may be behind.
pub(super) async fn direct(connection: &Connection, stream: &str, after: u64) -> Result<Batch, EngineError> {
    let request = json!({ "seq": after.saturating_add(1), "batch": ENTRIES_MAX, "max_bytes": BYTES_MAX });
    let (stored, is_end) = batch(connection, stream, &request, ENTRIES_MAX).await?;
    Ok(Batch { entries: stored.into_iter().map(|stored| stored.found).collect(), is_end })
}

/// The last message of each subject that this filter matches, from whichever copy answers. It may be behind.
pub(super) async fn latest(connection: &Connection, stream: &str, filter: &str) -> Result<Vec<Stored>, EngineError> {
    let request = json!({ "multi_last": [filter] });
    Ok(batch(connection, stream, &request, LATEST_MAX).await?.0)
}

/// Messages, and whether these are all. A copy sends each with the number of the one that it sent before, so that none is missed.
async fn batch(
    connection: &Connection,
    stream: &str,
    request: &Value,
    most: usize,
) -> Result<(Vec<Stored>, bool), EngineError> {
    let (subject, what) = (format!("$JS.API.DIRECT.GET.{stream}"), "a read");
    let payload = request.to_string().into_bytes().into();
    let call = Call { subject: subject.clone(), headers: None, payload, limit: LIMIT, what };
    let mut slot = connection.request_many(call, most + 1).await?;
    let mut stored = Vec::new();
    let mut last = 0;
    loop {
        let message = timeout(LIMIT, slot.receiver.recv()).await.map_err(|_| EngineError::TimedOut(what))?;
        let message = message.ok_or_else(|| EngineError::Unreachable("it has ended".to_owned()))?;
        match message.status.map(|status| status.as_u16()) {
            None => {}
            Some(204) => return Ok((stored, number(&message, "Nats-Num-Pending")? == 0)),
            Some(404) if stored.is_empty() => return Ok((stored, true)),
            Some(503) => return Err(EngineError::Unattended(subject)),
            Some(code) => {
                let text = message.description.unwrap_or_default();
                return Err(EngineError::Refused { code: code.into(), text });
            }
        }
        let position = number(&message, "Nats-Sequence")?;
        if number(&message, "Nats-Last-Sequence")? != last {
            return Err(EngineError::Malformed("a message of a batch is missing"));
        }
        last = position;
        let subject = text(message.headers.as_ref(), "Nats-Subject").unwrap_or_default().to_owned();
        stored.push(Stored { subject, found: Found { position, bytes: message.payload } });
    }
}

fn number(message: &Message, name: &str) -> Result<u64, EngineError> {
    let value = text(message.headers.as_ref(), name).and_then(|text| text.parse().ok());
    value.ok_or(EngineError::Malformed("a message of a batch without its number"))
}

fn text<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers?.get(name).map(|value| value.as_str())
}

/// Reads some entries behind a position from the copy that leads.
pub(super) async fn from_leader(connection: &Connection, stream: &str, after: u64) -> Result<Batch, EngineError> {
    let mut batch = Batch::default();
    let mut last = after;
    while batch.entries.len() < OF_LEADER_MAX {
        let request = json!({ "seq": last.saturating_add(1), "next_by_subj": ">" });
        match one(connection, stream, request).await? {
            Some(found) => {
                last = found.position;
                batch.entries.push(found);
            }
            None => return Ok(Batch { is_end: true, ..batch }),
        }
    }
    Ok(batch)
}

/// The last entry with this subject, from the copy that leads.
pub(super) async fn last_of(
    connection: &Connection,
    stream: &str,
    subject: &str,
) -> Result<Option<Found>, EngineError> {
    one(connection, stream, json!({ "last_by_subj": subject })).await
}

async fn one(connection: &Connection, stream: &str, request: Value) -> Result<Option<Found>, EngineError> {
    let mut answer = match api::ask(connection, &format!("STREAM.MSG.GET.{stream}"), request).await {
        Ok(answer) => answer,
        Err(EngineError::Refused { code: NO_MESSAGE_FOUND, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let fault = || EngineError::Malformed("a message without its number or its bytes");
    let message = answer.get_mut("message").map(Value::take).ok_or_else(fault)?;
    let position = message.get("seq").and_then(Value::as_u64).ok_or_else(fault)?;
    let data = message.get("data").and_then(Value::as_str).unwrap_or_default();
    let bytes = STANDARD.decode(data).map_err(|_| fault())?.into();
    Ok(Some(Found { position, bytes }))
}

/// Entries and bytes of a batch, as a rule: the last entry may be beyond.
pub(super) const ENTRIES_MAX: usize = 256;
pub(super) const BYTES_MAX: usize = 4 << 20;
/// The most that a server sends.
const LATEST_MAX: usize = 1_024;
const OF_LEADER_MAX: usize = 16;
/// For the next message of a batch.
const LIMIT: Duration = Duration::from_secs(2);
