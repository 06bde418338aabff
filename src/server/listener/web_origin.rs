//! The Origin header of a WebSocket request: the website whose page opened it.
//!
//! A browser lets any website open a WebSocket to any server, and tells the server which one it is. Other clients send no Origin.

use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::tungstenite::http::header::{HOST, ORIGIN};

use crate::config::Listener;
use crate::server::host::Authority;

/// Where the page that opened a WebSocket is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// The client sent no Origin: it is no browser.
    None,
    /// This machine: the host of the Origin is `localhost` or a loopback address.
    Loopback,
    /// Anywhere else.
    Other,
}

/// An origin as browsers send it.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    scheme: &'a str,
    authority: Authority<'a>,
}

impl<'a> Origin<'a> {
    /// `None`: the text is something else, such as `null`.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Some(Self { scheme, authority: Authority::parse(authority)? })
    }

    fn port(&self) -> Option<u16> {
        self.authority.port.or_else(|| match self.scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        })
    }

    fn equals(&self, other: &Origin<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.authority.host.eq_ignore_ascii_case(other.authority.host)
            && self.port() == other.port()
    }
}

/// Where the page is from, if the listener accepts it; otherwise the Origin.
pub(super) fn check(listener: &Listener, headers: &HeaderMap) -> Result<Site, String> {
    let mut origins = headers.get_all(ORIGIN).iter().map(|origin| String::from_utf8_lossy(origin.as_bytes()));
    let (Some(text), further) = (origins.next(), origins.next()) else { return Ok(Site::None) };
    let origin = Origin::parse(&text);
    let is_allowed = match &listener.websocket_origins {
        Some(allowed) => allowed.iter().any(|entry| is_entry(entry, &text, origin)),
        None => origin.is_some_and(|origin| is_own_host(origin, headers)),
    };
    match origin {
        _ if !is_allowed || further.is_some() => Err(text.into_owned()),
        Some(origin) if origin.authority.is_loopback() => Ok(Site::Loopback),
        _ => Ok(Site::Other),
    }
}

/// Whether an entry of `websocket_origins` stands for the origin.
fn is_entry(entry: &str, text: &str, origin: Option<Origin<'_>>) -> bool {
    let of_host = |origin: Origin<'_>| {
        Authority::parse(entry).is_some_and(|entry| {
            entry.host.eq_ignore_ascii_case(origin.authority.host)
                && entry.port.is_none_or(|port| origin.port() == Some(port))
        })
    };
    entry == "*"
        || entry.eq_ignore_ascii_case(text)
        || origin
            .is_some_and(|origin| of_host(origin) || Origin::parse(entry).is_some_and(|entry| entry.equals(&origin)))
}

/// Whether the page is from the host that the request names, at any port.
fn is_own_host(origin: Origin<'_>, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().ok().and_then(Authority::parse);
    host.is_some_and(|host| origin.authority.is_same_host(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(listener: &Listener, host: &str, origins: &[&str]) -> Option<Site> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        for origin in origins {
            headers.append(ORIGIN, origin.parse().unwrap());
        }
        check(listener, &headers).ok()
    }

    fn listener(origins: Option<&[&str]>) -> Listener {
        let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
        listener.websocket_origins = origins.map(|origins| origins.iter().map(|&origin| origin.to_owned()).collect());
        listener
    }

    #[test]
    fn pages_of_the_own_host_are_accepted_by_default() {
        let listener = listener(None);
        for (host, origin, site) in [
            ("mqtt.example.com:8083", "https://mqtt.example.com", Site::Other),
            ("mqtt.example.com", "http://MQTT.example.com:3000", Site::Other),
            ("192.0.2.1:8083", "http://192.0.2.1", Site::Other),
            ("[2001:db8::1]:8083", "http://[2001:db8:0::1]:1", Site::Other),
            ("127.0.0.1:8083", "http://localhost:3000", Site::Loopback),
            ("localhost:8083", "http://127.0.0.1", Site::Loopback),
            ("[::1]:8083", "http://localhost", Site::Loopback),
        ] {
            assert_eq!(checked(&listener, host, &[origin]), Some(site), "{host} {origin}");
        }
        assert_eq!(checked(&listener, "x", &[]), Some(Site::None));
        for (host, origin) in [
            ("127.0.0.1:8083", "http://evil.example"),
            ("mqtt.example.com", "http://example.com"),
            ("mqtt.example.com", "http://evil.example?mqtt.example.com"),
            ("mqtt.example.com", "http://mqtt.example.com.evil.example"),
            ("mqtt.example.com", "http://mqtt.example.com@evil.example"),
            ("127.0.0.1", "http://localhost.evil.example"),
            ("127.0.0.1", "null"),
            ("127.0.0.1", "file://"),
            ("127.0.0.1", ""),
            ("127.0.0.1", "http://"),
            ("127.0.0.1", "127.0.0.1"),
            ("", "http://"),
            ("192.0.2.1", "http://192.0.2.2"),
        ] {
            assert_eq!(checked(&listener, host, &[origin]), None, "{host} {origin}");
        }
        assert_eq!(checked(&listener, "a", &["http://a", "http://a"]), None);
    }

    #[test]
    fn a_page_after_dns_rebinding_is_not_from_this_machine() {
        // The website's name stands for 127.0.0.1 now, so Host and Origin are equal.
        assert_eq!(checked(&listener(None), "evil.example:8083", &["http://evil.example:8083"]), Some(Site::Other));
    }

    #[test]
    fn configured_origins_replace_the_own_host() {
        let of = |entry: &str, origin: &str| checked(&listener(Some(&[entry])), "own.example", &[origin]).is_some();
        for (entry, origin) in [
            ("*", "https://anything.example:1"),
            ("*", "null"),
            ("null", "null"),
            ("file://", "file://"),
            ("https://app.example.com", "https://APP.example.com"),
            ("https://app.example.com", "https://app.example.com:443"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("app.example.com", "https://app.example.com:8443"),
            ("app.example.com:8443", "https://app.example.com:8443"),
            ("chrome-extension://abc", "chrome-extension://abc"),
        ] {
            assert!(of(entry, origin), "{entry} {origin}");
        }
        for (entry, origin) in [
            ("https://app.example.com", "http://app.example.com"),
            ("https://app.example.com", "https://app.example.com:8443"),
            ("https://app.example.com", "https://own.example"),
            ("example.com", "https://app.example.com"),
            ("app.example.com:8443", "https://app.example.com"),
            ("app.example.com", "null"),
            ("null", "https://null.example"),
        ] {
            assert!(!of(entry, origin), "{entry} {origin}");
        }
        assert_eq!(checked(&listener(Some(&[])), "own.example", &["http://own.example"]), None);
        assert_eq!(checked(&listener(Some(&[])), "own.example", &[]), Some(Site::None));
    }
}
