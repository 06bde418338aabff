//! Refuses requests that a website makes a browser send: they have an Origin header or, after DNS rebinding, the website's name in Host.
//!
//! The page at `/` is a website, too: the requests of its modules, and those that change something, have an Origin, which is the listener itself.
//! They are answered for its own files, and below `/api/`, where a token or a certificate is needed.

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
    fn refusal(&self, peer: &Peer, path: &str, headers: &HeaderMap) -> Option<(StatusCode, String)> {
        if headers.contains_key(ORIGIN) && !(is_of_page(path) && is_own_page(peer, headers)) {
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
}

/// Logs a refusal, at most a hundred per second. Requests over the Unix socket have no address, and come from no website.
pub(super) fn log_refusal(status: &Status, peer: &Peer, reason: &str) {
    let Some(address) = peer.address() else { return };
    let whom = Whom { client_id: None, address: Some(address) };
    if allows(LogEvent::AdminRefused, whom, status.now()) {
        log_line!(AdminRefused { address = %address, reason }, "admin request from {address} refused: {reason}");
    }
}

/// The middleware.
pub(super) async fn check(
    State(guard): State<Guard>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match guard.refusal(&peer, request.uri().path(), request.headers()) {
        None => next.run(request).await,
        Some((code, reason)) => {
            log_refusal(&guard.status, &peer, &reason);
            match request.uri().path().starts_with(API) {
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

/// Whether the page at `/` asks for it with an Origin.
fn is_of_page(path: &str) -> bool {
    path.starts_with(API) || path.starts_with(FILES)
}

/// Whether the Origin is this listener: the host and the port that Host names, over TLS if the connection is. A proxy in front of a plain
/// connection may speak TLS.
fn is_own_page(peer: &Peer, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let Some((scheme, origin)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else { return false };
    let port = match scheme {
        "http" if !peer.is_encrypted() => 80,
        "https" => 443,
        _ => return false,
    };
    let is_same = |host: Authority<'_>| {
        Authority::parse(origin).is_some_and(|origin| {
            origin.host.eq_ignore_ascii_case(host.host) && origin.port.unwrap_or(port) == host.port.unwrap_or(port)
        })
    };
    let mut hosts = hosts(headers);
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    Authority::parse(host).is_some_and(is_same)
}

/// An address can't be given to a website, so it stands for this machine whichever of its addresses it is.
fn is_of_this_machine(authority: Authority<'_>) -> bool {
    authority.is_loopback() || authority.address().is_some()
}

/// The Host headers. One that is not text is an empty one, which is refused.
fn hosts(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default())
}

/// What needs a token or a certificate.
const API: &str = "/api/";
/// The files of the page.
const FILES: &str = "/page/";
/// Characters of a Host in a response and in the log.
const SHOWN_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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

    const PLAIN: Peer = Peer::plain(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1));

    #[test]
    fn the_own_page_may_ask_the_api_and_no_other_page_may() {
        let status = Arc::new(Status::new(1, Clock::start(Timestamp(1))));
        let guard = Guard::new(&["broker".to_owned()], status);
        let encrypted = Peer::Remote { address: "192.0.2.1:1".parse().unwrap(), is_encrypted: true, certificate: None };
        let code = |peer: &Peer, path: &str, host: &str, origins: &[&str]| {
            let mut headers = with_host(host);
            for origin in origins {
                headers.append(ORIGIN, origin.parse().unwrap());
            }
            guard.refusal(peer, path, &headers).map(|(code, _)| code.as_u16())
        };
        let api = "/api/v1/reload";
        for (peer, host, origin) in [
            (&PLAIN, "localhost:9883", "http://localhost:9883"),
            (&PLAIN, "[::1]:9883", "http://[::1]:9883"),
            (&PLAIN, "Broker", "http://broker"),
            (&PLAIN, "broker:80", "http://broker"),
            (&PLAIN, "broker", "https://broker"), // a proxy speaks TLS
            (&encrypted, "broker:9883", "https://broker:9883"),
        ] {
            assert_eq!(code(peer, api, host, &[origin]), None, "{host} {origin}");
            assert_eq!(code(peer, "/page/main.js", host, &[origin]), None, "{host} {origin}");
            assert_eq!(code(peer, "/backup", host, &[origin]), Some(403), "{host} {origin}");
            assert_eq!(code(peer, api, host, &[origin, origin]), Some(403), "{host} {origin}");
        }
        for (peer, host, origin) in [
            (&PLAIN, "localhost:9883", "http://127.0.0.1:9883"),
            (&PLAIN, "localhost:9883", "http://localhost:3000"),
            (&PLAIN, "localhost:9883", "http://localhost"),
            (&PLAIN, "localhost:9883", "http://evil.example:9883"),
            (&PLAIN, "localhost:9883", "null"),
            (&PLAIN, "localhost:9883", "file://localhost:9883"),
            (&encrypted, "broker:9883", "http://broker:9883"),
        ] {
            assert_eq!(code(peer, api, host, &[origin]), Some(403), "{host} {origin}");
        }
        // After DNS rebinding.
        assert_eq!(code(&PLAIN, api, "evil.example:9883", &["http://evil.example:9883"]), Some(421));
    }

    #[test]
    fn a_configured_name_is_answered_and_an_origin_never() {
        let status = Arc::new(Status::new(1, Clock::start(Timestamp(1))));
        let guard = Guard::new(&["broker".to_owned(), "mqtt.example.com".to_owned()], status);
        let code = |headers: &HeaderMap| guard.refusal(&PLAIN, "/metrics", headers).map(|(code, _)| code.as_u16());
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
