//! `/reload`: reads the configuration and its files again.

use axum::extract::{Extension, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::server::{ReloadError, ReloadReport};

pub(super) fn admin_routes() -> Routes {
    Routes::new().add(__path_reload, reload)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Reload)]
struct ReloadJson {
    /// Each part of the configuration, in the order in which they were applied.
    files: Vec<PartJson>,
    /// The settings with new values that apply after a restart.
    restart_needed: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReloadedPart)]
struct PartJson {
    /// `configuration`, `access` (`[security]`, the password file and the ACL file), `listener NAME`, `certificates of NAME`, or a section.
    name: String,
    /// `reloaded`, `unchanged`, or `kept`: it can't be used, so what was in force before stays.
    result: &'static str,
    /// Why it was kept.
    error: Option<String>,
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        Self::unavailable(error.to_string())
    }
}

/// Reads the configuration and all files again, as SIGHUP does. What can't be used is kept as it was, and the answer says why.
#[utoipa::path(
    post, path = "/reload",
    responses(
        (status = 200, description = "What became of each part", body = ReloadJson),
        (status = 503, description = "The broker is busy or stops", body = ErrorJson)
    )
)]
async fn reload(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ReloadJson>, Failure> {
    let outcome = state.reloader.reload().await;
    let result = match &outcome {
        Ok(report) => kept(report).map_or(Ok(()), Err),
        Err(error) => Err(error.to_string()),
    };
    state.audit.record(&caller, "reload", "the configuration", &result);
    let ReloadReport { parts, restart_needed } = outcome?;
    let files =
        parts.into_iter().map(|part| PartJson { name: part.name, result: part.result.name(), error: part.error });
    Ok(Json(ReloadJson { files: files.collect(), restart_needed }))
}

/// Which parts were kept, and why.
fn kept(report: &ReloadReport) -> Option<String> {
    let kept = report.parts.iter().filter_map(|part| Some(format!("kept {}: {}", part.name, part.error.as_ref()?)));
    Some(kept.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
}
