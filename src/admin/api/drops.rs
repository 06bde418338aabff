//! `/drops`: which messages were dropped.

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
use crate::broker::{DropView, LogPage, TopicAnswer, TopicQuery};
use crate::server::Status;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Drops)]
struct DropsJson {
    /// Newest last.
    drops: Vec<DropJson>,
    /// Of the page before, with older drops.
    cursor: Option<String>,
    /// Dropped messages since the start that are not listed, because there were too many within a second.
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
#[schema(as = Drop)]
struct DropJson {
    /// When the first of them was dropped.
    at: String,
    /// Who does not get the message; for a retained message or a Will that was discarded, who published it.
    client_id: String,
    /// `null`: not known, or several.
    topic: Option<String>,
    /// As `topic`.
    qos: Option<u8>,
    /// As the label of the metric of dropped messages.
    reason: &'static str,
    /// How many, within a second.
    count: u64,
}

/// The last dropped messages: about a thousand entries of each shard, and as many of those that clients expect (`not_connected`, `expired`).
/// Messages to one client, of one topic and for one reason within a second are one entry. Long texts are cut.
#[utoipa::path(
    get, path = "/drops",
    params(
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page, for older drops"),
    ),
    responses((status = 200, description = "The newest drops", body = DropsJson))
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<DropsJson>, Failure> {
    let page = (parameters.limit()?, parameters.cursor()?);
    let merged = newest(&state, page, TopicQuery::Drops, (part, |view| view.at)).await?;
    let Merged { entries, places, cursor, left_out } = merged;
    let places = LogCursor::texts(&state, &places);
    let drops = entries.into_iter().map(|view| DropJson::new(view, &state.status)).collect();
    Ok(Json(DropsJson {
        drops,
        cursor: cursor.map(|cursor| cursor.to_string()),
        left_out,
        places,
        missing_cells: Vec::new(),
    }))
}

fn part(answer: TopicAnswer) -> Option<LogPage<DropView>> {
    if let TopicAnswer::Drops(page) = answer { Some(page) } else { None }
}

impl DropJson {
    fn new(view: DropView, status: &Status) -> Self {
        Self {
            at: rfc_3339(status.wall_of(view.at)),
            client_id: view.client_id.into(),
            topic: view.topic.map(String::from),
            qos: view.qos.map(|qos| qos as u8),
            reason: view.reason.name(),
            count: view.count,
        }
    }
}
