//! `/dead-letters`: lists, shows, redrives and discards the dead letters that are kept.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Parameters;
use super::spread::MissingCellJson;
use super::state::ApiState;
use super::table::Routes;
use super::topics::{ANY_SHARD, QUERIES_PER_REQUEST_MAX, filter_of};
use crate::admin::caller::{Caller, Role};
use crate::admin::time::rfc_3339;
use crate::broker::{Answer, DeadLetterAnswer, DeadLetterFailure, DeadLetterInfo, DeadLetterQuery, Query};
use crate::codec::MessageProperty;
use crate::routing::{CellId, ShardId};
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_one, one)
}

pub(super) fn operator_routes() -> Routes {
    Routes::new().add(__path_redrive, redrive).add(__path_discard, discard)
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetters)]
struct DeadLettersJson {
    dead_letters: Vec<DeadLetterJson>,
    cursor: Option<String>,
    /// Cells over which clients are spread, and of which the page has no entries, because they did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
struct DeadLetterJson {
    number: u64,
    /// When the message became a dead letter.
    at: String,
    topic: String,
    /// From whose queue it came.
    client_id: String,
    /// How often the client refused it.
    attempts: u16,
    /// The Reason Code of the last refusal.
    reason_code: u8,
    /// Bytes of topic, properties and payload, with the overhead of an entry.
    size: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetterWithPayload)]
struct DeadLetterPayloadJson {
    #[serde(flatten)]
    letter: DeadLetterJson,
    qos: u8,
    message_id: Option<String>,
    /// `null`: it does not expire.
    expires_at: Option<String>,
    /// As the properties below, `null` for viewers.
    payload_is_utf8: Option<bool>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data_base64: Option<String>,
    /// The User Properties, in order; `null` for viewers.
    user_properties: Option<Vec<(String, String)>>,
    /// `null` for viewers.
    payload_base64: Option<String>,
    /// `null` for viewers, and if the payload is not UTF-8.
    payload_text: Option<String>,
}

/// The kept dead letters whose topics a filter matches, the oldest first, without payloads. A page may be shorter than `limit`, or empty.
#[utoipa::path(
    get, path = "/dead-letters",
    params(
        ("filter" = Option<String>, Query, description = "The Topic Filter; by default all topics"),
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page, with the same filter"),
    ),
    responses((status = 200, description = "A page of dead letters", body = DeadLettersJson))
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<DeadLettersJson>, Failure> {
    let filter = parameters.text("filter").map(unshared).transpose()?;
    let limit = parameters.limit()?;
    let invalid = |_| Failure::bad_request("the cursor is invalid");
    let mut cursor = Some(parameters.text("cursor").map(str::parse).transpose().map_err(invalid)?.unwrap_or(0));
    let mut dead_letters = Vec::new();
    for _ in 0..QUERIES_PER_REQUEST_MAX {
        let Some(after) = cursor.filter(|_| dead_letters.len() < limit) else { break };
        let query = DeadLetterQuery::List { after, limit: limit - dead_letters.len(), filter: filter.clone() };
        let DeadLetterAnswer::List(found, next) = ask(&state, ANY_SHARD, query).await? else {
            return Err(Failure::unexpected_answer());
        };
        dead_letters.extend(found.iter().map(|(number, info)| DeadLetterJson::new(*number, info, &state)));
        cursor = next;
    }
    let cursor = cursor.map(|cursor| cursor.to_string());
    Ok(Json(DeadLettersJson { dead_letters, cursor, missing_cells: Vec::new() }))
}

