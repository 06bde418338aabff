//! `/clients/{client_id}/history` and `/clients/{client_id}/queue`: what happened to a client, and what waits for it.

use axum::extract::{Extension, Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::clients::{ask_owner, events, missing, no_session};
use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Parameters;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::{Caller, Role};
use crate::admin::time::rfc_3339;
use crate::broker::{
    Answer, EventKind, EventView, MessageView, PREVIEW_BYTES_MAX, QUEUED_MAX, Query, QueueRequest, QueuedState,
    QueuedView,
};
use crate::codec::{ClientId, ReasonCode};
use crate::server::Status;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_history, history).add(__path_queue, queue)
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClientHistory)]
struct HistoryJson {
    /// The newest last.
    events: Vec<EventJson>,
}

/// An event of a client.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientEvent)]
struct EventJson {
    /// RFC 3339; the last time, if it was repeated.
    at: String,
    /// `connected`, `disconnected`, `taken-over`, `refused`, `dropping` or `session-ended`.
    event: &'static str,
    /// How a connection ended: see `last_disconnect` of a client.
    how: Option<&'static str>,
    reason_code: Option<u8>,
    reason: Option<String>,
    address: Option<String>,
    /// How often it happened without another event of the client in between.
    count: u32,
}

impl EventJson {
    fn new(view: EventView, status: &Status) -> Self {
        let EventView { at, kind, address, reason_code, reason, count } = view;
        Self {
            at: rfc_3339(status.wall_of(at)),
            event: kind.name(),
            how: match kind {
                EventKind::Disconnected(kind) => kind.name(),
                EventKind::Connected | EventKind::Refused | EventKind::Dropping | EventKind::SessionEnded => None,
            },
            reason_code: reason_code.map(ReasonCode::number),
            reason: reason.map(|reason| reason.to_string()),
            address: address.map(|address| address.to_string()),
            count,
        }
    }
}

