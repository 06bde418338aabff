//! `/messages/{message_id}`: what became of a message.

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::message_journey::{Journey, journey};
use super::spread::MissingCellJson;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::time::rfc_3339;
use crate::broker::{JourneyStep, PublisherView, StableView, StepView};
use crate::codec::{ClientId, MessageId};
use crate::server::Status;
use crate::timestamp::Timestamp;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_message, message)
}

/// What became of a message.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageJourney)]
pub(super) struct MessageJson {
    message_id: String,
    /// Long topics are cut. `null`: it is not known any more.
    topic: Option<String>,
    /// At which it was published.
    qos: Option<u8>,
    /// The Client Identifier of the publisher; `null` for the broker and for operators, and if it is not known any more.
    publisher: Option<String>,
    received_at: Option<String>,
    /// When it was as durable as its topic requires; `null`: not yet, not known any more, or no durable Session needs it.
    stable_at: Option<String>,
    /// Whether it is part of a record of the store, because a durable Session needs it; `null`: not known any more.
    stored: Option<bool>,
    /// The number of Sessions that it was sent to or queued for; `null`: not known any more.
    matched: Option<u32>,
    /// In the order of time.
    steps: Vec<StepJson>,
    receivers: Vec<ReceiverJson>,
    /// Receivers that are not shown, because there are too many: a message has the steps of at most 100 receivers on each shard.
    left_out: u64,
    /// Whether everything was looked through that may tell more about it: the steps since it was received, or all queues. If not, there may be more
    /// receivers.
    complete: bool,
    /// Cells over which clients are spread, and which may know more about it, but did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageStep)]
struct StepJson {
    at: String,
    /// `received`, `stable`, `queued`, `sent`, `acknowledged` (PUBACK), `released` (PUBREC), `completed` (PUBCOMP), `refused` (an error in PUBACK or
    /// PUBREC) or `dropped`.
    step: &'static str,
    /// The publisher for `received`, otherwise the receiver; `null`: the Session ended, and its name is not known any more.
    client_id: Option<String>,
    /// Why it was dropped, as the label of the metric; who published it, if no client did.
    reason: Option<&'static str>,
    /// Whether it was sent again, with DUP; `null` for other steps.
    dup: Option<bool>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageReceiver)]
struct ReceiverJson {
    /// `null`: the Session ended, and its name is not known any more.
    client_id: Option<String>,
    /// The name of the last step, or `session-ended` if the Session ended before the message was acknowledged.
    state: &'static str,
}

/// What became of a QoS 1 or 2 message: when it was received and stable, for whom it was queued, to whom it was sent, who acknowledged it, where it
/// was dropped and why.
///
/// The broker keeps the last `journey_steps_max` steps (100,000) of all messages in memory, for at most ten minutes. A message that is older than these, or of
/// an earlier run, or that came while a shard received more than 20,000 messages a second, is still found in the queues of those who have not acknowledged it; at most 20,000 messages are read from the store for that, so
/// it may be missed if more are queued.
#[utoipa::path(
    get, path = "/messages/{message_id}",
    params(("message_id" = String, Path, description = "As in the answer of POST /publish and in the User Property message-id")),
    responses(
        (status = 200, description = "What became of it", body = MessageJson),
        (status = 400, description = "This is not the identity of a message", body = ErrorJson),
        (status = 404, description = "It is not known", body = ErrorJson),
    )
)]
async fn message(State(state): State<ApiState>, Path(text): Path<String>) -> Result<Json<MessageJson>, Failure> {
    let id: MessageId = text.parse().map_err(|_| {
        Failure::bad_request("a message-id has 16 hexadecimal digits, a hyphen, and 16 hexadecimal digits")
    })?;
    let journey = journey(&state, id).await?;
    if journey.is_unknown() {
        return Err(Failure::not_found(if journey.is_complete {
            "no steps of this message are kept, and no queue has it"
        } else {
            "no steps of this message are kept; the queues have too many messages to look through all of them"
        }));
    }
    Ok(Json(MessageJson::new(id, journey, &state.status)))
}

impl MessageJson {
    fn new(id: MessageId, journey: Journey, status: &Status) -> Self {
        let at = |at: Timestamp| rfc_3339(status.wall_of(at));
        let accepted = journey.accepted.as_ref();
        let stable = accepted.map(|accepted| accepted.stable);
        let stable_at = stable.and_then(|stable| if let StableView::Since(at) = stable { Some(at) } else { None });
        let (publisher, reason) = match accepted.map(|accepted| &accepted.publisher) {
            Some(PublisherView::Client(client_id)) => (name(client_id.as_ref()), None),
            Some(PublisherView::Operator) => (None, Some("operator")),
            Some(PublisherView::Broker) => (None, Some("broker")),
            None => (None, None),
        };
        // Once for each: another look at the clock could give another millisecond.
        let (received_at, stable_text) = (accepted.map(|accepted| at(accepted.at)), stable_at.map(at));
        let received = received_at.clone().map(|at| StepJson {
            at,
            step: "received",
            client_id: publisher.clone(),
            reason,
            dup: None,
        });
        let stable_step =
            stable_text.clone().map(|at| StepJson { at, step: "stable", client_id: None, reason: None, dup: None });
        // What came before the message was stable is listed before that.
        let before = journey.steps.partition_point(|step| stable_at.is_some_and(|stable| step.at < stable));
        let (early, late) = journey.steps.split_at(before);
        let step = |step: &StepView| StepJson::new(step, at(step.at));
        let steps = received.into_iter().chain(early.iter().map(step)).chain(stable_step);
        let receivers = journey.receivers();
        Self {
            message_id: id.to_string(),
            topic: journey.topic.clone(),
            qos: journey.qos.map(|qos| qos as u8),
            received_at,
            stable_at: stable_text,
            stored: stable.map(|stable| stable != StableView::NoRecord),
            matched: accepted.map(|accepted| accepted.matched),
            steps: steps.chain(late.iter().map(step)).collect(),
            receivers: receivers.map(|(client_id, state)| ReceiverJson { client_id: name(client_id), state }).collect(),
            left_out: journey.left_out,
            complete: journey.is_complete,
            missing_cells: Vec::new(),
            publisher,
        }
    }
}

impl StepJson {
    fn new(view: &StepView, at: String) -> Self {
        let dup = matches!(view.step, JourneyStep::Sent | JourneyStep::Resent);
        Self {
            at,
            step: view.step.name(),
            client_id: name(view.client_id.as_ref()),
            reason: view.reason.map(|reason| reason.name()),
            dup: dup.then_some(view.step == JourneyStep::Resent),
        }
    }
}

fn name(client_id: Option<&ClientId>) -> Option<String> {
    client_id.map(|client_id| client_id.as_str().to_owned())
}
