//! `/streams/{name}/messages`: the messages of a stream.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Parameters;
use super::state::{ApiState, STREAM_READS_MAX};
use super::table::Routes;
use super::topics::filter_of;
use crate::admin::time::rfc_3339;
use crate::broker::{ReadMessages, StoredStreamMessage, StreamReadError, StreamRequest, StreamStart};
use crate::codec::MessageProperty;
use crate::server::{Status, read_for_operator, wall_time};
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

pub(super) fn operator_routes() -> Routes {
    Routes::new().add(__path_list, list)
}

#[derive(Serialize, ToSchema)]
#[schema(as = StreamMessages)]
struct MessagesJson {
    messages: Vec<MessageJson>,
    /// The numbers that were asked for and that the stream does not have, as far as this page goes.
    missing: Vec<MissingJson>,
    cursor: Option<String>,
}

/// Messages that a stream does not have.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MissingMessages)]
struct MissingJson {
    /// The number of the first one.
    first: u64,
    /// The number of the last one.
    last: u64,
    /// `trimmed`: they are not kept any more. `unreadable`: they are damaged on the disk.
    reason: &'static str,
}

/// A message of a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamMessage)]
struct MessageJson {
    /// Its number.
    sequence: u64,
    /// When it was accepted, in milliseconds since 1970.
    timestamp: u64,
    topic: String,
    qos: u8,
    /// When it expires; `null`: never. One that has expired is not sent to subscribers.
    expires_at: Option<String>,
    /// What is left of its Message Expiry Interval, in seconds.
    message_expiry_interval: Option<u32>,
    payload_is_utf8: Option<bool>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data_base64: Option<String>,
    /// The User Properties, in order.
    user_properties: Vec<(String, String)>,
    payload_base64: String,
    /// `null`: it is not UTF-8.
    payload_text: Option<String>,
}

/// Where the next page begins, and the sequence before which the last one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cursor(Option<(u64, u64)>);

impl FromStr for Cursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let numbers = || {
            let (next, below) = text.split_once('-')?;
            Some((next.parse().ok()?, below.parse().ok()?))
        };
        numbers().map(|numbers| Self(Some(numbers))).ok_or_else(|| Failure::bad_request("the cursor is invalid"))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |(next, below)| write!(formatter, "{next}-{below}"))
    }
}

/// The messages of a stream in the order of their numbers, up to the last one that it has at the first request. Those that have expired are there,
/// too. A page may be shorter than `limit`, or empty: it ends after about 128 KiB, or 4 MiB of messages that do not match `filter`.
#[utoipa::path(
    get, path = "/streams/{name}/messages",
    params(
        ("name" = String, Path, description = "The name of the stream"),
        ("from" = Option<String>, Query, description = "Where to begin: `earliest` (the default), `seq:N`, or a time in milliseconds since 1970 or of RFC 3339"),
        ("to" = Option<u64>, Query, description = "The number of the last message; by default that of the last one that there is"),
        ("filter" = Option<String>, Query, description = "The Topic Filter; by default all topics"),
        ("limit" = Option<u32>, Query, description = "The greatest number of messages, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page, with the same filter; it has `from` and `to` of the first request"),
    ),
    responses(
        (status = 200, description = "A page of messages", body = MessagesJson),
        (status = 400, description = "The offset or the filter is not valid", body = ErrorJson),
        (status = 404, description = "There is no such stream", body = ErrorJson),
        (status = 503, description = "The disk cannot be read now, or other reads are under way", body = ErrorJson),
    )
)]
async fn list(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<MessagesJson>, Failure> {
    let number = state.shared.streams().named(&name).map(|stream| stream.number).ok_or_else(unknown)?;
    let store = state.store.clone().ok_or_else(unknown)?;
    let end = store.stream_reader(number.0).ok_or_else(unknown)?.end();
    let filter = parameters.text("filter").map(unshared).transpose()?;
    let limit = parameters.limit()?;
    let (from, below) = match parameters.cursor()? {
        Cursor(Some((next, below))) => (StreamStart::Sequence(next), below),
        Cursor(None) => {
            let from = parameters.text("from").map_or(Ok(StreamStart::Earliest), str::parse);
            let to = parameters.number("to", 1..=u64::MAX)?;
            let below = to.map_or(end, |to| to.saturating_add(1).min(end));
            (from.map_err(|error| Failure::bad_request(error.to_string()))?, below)
        }
    };
    let too_many = |_| Failure::unavailable(format!("{STREAM_READS_MAX} other reads of streams are under way"));
    let permit = Arc::clone(&state.stream_reads).try_acquire_owned().map_err(too_many)?;
    let request = StreamRequest::of_operator((number, from), filter, (limit, PAGE_BYTES));
    let read = move || {
        let _permit = permit;
        read_for_operator(&store, request)
    };
    // It waits for the disk.
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| Failure::internal(error.to_string()))?;
    page(&read.map_err(failure)?, from, below, &state.status).map(Json)
}

