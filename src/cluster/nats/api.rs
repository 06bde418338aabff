//! Requests to JetStream, as JSON.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::engine::EngineError;
use super::connection::{Call, Connection};

/// The outcome of an append.
#[derive(Debug, Deserialize)]
pub(super) struct Acknowledgement {
    pub(super) error: Option<ApiError>,
    #[serde(default)]
    pub(super) stream: String,
    #[serde(default, rename = "seq")]
    pub(super) position: u64,
}

/// An error of JetStream.
#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    #[serde(default, rename = "err_code")]
    pub(super) code: u64,
    #[serde(default, rename = "description")]
    pub(super) text: String,
}

impl From<ApiError> for EngineError {
    fn from(ApiError { code, text }: ApiError) -> Self {
        Self::Refused { code, text }
    }
}

/// Asks JetStream: `operation` is `STREAM.INFO.name` and the like. Returns its answer, if it is no error.
pub(super) async fn ask(connection: &Connection, operation: &str, request: Value) -> Result<Value, EngineError> {
    let payload = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
    let subject = format!("$JS.API.{operation}");
    let call = Call { subject, headers: None, payload: payload.into(), limit: LIMIT, what: "a request to JetStream" };
    let message = connection.request(call).await?;
    let mut answer: Value = serde_json::from_slice(&message.payload).map_err(|_| EngineError::Malformed("no JSON"))?;
    match answer.get_mut("error").map(Value::take) {
        None | Some(Value::Null) => Ok(answer),
        Some(error) => {
            let error = serde_json::from_value::<ApiError>(error);
            Err(error.map_err(|_| EngineError::Malformed("an error without a number"))?.into())
        }
    }
}

/// For a request that is carried out by a leader.
const LIMIT: Duration = Duration::from_secs(3);

pub(super) const NO_MESSAGE_FOUND: u64 = 10_037;
pub(super) const NAME_IN_USE: u64 = 10_058;
pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
/// The position of the last entry, or of the last with its subject, is another one. The second is for one that is not decided yet.
pub(super) const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];
/// There are not enough servers for the copies.
pub(super) const TOO_FEW_SERVERS: [u64; 2] = [10_005, 10_074];
