//! `/caller`: who makes the request.

use axum::extract::Extension;
use serde::Serialize;
use utoipa::ToSchema;

use super::json::Json;
use super::table::Routes;
use crate::admin::caller::{Caller, Role};

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_caller, caller)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Caller)]
struct CallerJson {
    /// The name of the token or of the certificate, or `local`.
    name: String,
    role: Role,
}

/// Who makes this request, and with which role.
#[utoipa::path(get, path = "/caller", responses((status = 200, description = "The caller", body = CallerJson)))]
async fn caller(Extension(Caller { name, role, .. }): Extension<Caller>) -> Json<CallerJson> {
    Json(CallerJson { name: name.to_string(), role })
}