/// The page with the messages below `below`.
fn page(read: &ReadMessages, from: StreamStart, below: u64, status: &Status) -> Result<MessagesJson, Failure> {
    let begins = if let StreamStart::Sequence(begins) = from { begins } else { 0 };
    let is_last = read.next >= below || begins >= below;
    if !is_last && read.next <= begins {
        return Err(failure(StreamReadError::Temporary));
    }
    let messages = read.messages.iter().filter(|stored| stored.sequence < below);
    Ok(MessagesJson {
        messages: messages.map(|stored| MessageJson::new(stored, status)).collect(),
        missing: missing(read, begins, below),
        cursor: (!is_last).then(|| Cursor(Some((read.next, below))).to_string()),
    })
}

/// The numbers from `begins` on, and below `below`, that a read has not found. `begins`: 0 if it was not a number.
fn missing(read: &ReadMessages, begins: u64, below: u64) -> Vec<MissingJson> {
    let trimmed = (begins > 0).then_some((begins, read.oldest, "trimmed"));
    let unreadable =
        read.unreadable.as_ref().map(|range| (*range.start(), range.end().saturating_add(1), "unreadable"));
    let ranges = trimmed.into_iter().chain(unreadable);
    let missing =
        ranges.map(|(first, end, reason)| (first, end.min(below), reason)).filter(|(first, end, _)| first < end);
    missing.map(|(first, end, reason)| MissingJson { first, last: end - 1, reason }).collect()
}

fn failure(error: StreamReadError) -> Failure {
    match error {
        StreamReadError::Gone => unknown(),
        StreamReadError::Temporary => Failure::unavailable("the stream cannot be read now: see the log"),
    }
}

fn unknown() -> Failure {
    Failure::not_found("there is no stream of this name")
}

/// A filter without a share.
fn unshared(text: &str) -> Result<TopicFilter, Failure> {
    let filter = filter_of(text)?;
    match filter.share {
        None => Ok(filter.topic_filter),
        Some(_) => Err(Failure::bad_request("leave out $share/NAME/: the filter is for topics")),
    }
}

impl MessageJson {
    fn new(stored: &StoredStreamMessage, status: &Status) -> Self {
        let message = &stored.message;
        let expires_at = Some(stored.expires_at).filter(|at| *at != Timestamp::NEVER).map(|at| status.wall_of(at));
        let left = expires_at.map(|at| at.0.saturating_sub(wall_time().0) / 1_000);
        let mut json = Self {
            sequence: stored.sequence,
            timestamp: stored.timestamp,
            topic: message.topic.as_str().to_owned(),
            qos: message.qos as u8,
            expires_at: expires_at.map(rfc_3339),
            message_expiry_interval: left.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            payload_is_utf8: None,
            content_type: None,
            response_topic: None,
            correlation_data_base64: None,
            user_properties: Vec::new(),
            payload_base64: STANDARD.encode(&message.payload),
            payload_text: std::str::from_utf8(&message.payload).ok().map(str::to_owned),
        };
        for property in message.properties.iter() {
            match property {
                MessageProperty::PayloadFormatIndicator(is_utf8) => json.payload_is_utf8 = Some(is_utf8),
                MessageProperty::ContentType(value) => json.content_type = Some(value.to_string()),
                MessageProperty::ResponseTopic(topic) => json.response_topic = Some(topic.to_string()),
                MessageProperty::CorrelationData(data) => json.correlation_data_base64 = Some(STANDARD.encode(data)),
                MessageProperty::UserProperty(name, value) => {
                    json.user_properties.push((name.to_string(), value.to_string()));
                }
            }
        }
        json
    }
}

/// A page ends with the message that exceeds this number of bytes.
const PAGE_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_two_numbers() {
        assert_eq!("7-50".parse::<Cursor>().unwrap(), Cursor(Some((7, 50))));
        assert_eq!(Cursor(Some((7, 50))).to_string(), "7-50");
        for text in ["", "7", "-", "7-", "-7", "7-50-1", "7--50", "18446744073709551616-1"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named_within_what_was_asked_for() {
        let read = |oldest, unreadable| ReadMessages { messages: Arc::default(), next: 90, oldest, unreadable };
        let told = |read: &ReadMessages, begins, below| {
            missing(read, begins, below).into_iter().map(|it| (it.first, it.last, it.reason)).collect::<Vec<_>>()
        };
        assert_eq!(told(&read(40, None), 0, 90), [], "nothing was asked for by its number");
        assert_eq!(told(&read(40, None), 40, 90), []);
        assert_eq!(told(&read(40, None), 7, 90), [(7, 39, "trimmed")]);
        assert_eq!(told(&read(40, None), 7, 20), [(7, 19, "trimmed")]);
        assert_eq!(told(&read(40, Some(40..=49)), 39, 45), [(39, 39, "trimmed"), (40, 44, "unreadable")]);
        assert_eq!(told(&read(40, Some(50..=59)), 40, 50), []);
    }
}
