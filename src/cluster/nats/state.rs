//! The state of the tail.

use serde_json::Value;

use super::super::engine::{EngineError, Tail, TailCopy};
use super::api;
use super::connection::Connection;
use super::terms::{Terms, id_of};

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
