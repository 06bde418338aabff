//! `/cluster`: the nodes of a cluster, who serves the clients, and how that is changed.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::cluster_cells::{ask, of_cells};
use super::cluster_json::{ClusterJson, TunnelsJson};
use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Parameters;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::cluster::{Command, CommandError};

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_show, show)
}

pub(super) fn admin_routes() -> Routes {
    Routes::new()
        .add(__path_move_to, move_to)
        .add(__path_drain, drain)
        .add(__path_undrain, undrain)
        .add(__path_forget, forget)
}

/// A change that has begun.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterChange)]
struct ChangeJson {
    /// The node that is to serve the clients; `null`: that stays as it is.
    to: Option<String>,
}

/// The nodes, and who serves the clients.
#[utoipa::path(
    get, path = "/cluster",
    responses(
        (status = 200, description = "The cluster, as this node sees it", body = ClusterJson),
        (status = 404, description = "This broker is not part of a cluster", body = ErrorJson),
    )
)]
async fn show(State(state): State<ApiState>) -> Result<Json<ClusterJson>, Failure> {
    let cluster =
        of_cells(&state.cells, state.front_of.as_deref()).or_else(|| Some(state.cluster.as_ref()?.status().into()));
    let mut cluster = cluster.ok_or_else(|| Failure::not_found(NO_CLUSTER))?;
    cluster.tunnels = state.status.tunnels().map(TunnelsJson::from);
    Ok(Json(cluster))
}

/// Gives the clients to another node. All are disconnected with 0x9C and the address of that node. The answer comes when that begins: `GET /cluster`
/// shows when it is done.
#[utoipa::path(
    post, path = "/cluster/move",
    params(
        ("to" = Option<String>, Query, description = "The name of the node; by default, that which has most of the log"),
        ("cell" = Option<u64>, Query, description = "The number of the cell whose clients they are, if there are several"),
    ),
    responses(
        (status = 202, description = "It has begun", body = ChangeJson),
        (status = 404, description = "This broker is not part of a cluster", body = ErrorJson),
        (status = 409, description = "This node is not the owner, or the other can't take over", body = ErrorJson),
    )
)]
async fn move_to(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let to = parameters.text("to").map(str::to_owned);
    let cell = parameters.number("cell", 0..=255)?.and_then(|cell| usize::try_from(cell).ok());
    change(&state, &caller, ("move cluster", Command::Move { to }, cell)).await
}

/// This node serves no clients until it is told so or starts again, for work on it: as the owner it gives them to another node, and as a standby it does
/// not take over by itself.
#[utoipa::path(
    post, path = "/cluster/drain",
    responses(
        (status = 202, description = "It has begun", body = ChangeJson),
        (status = 404, description = "This broker is not part of a cluster", body = ErrorJson),
        (status = 409, description = "No other node can take over", body = ErrorJson),
    )
)]
async fn drain(State(state): State<ApiState>, Extension(caller): Extension<Caller>) -> Result<Response, Failure> {
    change(&state, &caller, ("drain node", Command::Drain, None)).await
}

/// This node takes over again if it has to.
#[utoipa::path(
    delete, path = "/cluster/drain",
    responses(
        (status = 202, description = "Done", body = ChangeJson),
        (status = 404, description = "This broker is not part of a cluster", body = ErrorJson),
        (status = 409, description = "The node can't", body = ErrorJson),
    )
)]
async fn undrain(State(state): State<ApiState>, Extension(caller): Extension<Caller>) -> Result<Response, Failure> {
    change(&state, &caller, ("undrain node", Command::Undrain, None)).await
}

/// Forgets a node that is gone for good: nothing waits for it any more. One that comes back is known again.
#[utoipa::path(
    delete, path = "/cluster/nodes/{node}",
    params(("node" = String, Path, description = "The name of the node")),
    responses(
        (status = 202, description = "Done", body = ChangeJson),
        (status = 404, description = "This broker is not part of a cluster", body = ErrorJson),
        (status = 409, description = "The node is alive, or there is none with this name", body = ErrorJson),
    )
)]
async fn forget(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
) -> Result<Response, Failure> {
    change(&state, &caller, ("forget node", Command::Forget { node }, None)).await
}

async fn change(
    state: &ApiState,
    caller: &Caller,
    (what, command, cell): (&str, Command, Option<usize>),
) -> Result<Response, Failure> {
    let mut target = match &command {
        Command::Move { to } => to.clone().unwrap_or_default(),
        Command::Forget { node } => node.clone(),
        Command::Drain | Command::Undrain => String::new(),
    };
    let outcome = match &state.cluster {
        Some(_) if cell.is_some_and(|cell| cell > 0) => Err(Failure::conflict("this cluster has one cell".to_owned())),
        Some(cluster) => cluster.ask(command).await.map_err(Failure::from),
        None if state.cells.is_empty() => Err(Failure::not_found(NO_CLUSTER)),
        None => ask(&state.cells, cell, command).await.map_err(Failure::from),
    };
    if let Ok(Some(to)) = &outcome {
        target.clone_from(to);
    }
    state.audit.record(caller, what, &target, &outcome);
    outcome.map(|to| (StatusCode::ACCEPTED, Json(ChangeJson { to })).into_response())
}