/// The last events of a Client Identifier since the start of the broker: connects, disconnects, takeovers, refusals, the begin of drops, the
/// end of its Session. They are kept in memory for a while, also when there is no Session any more.
#[utoipa::path(
    get, path = "/clients/{client_id}/history",
    params(
        ("client_id" = String, Path, description = "The Client Identifier, percent-encoded"),
        ("limit" = Option<u32>, Query, description = "The greatest number of events, 1 to 1,000; by default 100"),
    ),
    responses(
        (status = 200, description = "The events", body = HistoryJson),
        (status = 404, description = "There is no such Session, and no event of it", body = ErrorJson),
    )
)]
async fn history(
    State(state): State<ApiState>,
    Path(client_id): Path<String>,
    parameters: Parameters,
) -> Result<Json<HistoryJson>, Failure> {
    let client_id = ClientId(client_id.into());
    let events = events(&state, &client_id, parameters.limit()?).await?;
    if events.is_empty() && state.shared.shard_of(&client_id).is_none() {
        return Err(no_session());
    }
    Ok(Json(HistoryJson { events: events.into_iter().map(|event| EventJson::new(event, &state.status)).collect() }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClientQueue)]
struct QueueJson {
    messages: Vec<QueuedJson>,
}

/// A message in the queue of a client. What the client has received already has no `topic`, `qos` and `retain`, and neither has what was too
/// large to be read from the store for this.
#[derive(Serialize, ToSchema)]
#[schema(as = QueuedMessage)]
struct QueuedJson {
    sequence: u64,
    /// `waiting`, `awaiting-puback`, `awaiting-pubrec` or `awaiting-pubcomp`.
    state: &'static str,
    topic: Option<String>,
    qos: Option<u8>,
    retain: Option<bool>,
    /// Bytes of topic, payload and properties.
    size: Option<usize>,
    payload_bytes: Option<usize>,
    /// RFC 3339; `null`: never.
    expires_at: Option<String>,
    /// If it was asked for.
    preview: Option<PreviewJson>,
}

/// The first bytes of a payload.
#[derive(Serialize, ToSchema)]
#[schema(as = Preview)]
struct PreviewJson {
    base64: String,
    /// `null`: it is no UTF-8 text. A character that is cut is left out.
    text: Option<String>,
}

impl QueuedJson {
    fn new(view: QueuedView, preview: bool, status: &Status) -> Self {
        let QueuedView { sequence, state, size, expires_at, message } = view;
        let of_message = message.as_deref();
        Self {
            sequence,
            state: match state {
                QueuedState::Waiting => "waiting",
                QueuedState::AwaitingPuback => "awaiting-puback",
                QueuedState::AwaitingPubrec => "awaiting-pubrec",
                QueuedState::AwaitingPubcomp => "awaiting-pubcomp",
            },
            topic: of_message.map(|message| message.topic.to_string()),
            qos: of_message.map(|message| message.qos.level()),
            retain: of_message.map(|message| message.retain),
            size,
            payload_bytes: of_message.map(|message| message.payload_bytes),
            expires_at: expires_at.map(|at| rfc_3339(status.wall_of(at))),
            preview: of_message.filter(|_| preview).map(PreviewJson::new),
        }
    }
}

impl PreviewJson {
    fn new(MessageView { preview, payload_bytes, .. }: &MessageView) -> Self {
        let is_cut = preview.len() < *payload_bytes;
        let text = match std::str::from_utf8(preview) {
            Ok(text) => Some(text),
            // The end of the preview may be within a character.
            Err(error) if is_cut && error.error_len().is_none() => {
                preview.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
            }
            Err(_) => None,
        };
        Self { base64: STANDARD.encode(preview), text: text.map(str::to_owned) }
    }
}

/// The head of the queue of a client: QoS 1 and 2 messages in flight, then those that wait. Messages that only the store has are read from it,
/// up to 4 MiB.
#[utoipa::path(
    get, path = "/clients/{client_id}/queue",
    params(
        ("client_id" = String, Path, description = "The Client Identifier, percent-encoded"),
        ("limit" = Option<u32>, Query, description = "The greatest number of messages, 1 to 100; by default 100"),
        ("preview" = Option<u32>, Query, description = "The bytes of each payload to show, 0 to 256; by default 0. More than 0 needs the role operator"),
    ),
    responses(
        (status = 200, description = "The messages", body = QueueJson),
        (status = 403, description = "A viewer asked for payloads", body = ErrorJson),
        (status = 404, description = "There is no such Session", body = ErrorJson),
    )
)]
async fn queue(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(client_id): Path<String>,
    parameters: Parameters,
) -> Result<Json<QueueJson>, Failure> {
    let limit = number(&parameters, ("limit", 1), QUEUED_MAX)?.unwrap_or(QUEUED_MAX);
    let preview = number(&parameters, ("preview", 0), PREVIEW_BYTES_MAX)?.unwrap_or_default();
    if preview > 0 && caller.role < Role::Operator {
        return Err(Failure::forbidden("the payload of a message needs the role operator"));
    }
    let client_id = ClientId(client_id.into());
    let query = Query::Queue(client_id.clone(), QueueRequest { limit, preview });
    let Answer::Queue(views) = ask_owner(&state, &client_id, query).await? else {
        return Err(Failure::unexpected_answer());
    };
    let views = views.ok_or_else(|| missing(&state, &client_id))?;
    let message = |view| QueuedJson::new(view, preview > 0, &state.status);
    Ok(Json(QueueJson { messages: views.into_iter().map(message).collect() }))
}

fn number(parameters: &Parameters, (name, from): (&str, u64), to: usize) -> Result<Option<usize>, Failure> {
    Ok(parameters.number(name, from..=to as u64)?.and_then(|number| usize::try_from(number).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;

    #[test]
    fn a_preview_is_text_if_it_is_the_beginning_of_one() {
        for (bytes, payload_bytes, text) in [
            (&b"abc"[..], 3, Some("abc")),
            (b"ab\xC3", 9, Some("ab")),
            (b"ab\xC3", 3, None),
            (b"a\xFFb", 9, None),
            (b"", 0, Some("")),
        ] {
            let preview = bytes.to_vec();
            let view = MessageView { topic: "t".into(), qos: Qos::AtLeastOnce, retain: false, payload_bytes, preview };
            let json = PreviewJson::new(&view);
            assert_eq!(json.text.as_deref(), text, "{bytes:?}");
            assert_eq!(STANDARD.decode(json.base64).unwrap(), bytes);
        }
    }
}
