//! Tells other nodes what changes in the list of bans, so that a ban holds at all of them.
//!
//! Each node tells each other that is alive its own changes and those that it was told, whenever there are some, and again until it has an answer. One that
//! begins anew says so by the number of its run, and is told all.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::select;
use tokio::time::{sleep, timeout};

use super::each::{error_of, json_of};
use super::missing::MissingNodeJson;
use super::place::{Away, Target};
use super::{CellsApi, NODE_TIME};
use crate::admin::api::failure::Failure;
use crate::admin::caller::{Caller, Role};
use crate::server::{BanChange, Subject};

/// What a node tells another one.
#[derive(Debug, Serialize, Deserialize)]
struct ChangesJson {
    node: String,
    run: u64,
    changes: Vec<ChangeJson>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChangeJson {
    address: Option<String>,
    user: Option<String>,
    left_ms: u64,
    reason: String,
    is_lifted: bool,
    version: u64,
}

impl CellsApi {
    /// Tells the other nodes what changes in the list of bans, and never ends.
    pub(in crate::admin) async fn spread_bans(&self) {
        if self.nodes.is_none() {
            return pending().await;
        }
        let (mut changes, mut nodes) = (self.state.bans.watch(), self.cells.watch_nodes());
        loop {
            changes.borrow_and_update();
            nodes.borrow_and_update();
            let missing = self.tell_all(true).await;
            let pause = if missing.is_empty() { PERIOD } else { AGAIN };
            select! {
                // Both live as long as `self`.
                _ = changes.changed() => {}
                _ = nodes.changed() => {}
                () = self.peers.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Changes the list of bans at this node, and tells all others.
    pub(super) async fn change_bans(&self, request: Request) -> Result<Response, Failure> {
        let response = self.ask_self(request).await;
        Ok(if response.status().is_success() { self.told_all(response).await } else { response })
    }

    /// The response to a change of the list of bans, when all nodes that are alive know it. Otherwise it says which ones do not.
    pub(super) async fn told_all(&self, response: Response) -> Response {
        let missing = self.tell_all(false).await;
        if missing.is_empty() {
            return response;
        }
        let reasons = missing.into_iter().map(|missing| format!("node {}: {}", missing.node, missing.reason));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        let text = format!("done, but not all nodes know it yet, and they are told again until they do: {reasons}");
        Failure::unavailable(text).into_response()
    }

    /// Tells all other nodes what they do not know; with `is_regular`, also that there is nothing. Returns those that do not answer.
    async fn tell_all(&self, is_regular: bool) -> Vec<MissingNodeJson> {
        let nodes = self.cells.nodes();
        self.peers.retain(&nodes);
        let told = nodes.iter().map(async |node| (node, self.tell(node, is_regular).await));
        let failed = join_all(told).await.into_iter();
        failed.filter_map(|(node, told)| Some(MissingNodeJson::new(node, &told.err()?))).collect()
    }

    async fn tell(&self, node: &Arc<str>, is_regular: bool) -> Result<(), Away> {
        let mut is_first = is_regular;
        loop {
            let peer = self.peers.of(node);
            let now = self.state.status.now();
            let (number, changes) = self.state.bans.changes_since(peer.told, now);
            if changes.is_empty() && !is_first {
                return Ok(());
            }
            is_first = false;
            let request = self.telling(changes).map_err(|failure| Away::Fails(failure.to_string()))?;
            let answered = timeout(NODE_TIME, self.ask_node(Arc::clone(node), Target::Node, request)).await;
            let response = answered.unwrap_or_else(|_| Err(Away::Silent(Arc::clone(node))))?;
            if response.status() != StatusCode::NO_CONTENT {
                let (_, answer) = json_of(response).await?;
                return Err(Away::Fails(error_of(&answer)));
            }
            self.peers.set_told(node, peer, number);
        }
    }

    fn telling(&self, changes: Vec<BanChange>) -> Result<Request, Failure> {
        let (node, run) = (self.name(), self.run);
        let changes = changes.into_iter().map(ChangeJson::from).collect();
        let failed = |error: &dyn std::error::Error| Failure::internal(error.to_string());
        let body =
            serde_json::to_vec(&ChangesJson { node: node.clone(), run, changes }).map_err(|error| failed(&error))?;
        let caller = Caller::new(format!("node {node}").into(), Role::Admin, None);
        let request = Request::builder().method(Method::POST).uri(Uri::from_static(BAN_CHANGES)).extension(caller);
        request.body(Body::from(body)).map_err(|error| failed(&error))
    }

    /// Takes over what another node tells.
    pub(super) async fn take_bans(&self, body: Body) -> Result<Response, Failure> {
        let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| Failure::too_large("the changes are too many"))?;
        let told: ChangesJson =
            serde_json::from_slice(&body).map_err(|error| Failure::bad_request(format!("no changes: {error}")))?;
        let changes = told.changes.into_iter().map(ChangeJson::change).collect::<Option<Vec<_>>>();
        let changes = changes.ok_or_else(|| Failure::bad_request("a change is of an address or of a user"))?;
        self.peers.heard(&told.node, told.run);
        let merged = self.state.bans.merge(changes, self.state.status.now());
        merged.map_err(|full| Failure::conflict(full.to_string()))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

impl From<BanChange> for ChangeJson {
    fn from(BanChange { subject, left, reason, is_lifted, version }: BanChange) -> Self {
        let (address, user) = match subject {
            Subject::Address(source) => (Some(source.to_string()), None),
            Subject::User(user) => (None, Some(user.to_string())),
        };
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Self { address, user, left_ms, reason, is_lifted, version }
    }
}

impl ChangeJson {
    fn change(self) -> Option<BanChange> {
        let Self { address, user, left_ms, reason, is_lifted, version } = self;
        let subject = match (address, user) {
            (Some(address), None) => Subject::Address(address.parse().ok()?),
            (None, Some(user)) => Subject::User(user.into()),
            _ => return None,
        };
        Some(BanChange { subject, left: Duration::from_millis(left_ms), reason, is_lifted, version })
    }
}

/// Where a node takes what another one tells.
pub(super) const BAN_CHANGES: &str = "/bans/changes";
/// How often a node is told that there is nothing, so that one that has begun anew is noticed.
const PERIOD: Duration = Duration::from_secs(10);
/// The same if one does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// More than the most changes that are told at a time have.
const BODY_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_arrives_as_it_was() {
        for subject in [
            Subject::Address("192.0.2.1".parse().unwrap()),
            Subject::Address("2001:db8::/64".parse().unwrap()),
            Subject::User("a \"b\"".into()),
        ] {
            let change = BanChange {
                subject,
                left: Duration::from_millis(7),
                reason: "r".to_owned(),
                is_lifted: true,
                version: 3,
            };
            let text = serde_json::to_string(&ChangeJson::from(change.clone())).unwrap();
            assert_eq!(serde_json::from_str::<ChangeJson>(&text).unwrap().change(), Some(change));
        }
        let neither = r#"{"left_ms":1,"reason":"","is_lifted":false,"version":1}"#;
        assert_eq!(serde_json::from_str::<ChangeJson>(neither).unwrap().change(), None);
    }
}
