//! Who may use which route.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Parameters;
use super::spread::{CellsApi, Spread};
use crate::admin::audit::Audit;
use crate::admin::caller::{Caller, Role};
use crate::admin::guard::log_refusal;
use crate::admin::peer::Peer;
use crate::admin::tokens::Tokens;
use crate::cluster::{ClusterHandle, Owner};
use crate::server::Status;

/// Tells who makes a request.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Access {
    pub(in crate::admin) tokens: Arc<Tokens>,
    /// The roles of Common Names.
    pub(in crate::admin) certificate_roles: Arc<[(String, Role)]>,
    /// Whether plain HTTP from other machines is accepted.
    pub(in crate::admin) allow_plain: bool,
    pub(in crate::admin) audit: Arc<Audit>,
    pub(in crate::admin) status: Arc<Status>,
}

/// What a route asks of a request.
#[derive(Debug)]
pub(super) struct Rule {
    /// The least role.
    pub(super) role: Role,
    /// Method and path, as in the OpenAPI document.
    pub(super) name: String,
    /// The query parameters of the OpenAPI document.
    pub(super) parameters: Vec<String>,
    /// Whether it may change anything, so that a line of the audit log is due.
    pub(super) is_change: bool,
    /// Whether it changes what each node of a cluster has for itself.
    pub(super) is_of_node: bool,
}

/// The middleware of a route.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) rule: Arc<Rule>,
    pub(super) audit: Arc<Audit>,
    /// Of a server that may be a standby; `None`: the server of a cell, which is none.
    pub(super) status: Option<Arc<Status>>,
    pub(super) cluster: Option<ClusterHandle>,
    /// Whether clients are spread over cells.
    pub(super) is_front: bool,
    /// What answers then instead.
    pub(super) cells: Option<(Spread, Arc<CellsApi>)>,
}

impl Access {
    /// The caller, or why there is none.
    pub(in crate::admin) fn caller(&self, peer: &Peer, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Failure> {
        let parameters = Parameters::parse(uri.query().unwrap_or_default())?;
        if parameters.names().any(|name| TOKEN_PARAMETERS.contains(&name)) {
            return Err(Failure::bad_request(
                "a token belongs into the header Authorization, never into a URL, which logs and histories keep: revoke it",
            ));
        }
        let Peer::Remote { is_encrypted, certificate, .. } = peer else { return Ok(Caller::local()) };
        if !is_encrypted && !self.allow_plain && !peer.is_local() {
            return Err(Failure::forbidden(
                "plain HTTP from another machine is not accepted: set admin.certificate and admin.key, or admin.allow_plain = true \
                 if nobody can read along; a token that was sent should be revoked",
            ));
        }
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        match (authorizations.next(), authorizations.next(), certificate) {
            (Some(_), Some(_), _) => Err(Failure::bad_request("there is more than one Authorization")),
            (Some(authorization), None, _) => {
                let found = bearer(authorization).and_then(|secret| self.tokens.verify(secret));
                let (name, role) = found.ok_or_else(|| Failure::unauthorized("the token is not valid"))?;
                Ok(Caller::new(name, role, peer.address()))
            }
            (None, _, Some(name)) => {
                let found = self.certificate_roles.iter().find(|(known, _)| **known == **name);
                let (name, role) = found.ok_or_else(|| {
                    Failure::forbidden(format!("the certificate of {name:?} has no role in admin.certificate_roles"))
                })?;
                Ok(Caller::new(format!("CN={name}").into(), *role, peer.address()))
            }
            (None, _, None) => Err(Failure::unauthorized("a token is needed: Authorization: Bearer TOKEN")),
        }
    }
}

/// The token in a header.
fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, secret) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// The middleware around all routes: lets those in that are known.
pub(super) async fn identify(
    State(access): State<Access>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    match access.caller(&peer, request.uri(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            in_json(next.run(request).await)
        }
        Err(failure) => {
            log_refusal(&access.status, &peer, &failure.to_string());
            if ![Method::GET, Method::HEAD].contains(request.method()) {
                let path = request.uri().path();
                access.audit.record_stranger(peer.address(), &format!("{} {path}", request.method()), path, &failure);
            }
            failure.into_response()
        }
    }
}

