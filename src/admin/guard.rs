//! Refuses requests that a website makes a browser send: they have an Origin header or, after DNS rebinding, the website's name in Host.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::api::Json;
use super::peer::Peer;
use crate::server::host::Authority;
use crate::server::{LogEvent, Status, Whom, allows, log_line};

/// The names of this listener, beside `localhost` and all addresses.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    allowed_hosts: Arc<[String]>,
    status: Arc<Status>,
}

impl Guard {
    pub(super) fn new(allowed_hosts: &[String], status: Arc<Status>) -> Self {
        Self { allowed_hosts: allowed_hosts.into(), status }
    }

    /// Why the request is refused: 421 for a Host that this listener doesn't have, 403 for a website.
    fn refusal(&self, headers: &HeaderMap) -> Option<(StatusCode, String)> {
        if headers.contains_key(ORIGIN) {
            return Some((StatusCode::FORBIDDEN, "requests of websites are not answered".to_owned()));
        }
        let is_allowed = |authority: Authority<'_>| {
            let is_name = |name: &String| name.eq_ignore_ascii_case(authority.host);
            is_of_this_machine(authority) || self.allowed_hosts.iter().any(is_name)
        };
        let wrong = hosts(headers).find(|host| !Authority::parse(host).is_some_and(is_allowed))?;
        let shown: String = wrong.chars().take(SHOWN_MAX).collect();
        Some((StatusCode::MISDIRECTED_REQUEST, format!("the Host {shown:?} is not in admin.allowed_hosts")))
    }

    /// Logs a refusal, at most a hundred per second.
    fn log(&self, peer: &Peer, reason: &str) {
        // A website reaches no Unix socket.
        let Some(address) = peer.address() else { return };
        let whom = Whom { client_id: None, address: Some(address) };
        if allows(LogEvent::AdminRefused, whom, self.status.now()) {
            log_line!(AdminRefused { address = %address, reason }, "admin request from {address} refused: {reason}");
        }
    }
}

/// The middleware.
pub(super) async fn check(
    State(guard): State<Guard>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match guard.refusal(request.headers()) {
        None => next.run(request).await,
        Some((code, reason)) => {
            guard.log(&peer, &reason);
            match request.uri().path().starts_with("/api/") {
                true => (code, Json(json!({ "error": reason }))).into_response(),
                false => (code, format!("{reason}\n")).into_response(),
            }
        }
    }
}

/// Whether all Host headers are an IP address or `localhost`, with or without a port, or there is none, as in HTTP/1.0.
pub(super) fn has_local_host(headers: &HeaderMap) -> bool {
    hosts(headers).all(|host| Authority::parse(host).is_some_and(is_of_this_machine))
}

/// An address can't be given to a website, so it stands for this machine whichever of its addresses it is.
fn is_of_this_machine(authority: Authority<'_>) -> bool {
    authority.is_loopback() || authority.address().is_some()
}

/// The Host headers. One that is not text is an empty one, which is refused.
fn hosts(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default())
}

/// Characters of a Host in a response and in the log.
const SHOWN_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Clock;
    use crate::timestamp::Timestamp;

    fn with_host(host: &str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, host.parse().unwrap())])
    }

    #[test]
    fn a_host_with_another_name_is_not_local() {
        for (host, is_local) in [
            ("127.0.0.1:9883", true),
            ("[::1]:9883", true),
            ("[::1]", true),
            ("localhost", true),
            ("localhost:9883", true),
            ("evil.example:9883", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(has_local_host(&with_host(host)), is_local, "{host}");
        }
        assert!(has_local_host(&HeaderMap::new()));
        let mut twice = with_host("localhost");
        twice.append(HOST, "evil.example".parse().unwrap());
        assert!(!has_local_host(&twice));
    }

    #[test]
    fn a_configured_name_is_answered_and_an_origin_never() {
        let status = Arc::new(Status::new(1, Clock::start(Timestamp(1))));
        let guard = Guard::new(&["broker".to_owned(), "mqtt.example.com".to_owned()], status);
        let code = |headers: &HeaderMap| guard.refusal(headers).map(|(code, _)| code.as_u16());
        for host in ["broker:9883", "BROKER", "mqtt.example.com", "192.0.2.1:9883", "localhost:1", "[2001:db8::1]:9883"]
        {
            assert_eq!(code(&with_host(host)), None, "{host}");
        }
        for host in ["other", "broker.evil.example", "example.com", "broker:x", "a@broker", ""] {
            assert_eq!(code(&with_host(host)), Some(421), "{host}");
        }
        assert_eq!(code(&HeaderMap::new()), None);
        let mut of_website = with_host("localhost");
        of_website.append(ORIGIN, "http://localhost".parse().unwrap());
        assert_eq!(code(&of_website), Some(403));
    }
}