const NO_CLUSTER: &str = "this broker is not part of a cluster";

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => Self::conflict(refusal.to_string()),
            CommandError::Busy => Self::unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::admin::api::tests::Api;
    use crate::cluster::{ClusterControl, ClusterHandle, Command, Failover, Member, Owner, Role, Status};

    fn status() -> Status {
        let mut status = Status::new("c".to_owned(), "a".to_owned(), "a.example:1883".to_owned());
        status.role = Role::Owner;
        status.owner = Some(Owner { node: "a".to_owned(), advertise: Some("a.example:1883".to_owned()) });
        (status.epoch, status.sequence, status.replicated) = (3, 100, 99);
        status.members = vec![Member {
            node: "b".to_owned(),
            advertise: "b.example:1883".to_owned(),
            role: Some(Role::Standby),
            is_able: true,
            is_alive: true,
            sequence: 90,
            silence: std::time::Duration::from_millis(500),
            ..Member::default()
        }];
        status.members.push(Member { node: "d".to_owned(), ..Member::default() });
        status.last_failover = Some(Failover {
            at: 0,
            epoch: 3,
            node: "a".to_owned(),
            cause: "b is dead".to_owned(),
            duration: std::time::Duration::from_millis(1_500),
        });
        status.engine_latency.record(std::time::Duration::from_millis(2));
        status.add_trouble("the stream is nearly full");
        status
    }

    fn api(status: Status) -> (Api, ClusterControl) {
        let (handle, control) = ClusterHandle::new(status);
        (Api::with(|_| (), |parts| parts.cluster = Some(handle)), control)
    }

    /// The next request, as a node gets it.
    fn next(control: &mut ClusterControl) -> Command {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(control.next()).unwrap().accept()
    }

    #[test]
    fn the_state_of_the_cluster_has_its_fields() {
        let (api, _control) = api(status());
        let answer = api.local("GET /api/v1/cluster", "").json();
        assert_eq!((&answer["role"], &answer["epoch"]), (&"owner".into(), &3.into()));
        assert_eq!(answer["owner"]["advertise"], "a.example:1883");
        assert_eq!((&answer["members"][0]["lag"], &answer["members"][0]["silent_seconds"]), (&10.into(), &0.5.into()));
        assert_eq!(answer["last_failover"]["at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(
            (&answer["last_failover"]["seconds"], &answer["troubles"].to_string()),
            (&1.5.into(), &"[\"the stream is nearly full\"]".to_owned())
        );
        assert_eq!(
            (&answer["engine_latency"]["commits"], &answer["engine_latency"]["mean_seconds"]),
            (&1.into(), &0.002.into())
        );
        assert_eq!(Api::start().local("GET /api/v1/cluster", "").code, 404);
    }

    #[test]
    fn the_owner_is_asked_to_move_and_what_is_not_possible_is_said_in_words() {
        let (api, mut control) = api(status());
        let node = thread::spawn(move || {
            let commands: Vec<Command> = (0..4).map(|_| next(&mut control)).collect();
            (commands, control)
        });
        let moved = api.local("POST /api/v1/cluster/move?to=b", "");
        assert_eq!((moved.code, &moved.json()["to"]), (202, &"b".into()));
        assert_eq!(api.local("POST /api/v1/cluster/drain", "").json()["to"], "b");
        assert_eq!(api.local("DELETE /api/v1/cluster/drain", "").code, 202);
        assert_eq!(api.local("DELETE /api/v1/cluster/nodes/d", "").code, 202);
        let (commands, control) = node.join().unwrap();
        let (moved, forgotten) = (Command::Move { to: Some("b".to_owned()) }, Command::Forget { node: "d".to_owned() });
        assert_eq!(commands, [moved, Command::Drain, Command::Undrain, forgotten]);
        let refused = api.local("DELETE /api/v1/cluster/nodes/b", "");
        assert_eq!((refused.code, &refused.json()["error"]), (409, &"node b is alive: stop it first".into()));
        let line = &api.audited()[0];
        assert_eq!(
            (&line["what"], &line["target"], &line["result"]),
            (&"move cluster".into(), &"b".into(), &"done".into())
        );

        let refused = api.local("POST /api/v1/cluster/move?to=x", "");
        assert_eq!((refused.code, &refused.json()["error"]), (409, &"there is no node x".into()));
        control.update(|status| status.role = Role::Standby);
        let refused = api.local("POST /api/v1/cluster/move", "");
        let words = "this node is standby, not the owner: that is a (a.example:1883)";
        assert_eq!((refused.code, &refused.json()["error"]), (409, &words.into()));
        drop(control);
        assert_eq!(api.local("POST /api/v1/cluster/drain", "").code, 503);
    }

    #[test]
    fn a_standby_changes_nothing_that_the_owner_has_and_is_not_ready() {
        let mut starting = status();
        starting.role = Role::Starting;
        let (handle, control) = ClusterHandle::new(starting);
        let api = Api::with(
            |_| (),
            |parts| {
                parts.status.set_ready(true);
                parts.cluster = Some(handle);
            },
        );
        let ready = || api.remote("GET /health/ready", "", "");
        assert_eq!((ready().code, &ready().json()["status"]), (503, &"starting".into()));
        control.update(|status| status.role = Role::Standby);
        assert_eq!((ready().code, &ready().json()["status"]), (503, &"standby".into()));
        assert_eq!(api.remote("GET /health/live", "", "").code, 200);
        let publish = api.local("POST /api/v1/publish", r#"{"topic":"a","payload":"b"}"#);
        let words = "this server is a standby: ask the owner, a (a.example:1883)";
        assert_eq!((publish.code, &publish.json()["error"]), (409, &words.into()));
        assert_eq!(api.audited().last().unwrap()["result"], words);
        assert_ne!(api.local("POST /api/v1/tokens", r#"{"name":"ci","role":"viewer"}"#).code, 409);
        assert_eq!(api.local("POST /api/v1/cluster/move", "").code, 409);
        assert_eq!(api.local("GET /api/v1/overview", "").json()["ready"], false);
    }
}
