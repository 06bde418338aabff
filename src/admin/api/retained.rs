//! `/retained`: lists, shows and deletes retained messages.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Parameters;
use super::state::{ApiState, DELETIONS_MAX};
use super::table::Routes;
use super::topics::{ANY_SHARD, QUERIES_PER_REQUEST_MAX, ask, filter_of, required, topic_of};
use crate::admin::caller::{Caller, Role};
use crate::admin::time::rfc_3339;
use crate::broker::{Answer, DeletionRequest, Query, RetainedRequest, TopicAnswer, TopicQuery};
use crate::routing::{RetainedCursor, RetainedMessage};
use crate::server::{Queries, QueryError, Status};
use crate::topic::TopicFilter;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_one, one)
}

pub(super) fn operator_routes() -> Routes {
    Routes::new().add(__path_delete, delete)
}

#[derive(Serialize, ToSchema)]
#[schema(as = RetainedMessages)]
struct RetainedListJson {
    retained: Vec<RetainedJson>,
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RetainedMessage)]
struct RetainedJson {
    topic: String,
    qos: u8,
    /// Bytes of the payload.
    size: usize,
    /// `null`: it does not expire.
    expires_at: Option<String>,
    /// The Client Identifier of the publisher; `null` for the broker and for operators.
    publisher: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RetainedMessageWithPayload)]
struct RetainedPayloadJson {
    #[serde(flatten)]
    message: RetainedJson,
    /// `null` for viewers.
    payload_base64: Option<String>,
    /// `null` for viewers, and if the payload is not UTF-8.
    payload_text: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Deleted)]
struct DeletedJson {
    deleted: u64,
    /// `false`: the time for one request is over, and the broker goes on with the deletion.
    complete: bool,
}

/// Where the next page begins: the numbers of a [`RetainedCursor`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Cursor(Option<RetainedCursor>);

impl FromStr for Cursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let numbers: Result<Vec<u64>, _> = text.split('-').map(str::parse).collect();
        let cursor = numbers.ok().and_then(|numbers| RetainedCursor::from_numbers(&numbers));
        cursor.map(|cursor| Self(Some(cursor))).ok_or_else(|| Failure::bad_request("the cursor is invalid"))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.0.as_ref().map(RetainedCursor::numbers).unwrap_or_default();
        let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
        formatter.write_str(&texts.join("-"))
    }
}

/// The retained messages that a filter matches, without payloads, in no particular order. A page may be shorter than `limit`, or empty.
#[utoipa::path(
    get, path = "/retained",
    params(
        ("filter" = Option<String>, Query, description = "The Topic Filter; by default #, which does not match topics that begin with $"),
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page, with the same filter"),
    ),
    responses((status = 200, description = "A page of retained messages", body = RetainedListJson))
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<RetainedListJson>, Failure> {
    let filter = unshared(parameters.text("filter").unwrap_or("#"))?;
    let (limit, Cursor(mut cursor)) = (parameters.limit()?, parameters.cursor()?);
    let mut retained = Vec::new();
    for _ in 0..QUERIES_PER_REQUEST_MAX {
        let request = RetainedRequest { filter: filter.clone(), cursor, limit: limit - retained.len() };
        let answer = ask(&state, ANY_SHARD, TopicQuery::Retained(request)).await?;
        let TopicAnswer::Retained(found, next) = answer else { return Err(Failure::unexpected_answer()) };
        retained.extend(found.iter().map(|message| RetainedJson::new(message, &state.status)));
        cursor = next;
        if cursor.is_none() || retained.len() >= limit {
            break;
        }
    }
    let cursor = cursor.map(|cursor| Cursor(Some(cursor)).to_string());
    Ok(Json(RetainedListJson { retained, cursor }))
}

/// The retained message of a topic; its payload for operators only.
#[utoipa::path(
    get, path = "/retained/{topic}",
    params(("topic" = String, Path, description = "The Topic Name, percent-encoded with its slashes: a%2Fb")),
    responses(
        (status = 200, description = "The message", body = RetainedPayloadJson),
        (status = 404, description = "The topic has no retained message", body = ErrorJson),
    )
)]
async fn one(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(topic): Path<String>,
) -> Result<Json<RetainedPayloadJson>, Failure> {
    let answer = ask(&state, ANY_SHARD, TopicQuery::RetainedMessage(topic_of(&topic)?)).await?;
    let TopicAnswer::RetainedMessage(found) = answer else { return Err(Failure::unexpected_answer()) };
    let retained = found.ok_or_else(|| Failure::not_found("the topic has no retained message"))?;
    let payload = (caller.role >= Role::Operator).then_some(&retained.message.payload);
    Ok(Json(RetainedPayloadJson {
        message: RetainedJson::new(&retained, &state.status),
        payload_base64: payload.map(|payload| STANDARD.encode(payload)),
        payload_text: payload.and_then(|payload| String::from_utf8(payload.to_vec()).ok()),
    }))
}

