//! `/config`: the settings in force.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::json::Json;
use super::state::ApiState;
use super::table::Routes;
use crate::config::Setting;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_config, config)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Config)]
struct ConfigJson {
    settings: Vec<SettingJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Setting)]
struct SettingJson {
    /// Its name in the configuration file, such as `limits.connections_max` or `listeners[0].tls.certificate`.
    key: String,
    /// The value in force as in the configuration file; `null`: it is not set. Secrets are in files, and the values are their names.
    value: serde_json::Value,
    /// `default`, `FILE:LINE`, `env NAME` or `flag NAME`.
    origin: String,
}

/// The settings in force, and where each comes from. One with a new value that needs a restart has the old one.
#[utoipa::path(get, path = "/config", responses((status = 200, description = "All settings", body = ConfigJson)))]
async fn config(State(ApiState { reloader, .. }): State<ApiState>) -> Json<ConfigJson> {
    let settings = reloader.in_force().settings().into_iter();
    let settings = settings.map(|Setting { key, value, origin }| SettingJson { key, value, origin });
    Json(ConfigJson { settings: settings.collect() })
}