/// Gives an error of the framework, such as one about the method or the path, the form that all errors have.
fn in_json(mut response: Response) -> Response {
    let code = response.status();
    let json = HeaderValue::from_static("application/json");
    if code.as_u16() >= 400 && response.headers().get(CONTENT_TYPE) != Some(&json) {
        let reason = code.canonical_reason().unwrap_or("error").to_lowercase();
        let (parts, body) = Json(ErrorJson::new(reason)).into_response().into_parts();
        response.headers_mut().extend(parts.headers);
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = body;
    }
    response
}

/// The middleware of each route: the role, the names of the parameters, and the line of the audit log that a handler has not written.
pub(super) async fn enforce(State(guarded): State<Guarded>, request: Request, next: Next) -> Response {
    let Guarded { rule, audit, status, cluster, is_front, cells } = guarded;
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Failure::unauthorized("a token is needed: Authorization: Bearer TOKEN").into_response();
    };
    let uri = request.uri().clone();
    let target = uri.path_and_query().map_or_else(|| uri.path(), |target| target.as_str());
    if let Err(failure) = rule.permit(&caller) {
        if rule.is_change {
            audit.record_refused(&caller, &rule.name, target, &failure);
        }
        return failure.into_response();
    }
    let is_standby = status.is_some_and(|status| status.is_standby()) && cells.is_none();
    if rule.is_change && !rule.is_of_node && is_standby {
        let failure = if is_front { Failure::conflict(NOT_FOR_CELLS) } else { elsewhere(cluster.as_ref()) };
        audit.record_refused(&caller, &rule.name, target, &failure);
        return failure.into_response();
    }
    let response = match (rule.check_parameters(&uri), cells) {
        (Err(failure), _) => failure.into_response(),
        (Ok(()), Some((spread, cells))) => cells.answer(spread, request).await,
        (Ok(()), None) => next.run(request).await,
    };
    if rule.is_change && !caller.is_recorded() {
        let code = response.status();
        let outcome = if code.is_success() { Ok(()) } else { Err(format!("refused: {code}")) };
        audit.record(&caller, &rule.name, target, &outcome);
    }
    response
}

/// Why a standby changes nothing that the owner has, and who that is.
fn elsewhere(cluster: Option<&ClusterHandle>) -> Failure {
    let owner = cluster.and_then(|cluster| cluster.status().owner).map(|Owner { node, advertise }| match advertise {
        Some(advertise) => format!(", {node} ({advertise})"),
        None => format!(", {node}"),
    });
    Failure::conflict(format!("this server is a standby: ask the owner{}", owner.unwrap_or_default()))
}

impl Rule {
    fn permit(&self, caller: &Caller) -> Result<(), Failure> {
        if caller.role >= self.role {
            return Ok(());
        }
        let (needed, name, role) = (self.role, &caller.name, caller.role);
        Err(Failure::forbidden(format!("this needs the role {needed}, and {name} has the role {role}")))
    }

    fn check_parameters(&self, uri: &Uri) -> Result<(), Failure> {
        let parameters = Parameters::parse(uri.query().unwrap_or_default())?;
        match parameters.names().find(|name| !self.parameters.iter().any(|known| known == name)) {
            None => Ok(()),
            Some(name) if self.parameters.is_empty() => {
                Err(Failure::bad_request(format!("unknown parameter {name:?}: this route has none")))
            }
            Some(name) => {
                let known = self.parameters.join(", ");
                Err(Failure::bad_request(format!("unknown parameter {name:?}, known are {known}")))
            }
        }
    }
}

const NOT_FOR_CELLS: &str = "this is not made for clients that are spread over cells yet";

/// The names under which clients of other services put a token into a URL.
const TOKEN_PARAMETERS: [&str; 2] = ["token", "access_token"];
