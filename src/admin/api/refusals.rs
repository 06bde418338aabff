//! `/refusals`: who was refused.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::Failure;
use super::json::Json;
use super::logs::{LogCursor, Merged, newest};
use super::parameters::Parameters;
use super::spread::MissingCellJson;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::time::rfc_3339;
use crate::broker::{LogPage, RefusalView, RefusedAction, TopicAnswer, TopicQuery};
use crate::server::Status;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Refusals)]
struct RefusalsJson {
    /// Newest last.
    refusals: Vec<RefusalJson>,
    /// Of the page before, with older refusals.
    cursor: Option<String>,
    /// Refusals since the start that are not listed, because there were too many within a second.
    left_out: u64,
    /// Of a cell: for each entry, the cursor of the page before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(ignore)]
    places: Vec<String>,
    /// Cells over which clients are spread, and of which the page has no entries, because they did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Refusal)]
struct RefusalJson {
    at: String,
    /// `connect`, `publish` or `subscribe`.
    kind: &'static str,
    client_id: Option<String>,
    user: Option<String>,
    address: Option<String>,
    reason_code: u8,
    reason: String,
    /// The access rule with its file and line, or the limit.
    rule: Option<String>,
    /// The Topic Name or Topic Filter.
    topic: Option<String>,
}

/// The last refused CONNECT, PUBLISH and SUBSCRIBE packets: about a thousand of each shard. Long texts are cut.
#[utoipa::path(
    get, path = "/refusals",
    params(
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page, for older refusals"),
    ),
    responses((status = 200, description = "The newest refusals", body = RefusalsJson))
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<RefusalsJson>, Failure> {
    let page = (parameters.limit()?, parameters.cursor()?);
    let merged = newest(&state, page, TopicQuery::Refusals, (part, |view| view.at)).await?;
    let Merged { entries, places, cursor, left_out } = merged;
    let places = LogCursor::texts(&state, &places);
    let refusals = entries.into_iter().map(|view| RefusalJson::new(view, &state.status)).collect();
    Ok(Json(RefusalsJson {
        refusals,
        cursor: cursor.map(|cursor| cursor.to_string()),
        left_out,
        places,
        missing_cells: Vec::new(),
    }))
}

fn part(answer: TopicAnswer) -> Option<LogPage<RefusalView>> {
    if let TopicAnswer::Refusals(page) = answer { Some(page) } else { None }
}

impl RefusalJson {
    fn new(view: RefusalView, status: &Status) -> Self {
        Self {
            at: rfc_3339(status.wall_of(view.at)),
            kind: match view.action {
                RefusedAction::Connect => "connect",
                RefusedAction::Publish => "publish",
                RefusedAction::Subscribe => "subscribe",
            },
            client_id: view.client_id.map(String::from),
            user: view.user.map(String::from),
            address: view.address.map(|address| address.to_string()),
            reason_code: view.reason_code as u8,
            reason: view.reason.into(),
            rule: view.rule.map(String::from),
            topic: view.topic.map(String::from),
        }
    }
}
