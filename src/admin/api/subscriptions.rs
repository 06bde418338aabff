//! `/subscriptions`: the subscriptions of all Sessions.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::Failure;
use super::json::Json;
use super::parameters::Parameters;
use super::spread::MissingCellJson;
use super::state::ApiState;
use super::table::Routes;
use super::topics::{ANY_SHARD, PlaceCursor, QUERIES_PER_REQUEST_MAX, ask, filter_of};
use crate::broker::{SubscriberView, SubscriptionsRequest, TopicAnswer, TopicQuery};
use crate::codec::{RetainHandling, Subscription};

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Subscriptions)]
struct SubscriptionsJson {
    subscriptions: Vec<SubscriptionJson>,
    cursor: Option<String>,
    /// Cells over which clients are spread, and of which the page has no entries, because they did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
struct SubscriptionJson {
    client_id: String,
    /// The Topic Filter, without `$share/NAME/`.
    filter: String,
    /// The ShareName of a Shared Subscription.
    share: Option<String>,
    /// The granted QoS.
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    /// Subscription Identifier.
    id: Option<u32>,
}

/// The subscriptions of all Sessions, in no particular order. A page may be shorter than `limit`, or empty.
#[utoipa::path(
    get, path = "/subscriptions",
    params(
        ("filter" = Option<String>, Query, description = "Only those to exactly this Topic Filter, and to shares of it; with $share/NAME/ before it, only those of this share"),
        ("client_id" = Option<String>, Query, description = "Only those of clients that match: * stands for any characters, ? for one"),
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page"),
    ),
    responses((status = 200, description = "A page of subscriptions", body = SubscriptionsJson))
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<SubscriptionsJson>, Failure> {
    let filter = parameters.text("filter").map(filter_of).transpose()?;
    let client_id = parameters.client_pattern()?;
    let (limit, PlaceCursor(mut from)) = (parameters.limit()?, parameters.cursor()?);
    let mut subscriptions = Vec::new();
    for _ in 0..QUERIES_PER_REQUEST_MAX {
        let (filter, client_id) = (filter.clone(), client_id.clone());
        let request = SubscriptionsRequest { filter, client_id, from, limit: limit - subscriptions.len() };
        let answer = ask(&state, ANY_SHARD, TopicQuery::Subscriptions(request)).await?;
        let TopicAnswer::Subscriptions(page) = answer else { return Err(Failure::unexpected_answer()) };
        subscriptions.extend(page.entries.into_iter().map(SubscriptionJson::from));
        match page.next {
            Some(next) => from = next,
            None => return Ok(Json(SubscriptionsJson { subscriptions, cursor: None, missing_cells: Vec::new() })),
        }
        if subscriptions.len() >= limit {
            break;
        }
    }
    let cursor = Some(PlaceCursor(from).to_string());
    Ok(Json(SubscriptionsJson { subscriptions, cursor, missing_cells: Vec::new() }))
}

impl From<SubscriberView> for SubscriptionJson {
    fn from(SubscriberView { client_id, subscription: Subscription { filter, options }, id }: SubscriberView) -> Self {
        Self {
            client_id: client_id.to_string(),
            filter: filter.topic_filter.as_str().to_owned(),
            share: filter.share.map(|share| share.as_str().to_owned()),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: match options.retain_handling {
                RetainHandling::Send => 0,
                RetainHandling::SendIfNew => 1,
                RetainHandling::DoNotSend => 2,
            },
            id: id.map(|id| id.get()),
        }
    }
}