/// Deletes the retained messages that a filter matches, each as a client does by a retained message without payload: its subscribers get
/// the empty message. Messages that are retained later stay. The response follows when the deletion is durable; a broker that is killed before has
/// deleted all of them or none; with several cells, perhaps some of them.
#[utoipa::path(
    delete, path = "/retained",
    params(("filter" = String, Query, description = "The Topic Filter; not below $SYS")),
    responses((status = 200, description = "How many were deleted", body = DeletedJson))
)]
async fn delete(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    parameters: Parameters,
) -> Result<Json<DeletedJson>, Failure> {
    let target = parameters.text("filter").unwrap_or_default().to_owned();
    let deleted = Arc::new(AtomicU64::new(0));
    let begun = deletion(&state, &parameters, &deleted);
    let finish = async move {
        let outcome = match begun {
            Ok(deletion) => deletion.await,
            Err(failure) => Err(failure),
        };
        let what = match &outcome {
            Ok(deleted) => format!("delete {deleted} retained messages"),
            Err(_) => "delete retained messages".to_owned(),
        };
        state.audit.record(&caller, &what, &target, &outcome);
        outcome
    };
    // It goes on when its client has gone: it is done as a whole.
    let mut task = tokio::spawn(finish);
    match timeout(DELETION_MAX, &mut task).await {
        Ok(Ok(outcome)) => outcome.map(|deleted| Json(DeletedJson { deleted, complete: true })),
        Ok(Err(_)) => Err(Failure::unexpected_answer()),
        Err(_) => Ok(Json(DeletedJson { deleted: deleted.load(Ordering::Relaxed), complete: false })),
    }
}

/// A deletion that adds to `deleted`, and returns the sum in the end.
fn deletion(
    state: &ApiState,
    parameters: &Parameters,
    deleted: &Arc<AtomicU64>,
) -> Result<impl Future<Output = Result<u64, Failure>> + use<>, Failure> {
    let filter = unshared(required(parameters, "filter")?)?;
    if filter.levels().next() == Some("$SYS") {
        return Err(Failure::forbidden("topics below $SYS are the broker's own"));
    }
    let too_many = |_| Failure::unavailable(format!("{DELETIONS_MAX} other deletions are under way"));
    let permit = Arc::clone(&state.deletions).try_acquire_owned().map_err(too_many)?;
    let (queries, deleted) = (state.queries.clone(), Arc::clone(deleted));
    Ok(async move {
        let _permit = permit;
        delete_parts(&queries, &filter, &deleted).await
    })
}

async fn delete_parts(queries: &Queries, filter: &TopicFilter, deleted: &AtomicU64) -> Result<u64, Failure> {
    let (mut progress, mut attempts) = (None, 0);
    loop {
        let request = DeletionRequest { filter: filter.clone(), progress: progress.clone() };
        let query = Query::Topics(TopicQuery::DeleteRetained(request));
        match queries.ask(ANY_SHARD, query).await {
            Ok(Answer::Topics(TopicAnswer::Deleted(count, next))) => {
                let all = deleted.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
                if next.is_none() {
                    return Ok(all);
                }
                (progress, attempts) = (next, 0);
            }
            Ok(_) => return Err(Failure::unexpected_answer()),
            // What this part has deleted is not found again by the next attempt.
            Err(QueryError::TimedOut(_)) if attempts < ATTEMPTS_MAX => attempts += 1,
            Err(error) => {
                let all = deleted.load(Ordering::Relaxed);
                return Err(Failure::unavailable(format!(
                    "{error}; {all} messages were deleted, and the next start deletes the others if any were"
                )));
            }
        }
    }
}

/// A filter without a share: retained messages have none.
fn unshared(text: &str) -> Result<TopicFilter, Failure> {
    let filter = filter_of(text)?;
    match filter.share {
        None => Ok(filter.topic_filter),
        Some(_) => Err(Failure::bad_request("a share has no retained messages: leave out $share/NAME/")),
    }
}

impl RetainedJson {
    fn new(retained: &RetainedMessage, status: &Status) -> Self {
        Self {
            topic: retained.message.topic.as_str().to_owned(),
            qos: retained.qos as u8,
            size: retained.message.payload.len(),
            expires_at: retained.expires_at.map(|at| rfc_3339(status.wall_of(at))),
            publisher: retained.publisher.as_ref().map(ToString::to_string),
        }
    }
}

/// The time until the response to a deletion, less than the lifetime of its connection.
const DELETION_MAX: Duration = Duration::from_secs(5);
/// How often a part is asked for again when its shard does not answer in time.
const ATTEMPTS_MAX: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_numbers() {
        assert_eq!("7-5-0-0-0".parse::<Cursor>().unwrap().to_string(), "7-5-0-0-0");
        assert_eq!("7-5-1-2-9-3-4".parse::<Cursor>().unwrap().to_string(), "7-5-1-2-9-3-4");
        for text in ["", "x", "1-2-3-4", "7-5-0-0-0-1", "7-5-0-9-0", "7-5-4-0-0", "7-5-0-0-0-0-1", "7-5-0-1-1"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