/// A dead letter; its payload and properties for operators only.
#[utoipa::path(
    get, path = "/dead-letters/{number}",
    params(("number" = u64, Path, description = "Its number")),
    responses(
        (status = 200, description = "The dead letter", body = DeadLetterPayloadJson),
        (status = 404, description = "There is none with this number", body = ErrorJson),
        (status = 409, description = "It is not stored yet, or another request is about it", body = ErrorJson),
    )
)]
async fn one(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(number): Path<String>,
) -> Result<Json<DeadLetterPayloadJson>, Failure> {
    let query = DeadLetterQuery::Show(number_at(&state, &number)?);
    let DeadLetterAnswer::Show(letter) = ask(&state, ANY_SHARD, query).await? else {
        return Err(Failure::unexpected_answer());
    };
    let letter = letter.map_err(failure)?;
    let (delivery, message) = (&letter.delivery, &letter.delivery.message);
    let may_see = caller.role >= Role::Operator;
    let expires_at = Some(delivery.expires_at).filter(|at| *at != Timestamp::NEVER);
    let mut json = DeadLetterPayloadJson {
        letter: DeadLetterJson::new(letter.number, &letter.info, &state),
        qos: delivery.qos as u8,
        message_id: message.id.map(|id| id.to_string()),
        expires_at: expires_at.map(|at| rfc_3339(state.status.wall_of(at))),
        payload_is_utf8: None,
        content_type: None,
        response_topic: None,
        correlation_data_base64: None,
        user_properties: may_see.then(Vec::new),
        payload_base64: may_see.then(|| STANDARD.encode(&message.payload)),
        payload_text: may_see.then(|| String::from_utf8(message.payload.to_vec()).ok()).flatten(),
    };
    for property in message.properties.iter().filter(|_| may_see) {
        match property {
            MessageProperty::PayloadFormatIndicator(is_utf8) => json.payload_is_utf8 = Some(is_utf8),
            MessageProperty::ContentType(value) => json.content_type = Some(value.to_string()),
            MessageProperty::ResponseTopic(topic) => json.response_topic = Some(topic.to_string()),
            MessageProperty::CorrelationData(data) => json.correlation_data_base64 = Some(STANDARD.encode(data)),
            MessageProperty::UserProperty(name, value) => {
                json.user_properties.iter_mut().for_each(|all| all.push((name.to_string(), value.to_string())));
            }
        }
    }
    Ok(Json(json))
}

