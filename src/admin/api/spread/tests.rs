use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};

use super::*;
use crate::admin::BrokerHandles;
use crate::admin::api::json::Json;
use crate::admin::api::parameters::Parameters;
use crate::admin::api::tests::Api;
use crate::admin::caller::Role;
use crate::admin::tests::handles;
use crate::config::{Bridge, Config};
use crate::server::{AdmissionCounts, CellServer, Clock, Reloader, Status};
use crate::timestamp::Timestamp;

/// The server of `cell` in a cluster of `cells` cells. [`routes`] lists `clients` clients for it.
fn server(cell: u8, cells: u16, clients: u64) -> CellServer {
    let status = Status::new(1, Clock::start(Timestamp(0)));
    status.publish_listeners(AdmissionCounts { accepted: clients, ..AdmissionCounts::default() });
    CellServer::unanswered(CellId(cell), cells, Arc::new(status))
}

/// Routes of cells whose clients are numbers. One with 13 clients is ill.
fn routes() -> Router<ApiState> {
    async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<Value>, Failure> {
        let (limit, from) = (parameters.limit()?, parameters.cursor::<usize>()?);
        let count = usize::try_from(state.status.listeners().accepted).unwrap();
        if count == 13 {
            return Err(Failure::unavailable("shard 0 does not answer"));
        }
        if parameters.text("client_id") == Some("[") {
            return Err(Failure::bad_request("client_id is wrong"));
        }
        // Pages may be shorter than asked for.
        let until = count.min(from + limit.min(2));
        let clients: Vec<_> = (from..until).map(|number| json!([count, number])).collect();
        let cursor = (until < count).then(|| until.to_string());
        Ok(Json(json!({ "clients": clients, "cursor": cursor, "some": count == 5, "user": parameters.text("user") })))
    }
    async fn one(State(state): State<ApiState>, Path(client_id): Path<String>) -> (StatusCode, String) {
        (StatusCode::IM_A_TEAPOT, format!("{client_id} of {}", state.status.listeners().accepted))
    }
    async fn bridges(State(state): State<ApiState>) -> Json<Value> {
        Json(json!({ "bridges": [{ "name": format!("b{}", state.status.listeners().accepted) }] }))
    }
    let own = Router::new().route("/bridges", get(bridges)).route("/bridges/{name}", get(one));
    own.route("/clients", get(list)).route("/clients/{client_id}/queue", get(one))
}

fn api(cells: &Arc<Cells>) -> Arc<CellsApi> {
    api_with(cells, Config::default())
}

/// The API of a front with this configuration.
fn api_with(cells: &Arc<Cells>, config: Config) -> Arc<CellsApi> {
    let handles = BrokerHandles { reloader: Reloader::stopped(config), ..handles() };
    let parts = Parts { of_cell: routes(), of_node: Router::new() };
    Arc::new(CellsApi::new(Arc::clone(cells), None, (parts, ApiState::new(&handles))))
}

async fn answer(api: &Arc<CellsApi>, spread: Spread, uri: &str) -> (u16, String) {
    let request = Request::builder().uri(uri).extension(caller(Role::Admin)).body(Body::empty()).unwrap();
    let response = api.answer(spread, request).await;
    let code = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (code, String::from_utf8(body.into()).unwrap())
}

