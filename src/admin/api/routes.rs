//! `/routes`: who would get a message.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::Failure;
use super::json::Json;
use super::parameters::Parameters;
use super::spread::MissingCellJson;
use super::state::ApiState;
use super::table::Routes;
use super::topics::{ANY_SHARD, PlaceCursor, QUERIES_PER_REQUEST_MAX, ask, required, topic_of};
use crate::broker::{ReceiverView, ReceiversRequest, TopicAnswer, TopicQuery};

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_show, show)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Route)]
struct RouteJson {
    topic: String,
    receivers: Vec<ReceiverJson>,
    /// Whether the topic has a retained message.
    retained: bool,
    cursor: Option<String>,
    /// Cells over which clients are spread, and of which the page has no entries, because they did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

/// A subscription through which a client would get the message. A client with several of them gets one copy, at the highest QoS. Of a share, one
/// member gets it.
#[derive(Serialize, ToSchema)]
#[schema(as = Receiver)]
struct ReceiverJson {
    client_id: String,
    connected: bool,
    /// The granted QoS. The message is sent at the lower of this and its own QoS.
    qos: u8,
    /// The Topic Filter, without `$share/NAME/`.
    filter: String,
    /// The ShareName of a Shared Subscription.
    share: Option<String>,
    /// `allowed` or `denied`: by the access rules, a client that is denied does not get the message.
    access: &'static str,
}

/// Who would get a message that is published to a topic now, and through which filter or share.
#[utoipa::path(
    get, path = "/routes",
    params(
        ("topic" = String, Query, description = "The Topic Name"),
        ("limit" = Option<u32>, Query, description = "The greatest number of receivers, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page"),
    ),
    responses((status = 200, description = "A page of receivers", body = RouteJson))
)]
async fn show(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<RouteJson>, Failure> {
    let topic = topic_of(required(&parameters, "topic")?)?;
    let (limit, PlaceCursor(mut from)) = (parameters.limit()?, parameters.cursor()?);
    let (mut receivers, mut retained) = (Vec::new(), false);
    let mut next = None;
    for _ in 0..QUERIES_PER_REQUEST_MAX {
        let request = ReceiversRequest { topic: topic.clone(), from, limit: limit - receivers.len() };
        let answer = ask(&state, ANY_SHARD, TopicQuery::Receivers(request)).await?;
        let TopicAnswer::Receivers(page, is_retained) = answer else { return Err(Failure::unexpected_answer()) };
        retained = is_retained;
        receivers.extend(page.entries.into_iter().map(ReceiverJson::from));
        next = page.next;
        match &next {
            Some(place) if receivers.len() < limit => from = place.clone(),
            Some(_) | None => break,
        }
    }
    let cursor = next.map(|place| PlaceCursor(place).to_string());
    let topic = topic.as_str().to_owned();
    Ok(Json(RouteJson { topic, receivers, retained, cursor, missing_cells: Vec::new() }))
}

impl From<ReceiverView> for ReceiverJson {
    fn from(view: ReceiverView) -> Self {
        Self {
            client_id: view.client_id.to_string(),
            connected: view.is_connected,
            qos: view.qos as u8,
            filter: view.filter.as_str().to_owned(),
            share: view.share.map(|share| share.as_str().to_owned()),
            access: if view.is_allowed { "allowed" } else { "denied" },
        }
    }
}
