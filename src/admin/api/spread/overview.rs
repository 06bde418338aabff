use std::sync::Arc;

use axum::extract::Request;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::each::{error_of, json_of};
use super::missing::MissingNodeJson;
use super::place::{Away, Target};
use super::{CellsApi, get};
use crate::admin::api::failure::Failure;
use crate::admin::api::json::Json;
use crate::admin::api::parameters::Parameters;
use crate::admin::caller::Caller;
use crate::cluster::merged;

impl CellsApi {
    /// The name of this node.
    pub(super) fn name(&self) -> String {
        self.state.cells.first().map(|cell| cell.status().node).unwrap_or_default()
    }

    /// The other nodes, and whether they are alive.
    pub(super) fn other_nodes(&self) -> Vec<(Arc<str>, bool)> {
        let statuses: Vec<_> = self.state.cells.iter().map(|cell| cell.status()).collect();
        let members = merged(&statuses).map(|all| all.members).unwrap_or_default();
        members.into_iter().map(|member| (member.node.into(), member.is_alive)).collect()
    }

    /// The figures of all nodes as those of one broker, or those of the node that the request names.
    pub(super) async fn overview(&self, (uri, caller): (Uri, Option<Caller>)) -> Result<Response, Failure> {
        let parameters = Parameters::parse(uri.query().unwrap_or_default())?;
        let caller = caller.as_ref();
        let others = self.other_nodes();
        if let Some(name) = parameters.text("node") {
            if name == self.name() {
                return Ok(self.ask_self(get("/overview", caller)?).await);
            }
            let node = others.into_iter().find(|(node, _)| **node == *name);
            let (node, _) = node.ok_or_else(|| Failure::not_found("there is no such node"))?;
            let asked = self.ask_node(node, Target::Node, get("/overview", caller)?).await;
            return asked.map_err(|away| Failure::unavailable(away.to_string()));
        }
        let (code, own) = json_of(self.ask_self(get("/overview", caller)?).await)
            .await
            .map_err(|away| Failure::internal(away.to_string()))?;
        if !code.is_success() {
            return Err(Failure::unavailable(error_of(&own)));
        }
        let requests: Vec<_> =
            others.into_iter().map(|node| Ok((node, get("/overview", caller)?))).collect::<Result<_, Failure>>()?;
        let asked = requests.into_iter().map(async |((node, is_alive), request)| {
            let answer =
                if is_alive { self.overview_of(&node, request).await } else { Err(Away::Silent(Arc::clone(&node))) };
            (node, answer)
        });
        Ok(Json(sum((self.name(), own), join_all(asked).await)).into_response())
    }

    async fn overview_of(&self, node: &Arc<str>, request: Request) -> Result<Value, Away> {
        let (code, answer) = json_of(self.ask_node(Arc::clone(node), Target::Node, request).await?).await?;
        if code.is_success() { Ok(answer) } else { Err(Away::Fails(error_of(&answer))) }
    }
}

/// One overview for those of all nodes. What is no sum is that of the node that is asked.
fn sum((name, own): (String, Value), others: Vec<(Arc<str>, Result<Value, Away>)>) -> Value {
    let (mut nodes, mut missing) = (vec![(name, own.clone())], Vec::new());
    for (node, answer) in others {
        match answer {
            Ok(overview) => nodes.push((node.to_string(), overview)),
            Err(away) => missing.push(MissingNodeJson::new(&node, &away)),
        }
    }
    nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut all = own;
    for path in SUMS {
        let values = nodes.iter().filter_map(|(_, node)| node.pointer(path).filter(|value| !value.is_null()));
        let total = values.cloned().reduce(add).unwrap_or_default();
        set(&mut all, path, total);
    }
    // Each cell has all retained messages.
    let retained = nodes.iter().filter_map(|(_, node)| node.get("retained_messages")?.as_u64()).max();
    set(&mut all, "/retained_messages", retained.into());
    set(&mut all, "/ready", nodes.iter().any(|(_, node)| node["ready"] == true).into());
    let texts = |(name, node): &(String, Value)| {
        let warnings = node.get("warnings").and_then(Value::as_array).cloned().unwrap_or_default();
        warnings
            .into_iter()
            .map(|text| format!("node {name}: {}", text.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    let gone = missing
        .iter()
        .map(|MissingNodeJson { node, reason }| format!("the figures of node {node} are missing: {reason}"));
    let warnings: Vec<String> = nodes.iter().flat_map(texts).chain(gone).collect();
    set(&mut all, "/warnings", json!(warnings));
    let named = nodes.into_iter().map(|(name, mut node)| {
        if let Value::Object(node) = &mut node {
            node.insert("node".to_owned(), name.into());
        }
        node
    });
    let named: Vec<Value> = named.collect();
    if let Value::Object(all) = &mut all {
        all.insert("nodes".to_owned(), named.into());
        if !missing.is_empty() {
            all.insert("missing_nodes".to_owned(), json!(missing));
        }
    }
    all
}

fn set(all: &mut Value, path: &str, value: Value) {
    if let Some(place) = all.pointer_mut(path) {
        *place = value;
    }
}

/// The sum of two numbers.
fn add(one: Value, other: Value) -> Value {
    match (one.as_u64(), other.as_u64()) {
        (Some(one), Some(other)) => one.saturating_add(other).into(),
        _ => (one.as_f64().unwrap_or_default() + other.as_f64().unwrap_or_default()).into(),
    }
}

/// The figures of a broker that are the sums of those of its nodes.
const SUMS: [&str; 11] = [
    "/connections",
    "/sessions",
    "/subscriptions",
    "/queued_messages",
    "/queued_bytes",
    "/rates/messages_received_per_second",
    "/rates/messages_sent_per_second",
    "/rates/bytes_received_per_second",
    "/rates/bytes_sent_per_second",
    "/memory/used_bytes",
    "/memory/max_bytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_all_nodes_are_those_of_one_broker_and_each_is_there_by_itself() {
        let node = |connections: u64, rate: Option<f64>, ready: bool, retained: u64, warnings: &[&str]| {
            json!({
                "version": "1", "connections": connections, "sessions": 2 * connections, "retained_messages": retained,
                "rates": { "messages_received_per_second": rate }, "memory": { "used_bytes": 5, "max_bytes": 10 },
                "ready": ready, "warnings": warnings,
            })
        };
        let (own, b) = (node(3, None, false, 7, &["w"]), node(4, Some(1.5), true, 8, &[]));
        let silent = Err(Away::Silent("c".into()));
        let all = sum(("d".to_owned(), own.clone()), vec![("b".into(), Ok(b.clone())), ("c".into(), silent)]);
        let figures = [
            "/connections",
            "/sessions",
            "/retained_messages",
            "/rates/messages_received_per_second",
            "/memory/max_bytes",
            "/ready",
        ];
        let figures = figures.map(|path| all.pointer(path).unwrap().clone());
        assert_eq!(json!(figures), json!([7, 14, 8, 1.5, 20, true]));
        let words = ["node d: w", "the figures of node c are missing: node c does not answer"];
        assert_eq!(all["warnings"], json!(words));
        assert_eq!(all["missing_nodes"], json!([{ "node": "c", "reason": "node c does not answer" }]));
        let of = |name: &str, mut node: Value| {
            node["node"] = name.into();
            node
        };
        assert_eq!(all["nodes"], json!([of("b", b), of("d", own.clone())]));
        let alone = sum(("d".to_owned(), own), Vec::new());
        assert!(alone.get("missing_nodes").is_none() && alone["rates"]["messages_received_per_second"].is_null());
    }
}