async fn page(api: &Arc<CellsApi>, query: &str) -> (u16, Value) {
    let (code, body) = answer(api, Spread::Pages("clients"), &format!("/clients?{query}")).await;
    (code, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn a_list_has_the_entries_of_all_cells_once_and_says_which_are_missing() {
    let cells = Cells::new(6);
    for (cell, clients) in [(0, 0), (1, 5), (3, 1), (5, 7)] {
        cells.add_server(server(cell, 6, clients));
    }
    cells.add_server(server(4, 6, 13));
    cells.served_by(CellId(2), Some("b"));
    let api = api(&cells);
    for limit in 1..=20 {
        let (mut all, mut missing, mut cursor) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..30 {
            let (code, answer) = page(&api, &format!("user=%C3%A4%26&limit={limit}{cursor}")).await;
            assert_eq!(code, 200, "{answer}");
            let clients = answer["clients"].as_array().unwrap();
            assert!(clients.len() <= limit, "{answer}");
            all.extend(clients.clone());
            missing.extend(answer["missing_cells"].as_array().cloned().unwrap_or_default());
            assert_eq!(answer["user"], "ä&");
            let Some(next) = answer["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let expected: Vec<_> =
            [5, 1, 7].into_iter().flat_map(|of| (0..of).map(move |number| json!([of, number]))).collect();
        assert_eq!(all, expected, "{limit}");
        let of = |cell: u8, node: Option<&str>, reason: &str| json!({ "cell": cell, "node": node, "reason": reason });
        assert_eq!(
            missing,
            [of(2, Some("b"), "node b does not answer"), of(4, None, "shard 0 does not answer")],
            "{limit}"
        );
    }
    assert_eq!(page(&api, "limit=20").await.1["some"], true, "what is so in one cell is so");
    assert_eq!(page(&api, "client_id=%5B").await, (400, json!({ "error": "client_id is wrong" })));
    assert_eq!(page(&api, "cursor=1-1").await, (400, json!({ "error": "the cursor is invalid" })));
}

#[tokio::test]
async fn a_list_of_which_nothing_is_there_is_an_error() {
    let cells = Cells::new(2);
    cells.served_by(CellId(1), Some("b"));
    let words = "no cell answers: cell 0: it has no owner that this node knows of; cell 1: node b does not answer";
    assert_eq!(page(&api(&cells), "").await, (503, json!({ "error": words })));
}

#[tokio::test]
async fn what_is_about_a_client_goes_to_its_cell() {
    let cells = Cells::new(2);
    cells.add_server(server(0, 2, 7));
    let name = |cell: u8| {
        let mut names = (0..).map(|number| format!("a/ä {number}"));
        names.find(|name| CellId::of_client(name, 2) == CellId(cell)).unwrap()
    };
    let api = api(&cells);
    let ask = async |name: &str| {
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        answer(&api, Spread::OfClient, &format!("/clients/{name}/queue")).await
    };
    assert_eq!(ask(&name(0)).await, (418, format!("{} of 7", name(0))));
    let (code, body) = ask(&name(1)).await;
    assert_eq!(
        (code, body.trim()),
        (503, r#"{"error":"cell 1 does not answer: it has no owner that this node knows of"}"#)
    );
    assert_eq!(answer(&api, Spread::OfClient, "/clients/%FF/queue").await.0, 400);
}

#[tokio::test]
async fn bridges_are_those_of_the_cells_that_have_some_in_the_order_of_the_configuration() {
    let cells = Cells::new(4);
    let number = |cell: u8| {
        let is_in = |number: &u64| OwnClientKind::Bridge.cell(&format!("b{number}"), 4) == CellId(cell);
        (0..).find(is_in).unwrap()
    };
    let numbers = [2, 0, 3].map(number);
    let mut config = Config::default();
    config.bridges.extend(numbers.map(|number| Bridge { name: format!("b{number}"), ..Bridge::default() }));
    cells.add_server(server(0, 4, numbers[1]));
    // It has none.
    cells.add_server(server(1, 4, 1_000));
    cells.add_server(server(2, 4, numbers[0]));
    cells.served_by(CellId(3), Some("b"));
    let api = api_with(&cells, config);
    let names = [numbers[0], numbers[1]].map(|number| json!({ "name": format!("b{number}") }));
    let missing = json!([{ "cell": 3, "node": "b", "reason": "node b does not answer" }]);
    let (code, body) = answer(&api, Spread::AllOwn(OwnClientKind::Bridge), "/bridges").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, body), (200, json!({ "bridges": names, "missing_cells": missing })));
    let one = |place: usize| format!("/bridges/b{}", numbers[place]);
    let of_one = answer(&api, Spread::OfOwn(OwnClientKind::Bridge), &one(0)).await;
    assert_eq!(of_one, (418, format!("b{} of {}", numbers[0], numbers[0])));
    assert_eq!(answer(&api, Spread::OfOwn(OwnClientKind::Bridge), &one(2)).await.0, 503);
    let (code, body) = answer(&api, Spread::AllOwn(OwnClientKind::Sink), "/sinks").await;
    assert_eq!((code, body.trim()), (200, r#"{"sinks":[]}"#));
}

#[test]
fn a_front_passes_changes_on_with_the_rights_of_the_caller() {
    let cells = Cells::new(2);
    cells.add_server(server(0, 2, 0));
    let api = Api::with(
        |_| (),
        |parts: &mut BrokerHandles| {
            parts.status.set_ready(true);
            parts.front_of = Some(cells);
        },
    );
    let name = (0..).map(|number| format!("c{number}")).find(|name| CellId::of_client(name, 2) == CellId(0)).unwrap();
    let forgotten = api.local(&format!("DELETE /api/v1/clients/{name}"), "");
    assert_eq!((forgotten.code, &forgotten.json()["error"]), (404, &"no session has this client identifier".into()));
    let lines = api.audited();
    assert_eq!(
        (lines.len(), &lines[0]["what"], &lines[0]["target"]),
        (1, &"forget the session".into(), &(*name).into())
    );
    let published = api.local("POST /api/v1/publish", r#"{"topic":"a"}"#);
    assert_eq!(published.json()["error"], "no cell has an owner that this node knows of");
    let secret = api.local("POST /api/v1/tokens", r#"{"name":"v","role":"viewer"}"#).json()["token"].clone();
    let viewer = format!("Authorization: Bearer {}\r\n", secret.as_str().unwrap());
    let denied = api.remote(&format!("DELETE /api/v1/clients/{name}"), &viewer, "");
    assert_eq!(denied.code, 403, "{}", denied.body);
    assert_eq!(api.local("POST /api/v1/clients/x", "").code, 405);
    // Nothing else is at a cell.
    let refused = api.local("DELETE /api/v1/streams/a", "");
    let words = "this is not made for clients that are spread over cells yet";
    assert_eq!((refused.code, &refused.json()["error"]), (409, &words.into()));
}

fn caller(role: Role) -> Caller {
    Caller::new("ci/ä".into(), role, Some([192, 0, 2, 1].into()))
}

/// Asks a cell, as another node does.
async fn ask_as_node(api: &Arc<CellsApi>, cell: u8, request: Request, role: Role) -> (u16, Value) {
    ask_target(api, Target::Cell(CellId(cell)), request, role).await
}

async fn ask_target(api: &Arc<CellsApi>, target: Target, mut request: Request, role: Role) -> (u16, Value) {
    request.extensions_mut().insert(caller(role));
    let (stream, end) = tokio::io::duplex(1 << 10);
    let serving = tokio::spawn(Arc::clone(api).serve(end, Lifetime::default()));
    let response = remote::exchange(stream, remote::carried(target, request).unwrap()).await.unwrap();
    serving.await.unwrap();
    let code = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (code, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

#[tokio::test]
async fn another_node_answers_for_its_cell_what_the_role_of_the_caller_permits_and_nothing_else() {
    let cells = Cells::new(3);
    cells.add_server(server(1, 3, 0));
    let state = ApiState::new(&BrokerHandles { front_of: Some(cells), ..handles() });
    let api = crate::admin::api::cells_api(&state, None).unwrap();
    let request = |method: &str, uri: &str, body: &str| {
        Request::builder().method(method).uri(uri).body(Body::from(body.to_owned())).unwrap()
    };
    let one = |method| request(method, "/clients/c", "");
    let error = |text: &str| json!({ "error": text });
    let missing = (404, error("no session has this client identifier"));
    assert_eq!(ask_as_node(&api, 1, one("GET"), Role::Viewer).await, missing);
    assert_eq!(ask_as_node(&api, 1, one("DELETE"), Role::Admin).await, missing);
    let denied = "this needs the role admin, and ci/ä has the role operator";
    assert_eq!(ask_as_node(&api, 1, one("DELETE"), Role::Operator).await, (403, error(denied)));
    let long = format!(r#"{{"topic":"a","payload":"{}"}}"#, "x".repeat(3 << 20));
    let published = ask_as_node(&api, 1, request("POST", "/publish", &long), Role::Operator).await;
    assert_eq!(published.0, 503, "its shards do not answer: {published:?}");
    let elsewhere = "cell 2 is not at this node any more";
    assert_eq!(ask_as_node(&api, 2, one("GET"), Role::Viewer).await, (503, error(elsewhere)));
    for path in ["/tokens", "/users", "/cluster", "/bans", "/trace", "/overview"] {
        assert_eq!(ask_as_node(&api, 1, request("GET", path, ""), Role::Admin).await.0, 404, "{path}");
    }
    // What a node answers for itself.
    let overview = ask_target(&api, Target::Node, request("GET", "/overview", ""), Role::Viewer).await;
    assert_eq!((overview.0, &overview.1["sessions"]), (200, &0.into()));
    let denied = "this needs the role operator, and ci/ä has the role viewer";
    let trace = ask_target(&api, Target::Node, request("GET", "/trace?client_id=a", ""), Role::Viewer).await;
    assert_eq!(trace, (403, error(denied)));
    for path in ["/tokens", "/users", "/cluster", "/clients"] {
        assert_eq!(ask_target(&api, Target::Node, request("GET", path, ""), Role::Admin).await.0, 404, "{path}");
    }
    let stranger = api.answer_node(one("GET")).await.unwrap_err();
    assert_eq!(stranger, Failure::bad_request("this is no request of a node"));
}

#[test]
fn a_caller_arrives_as_it_was() {
    for address in [None, Some([192, 0, 2, 1].into())] {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Caller::new("a b\n".into(), Role::Operator, address));
        let target = if address.is_some() { Target::Node } else { Target::Cell(CellId(255)) };
        let request = remote::carried(target, request).unwrap();
        let (arrived, caller) = remote::arrived(request.headers()).unwrap();
        assert_eq!((arrived, &*caller.name, caller.role, caller.address), (target, "a b\n", Role::Operator, address));
        for name in ["oncemq-cell", "oncemq-caller", "oncemq-role"] {
            let mut headers = request.headers().clone();
            headers.remove(name);
            assert!(remote::arrived(&headers).is_none(), "{name}");
        }
    }
    assert!(remote::carried(Target::Node, Request::new(Body::empty())).is_err(), "there is no caller");
}

#[test]
fn a_ban_holds_at_once_and_the_nodes_that_do_not_know_it_are_named() {
    let cells = Cells::new(2);
    let api = Api::with(
        |_| (),
        |parts: &mut BrokerHandles| {
            parts.status.set_ready(true);
            parts.front_of = Some(Arc::clone(&cells));
        },
    );
    let ban = |user: &str| api.local("POST /api/v1/bans", &format!(r#"{{"user":"{user}","seconds":60}}"#));
    let banned = || api.local("GET /api/v1/bans", "").json()["bans"].as_array().unwrap().len();
    assert_eq!((ban("a").code, banned()), (204, 1));
    cells.set_nodes(&["b"]);
    let (answer, words) = (ban("c"), "node b: node b does not answer");
    assert_eq!((answer.code, banned()), (503, 2));
    assert!(answer.json()["error"].as_str().unwrap().ends_with(words), "{}", answer.body);
    let lifted = api.local("DELETE /api/v1/bans/user/c", "");
    assert_eq!((lifted.code, banned()), (503, 1));
    assert_eq!(api.local("DELETE /api/v1/bans/user/c", "").code, 404, "nothing more is to be done");
    assert_eq!(api.local("POST /api/v1/bans", "{}").code, 400);
}

#[tokio::test]
async fn a_node_takes_over_the_bans_that_another_one_tells() {
    let handles = BrokerHandles { front_of: Some(Cells::new(3)), ..handles() };
    let api = crate::admin::api::cells_api(&ApiState::new(&handles), None).unwrap();
    let tell = async |body: Value| {
        let request = Request::builder().method("POST").uri("/bans/changes").body(Body::from(body.to_string()));
        ask_target(&api, Target::Node, request.unwrap(), Role::Admin).await.0
    };
    let change = |address: &str, is_lifted: bool, version: u64| json!({ "address": address, "left_ms": 60_000, "reason": "r", "is_lifted": is_lifted, "version": version });
    let banned = || handles.bans.list(handles.status.now()).into_iter().map(|(subject, _)| subject.to_string());
    let of = |changes: Value| json!({ "node": "b", "run": 7, "changes": changes });
    assert_eq!(tell(of(json!([change("192.0.2.1", false, 1), change("192.0.2.2", false, 2)]))).await, 204);
    assert_eq!(banned().collect::<Vec<_>>(), ["address 192.0.2.1", "address 192.0.2.2"]);
    assert_eq!(tell(of(json!([change("192.0.2.2", true, 3)]))).await, 204);
    assert_eq!(banned().collect::<Vec<_>>(), ["address 192.0.2.1"]);
    assert_eq!((tell(of(json!([change("x", false, 4)]))).await, tell(json!({})).await), (400, 400));
}