/// Puts a dead letter into the queue that it came from: one durable change deletes it and queues the message, which its client gets as a new
/// message with all its attempts.
#[utoipa::path(
    post, path = "/dead-letters/{number}/redrive",
    params(("number" = u64, Path, description = "Its number")),
    responses(
        (status = 204, description = "It is in the queue"),
        (status = 404, description = "There is none with this number", body = ErrorJson),
        (status = 409, description = "It can't be put into the queue: its session has ended, or another reason in words", body = ErrorJson),
    )
)]
async fn redrive(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(number): Path<String>,
) -> Result<StatusCode, Failure> {
    let outcome = redrive_one(&state, &number).await;
    state.audit.record(&caller, "redrive dead letter", &number, &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

async fn redrive_one(state: &ApiState, number: &str) -> Result<(), Failure> {
    let number = number_at(state, number)?;
    let info = state.shared.dead_letter(number).ok_or_else(|| failure(DeadLetterFailure::Unknown))?;
    let shard = state.shared.shard_of(&info.client_id).ok_or_else(|| failure(DeadLetterFailure::SessionEnded))?;
    done(ask(state, shard, DeadLetterQuery::Redrive(number)).await?)
}

/// Deletes a dead letter.
#[utoipa::path(
    delete, path = "/dead-letters/{number}",
    params(("number" = u64, Path, description = "Its number")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none with this number", body = ErrorJson),
        (status = 409, description = "Another request is about it", body = ErrorJson),
    )
)]
async fn discard(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(number): Path<String>,
) -> Result<StatusCode, Failure> {
    let outcome = match number_at(&state, &number) {
        Ok(one) => ask(&state, ANY_SHARD, DeadLetterQuery::Discard(one)).await.and_then(done),
        Err(failure) => Err(failure),
    };
    state.audit.record(&caller, "discard dead letter", &number, &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

async fn ask(state: &ApiState, shard: ShardId, query: DeadLetterQuery) -> Result<DeadLetterAnswer, Failure> {
    let Answer::DeadLetters(answer) = state.queries.ask(shard, Query::DeadLetters(query)).await? else {
        return Err(Failure::unexpected_answer());
    };
    Ok(answer)
}

fn done(answer: DeadLetterAnswer) -> Result<(), Failure> {
    let DeadLetterAnswer::Done(result) = answer else { return Err(Failure::unexpected_answer()) };
    result.map_err(failure)
}

fn failure(failure: DeadLetterFailure) -> Failure {
    match failure {
        DeadLetterFailure::Unknown => Failure::not_found("no dead letter has this number"),
        DeadLetterFailure::Busy => {
            Failure::conflict("another request is about this dead letter, or it is not stored yet")
        }
        DeadLetterFailure::NotHere => Failure::unavailable("the session is moving to another shard, retry the request"),
        DeadLetterFailure::SessionEnded => {
            Failure::conflict("the session has ended, so there is no queue to put the message into")
        }
        DeadLetterFailure::SessionTransient => Failure::conflict(
            "the session ends with its connection now, so the message would not be stored in its queue",
        ),
        DeadLetterFailure::QueueFull => Failure::conflict("the queue of the session is full"),
        DeadLetterFailure::NotAuthorized => {
            Failure::conflict("the client may not receive messages of this topic any more")
        }
        DeadLetterFailure::Expired => Failure::conflict("the message has expired"),
        DeadLetterFailure::Unreadable(cause) => Failure::internal(format!("the store can't read it: {cause}")),
    }
}

pub(super) fn number_of(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::bad_request("the number of a dead letter is a decimal number"))
}

/// The cell of a dead letter with this number, if clients are spread over cells: its number there is followed by that of the cell.
pub(super) const fn cell_of(number: u64) -> CellId {
    let [cell, ..] = number.to_le_bytes();
    CellId(cell)
}

/// The number that a dead letter has at the server that is asked.
fn number_at(state: &ApiState, text: &str) -> Result<u64, Failure> {
    let number = number_of(text)?;
    Ok(if state.cell.is_some() { number / CELLS_MAX } else { number })
}

/// The number by which operators know it.
fn number_for(state: &ApiState, number: u64) -> u64 {
    state.cell.map_or(number, |CellId(cell)| number.saturating_mul(CELLS_MAX).saturating_add(cell.into()))
}

/// A filter without a share: the dead letters of a share have the topics of their messages.
fn unshared(text: &str) -> Result<TopicFilter, Failure> {
    let filter = filter_of(text)?;
    match filter.share {
        None => Ok(filter.topic_filter),
        Some(_) => Err(Failure::bad_request("leave out $share/NAME/: the filter is for topics")),
    }
}

impl DeadLetterJson {
    fn new(number: u64, info: &DeadLetterInfo, state: &ApiState) -> Self {
        Self {
            number: number_for(state, number),
            at: rfc_3339(state.status.wall_of(info.at)),
            topic: info.topic.to_string(),
            client_id: info.client_id.to_string(),
            attempts: info.attempts,
            reason_code: info.reason_code,
            size: info.bytes,
        }
    }
}

/// The factor of a number in a cell: a byte is left for that of the cell.
const CELLS_MAX: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::handles;

    #[test]
    fn the_number_of_a_dead_letter_names_its_cell() {
        let alone = ApiState::new(&handles());
        assert_eq!((number_for(&alone, 7), number_at(&alone, "7")), (7, Ok(7)));
        for cell in [0, 1, 255] {
            let state = ApiState { cell: Some(CellId(cell)), ..alone.clone() };
            let number = number_for(&state, 7);
            assert_eq!((cell_of(number), number_at(&state, &number.to_string())), (CellId(cell), Ok(7)));
        }
    }
}
