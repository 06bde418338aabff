//! What HTTP proxies say in the headers of a request: that they forwarded it, and for whom.
//!
//! Every client can send these headers, so they are believed from configured proxies alone. That a request has one of them is believed
//! from everybody: it can only take rights away.

use std::net::{IpAddr, SocketAddr};

use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::tungstenite::http::header::HeaderName;

use crate::config::Network;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// Nothing says that it was forwarded.
    Direct,
    /// It was forwarded. The address is that of the client, if a trusted proxy knows it; its port is 0 if that is not known.
    Proxy(Option<SocketAddr>),
}

/// The trusted proxies contradict each other: one of the headers is the client's own, and the proxy passed it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("X-Forwarded-For and Forwarded name different clients: the proxy must remove the one that it doesn't set")]
pub(super) struct Contradiction;

/// How a request from `peer` came. `peer` is `None` for a Unix socket.
pub(super) fn via(proxies: &[Network], peer: Option<IpAddr>, headers: &HeaderMap) -> Result<Via, Contradiction> {
    let is_trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    if !peer.is_some_and(is_trusted) {
        return Ok(if headers.keys().any(is_forwarding) { Via::Proxy(None) } else { Via::Direct });
    }
    let by_list = nearest(entries(headers, X_FORWARDED_FOR).map(address), is_trusted);
    let by_standard = nearest(entries(headers, FORWARDED).map(forwarded_for), is_trusted);
    match (by_list, by_standard) {
        (Some(one), Some(other)) if one.map(|one| one.ip()) != other.map(|other| other.ip()) => Err(Contradiction),
        (Some(client), _) | (None, Some(client)) => Ok(Via::Proxy(client)),
        (None, None) => Ok(Via::Proxy(None)),
    }
}

/// The first address from the right that is no trusted proxy, or the left-most if all are. `Some(None)`: what stands there is no address.
/// `None`: there is no entry.
fn nearest(
    entries: impl Iterator<Item = Option<SocketAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<Option<SocketAddr>> {
    let mut last = None;
    for (hops, entry) in entries.enumerate() {
        let Some(address) = entry.filter(|_| hops < HOPS_MAX) else { return Some(None) };
        last = Some(Some(address));
        if !is_trusted(address.ip()) {
            break;
        }
    }
    last
}

/// The entries of all lines of a header, from the right to the left. Empty ones are left out.
///
/// They are split at every comma, also in quotes: an open quote of the client must not hide what a proxy has added after it.
fn entries<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().rev().map(|value| value.to_str().unwrap_or(NO_TEXT));
    lines.flat_map(|line| line.rsplit(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

/// The address in the `for` of an element of Forwarded: `for=192.0.2.1;proto=https`, `for="[2001:db8::1]:4711"`.
fn forwarded_for(element: &str) -> Option<SocketAddr> {
    // What has a backslash or half a pair of quotes is a part of something that a client has made the proxy quote.
    if element.contains('\\') || !element.matches('"').count().is_multiple_of(2) {
        return None;
    }
    let mut nodes = element
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    let (Some((_, node)), None) = (nodes.next(), nodes.next()) else { return None };
    let unquoted = node.strip_prefix('"').map(|rest| rest.strip_suffix('"')).unwrap_or(Some(node));
    address(unquoted?)
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`, `[2001:db8::1]`.
fn address(text: &str) -> Option<SocketAddr> {
    let without_port = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match (without_port.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(address), _) => SocketAddr::new(address, 0),
        (Err(_), Ok(address)) => address,
        (Err(_), Err(_)) => return None,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Whether a header says that the request was forwarded.
fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded") || name.starts_with("x-original-") || FORWARDING.contains(&name)
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";
/// The headers of proxies and their services, beside X-Forwarded-*.
const FORWARDING: [&str; 13] = [
    FORWARDED,
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-envoy-external-address",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ray",
    "cdn-loop",
    "fastly-client-ip",
];
/// Stands for a value that is not text: it is no address.
const NO_TEXT: &str = "?";
/// Maximum number of proxies between the client and the broker.
const HOPS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::http::HeaderValue;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn of(peer: &str, lines: &[(&'static str, &str)]) -> Result<Via, Contradiction> {
        let proxies = ["10.0.0.0/8", "::1"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        via(&proxies, Some(peer.parse().unwrap()), &headers)
    }

    fn client(address: &str) -> Result<Via, Contradiction> {
        Ok(Via::Proxy(Some(address.parse().unwrap())))
    }

    const UNKNOWN: Result<Via, Contradiction> = Ok(Via::Proxy(None));

    #[test]
    fn the_right_most_address_that_is_no_trusted_proxy_is_the_client() {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("127.0.0.1, 192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.9, 192.0.2.1, 10.0.0.2, 10.9.9.9", "192.0.2.1:0"),
            ("192.0.2.1:4711", "192.0.2.1:4711"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
            ("::ffff:192.0.2.1", "192.0.2.1:0"),
            ("nonsense, 192.0.2.1", "192.0.2.1:0"),
            (",, 192.0.2.1 ,,", "192.0.2.1:0"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
            ("127.0.0.1", "127.0.0.1:0"),
        ] {
            assert_eq!(of(PEER, &[(X_FORWARDED_FOR, value)]), client(expected), "{value}");
        }
        // Several lines are one list.
        assert_eq!(
            of(PEER, &[(X_FORWARDED_FOR, "127.0.0.1"), (X_FORWARDED_FOR, "192.0.2.1, 10.0.0.2")]),
            client("192.0.2.1:0")
        );
        assert_eq!(of("::1", &[(X_FORWARDED_FOR, "192.0.2.1")]), client("192.0.2.1:0"));
        assert_eq!(of("::ffff:10.0.0.1", &[(X_FORWARDED_FOR, "192.0.2.1")]), client("192.0.2.1:0"));
    }

    #[test]
    fn the_standard_header_is_read_too() {
        for (value, expected) in [
            ("for=192.0.2.1", client("192.0.2.1:0")),
            ("For=\"192.0.2.1:4711\";proto=https;by=10.0.0.1", client("192.0.2.1:4711")),
            ("proto=https; for=\"[2001:db8::1]:4711\"", client("[2001:db8::1]:4711")),
            ("for=127.0.0.1, for=192.0.2.1;host=\"a\", for=10.0.0.2", client("192.0.2.1:0")),
            ("for=unknown", UNKNOWN),
            ("for=_hidden, for=10.0.0.2", UNKNOWN),
            ("for=192.0.2.1, proto=https", UNKNOWN),
            ("for=192.0.2.1;for=192.0.2.2", UNKNOWN),
            ("for=\"192.0.2.1", UNKNOWN),
            // What a client has made the proxy quote.
            ("for=192.0.2.1;host=\"x, for=198.51.100.1;q=\"", UNKNOWN),
            ("for=192.0.2.1;host=\"x, for=198.51.100.1;q=\\\"\"", UNKNOWN),
            ("for=192.0.2.1;host=\"x, for=198.51.100.1, y\"", UNKNOWN),
            ("for=198.51.100.1;x=\", for=192.0.2.1", client("192.0.2.1:0")),
            ("nonsense", UNKNOWN),
        ] {
            assert_eq!(of(PEER, &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn an_entry_that_is_no_address_hides_what_stands_before_it() {
        let long = format!("192.0.2.1{}", ", 10.0.0.2".repeat(HOPS_MAX));
        for value in
            ["unknown", "192.0.2.1, unknown", "192.0.2.1, unknown, 10.0.0.2", "192.0.2.1, a.example", "\u{e4}", &long]
        {
            assert_eq!(of(PEER, &[(X_FORWARDED_FOR, value)]), UNKNOWN, "{value}");
        }
        for value in ["", " , "] {
            assert_eq!(of(PEER, &[(X_FORWARDED_FOR, value)]), UNKNOWN, "{value:?}");
        }
        assert_eq!(of(PEER, &[]), UNKNOWN);
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused() {
        let both = |list, standard| of(PEER, &[(X_FORWARDED_FOR, list), ("forwarded", standard)]);
        assert_eq!(both("192.0.2.1", "for=\"192.0.2.1:4711\""), client("192.0.2.1:0"));
        assert_eq!(both("192.0.2.1", "for=127.0.0.1"), Err(Contradiction));
        assert_eq!(both("192.0.2.1", "for=unknown"), Err(Contradiction));
    }

    #[test]
    fn from_others_the_headers_only_say_that_there_is_a_proxy() {
        assert_eq!(of("192.0.2.7", &[]), Ok(Via::Direct));
        assert_eq!(of("127.0.0.1", &[("host", "a"), ("x-other", "b")]), Ok(Via::Direct));
        for name in [
            "x-forwarded-for",
            "forwarded",
            "via",
            "x-real-ip",
            "x-forwarded-proto",
            "x-forwarded-host",
            "cf-connecting-ip",
        ] {
            for peer in ["127.0.0.1", "192.0.2.7"] {
                assert_eq!(of(peer, &[(name, "127.0.0.1")]), UNKNOWN, "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_client_writes_before_the_trusted_address_has_no_effect(forged in "[ -~]{0,80}") {
            prop_assert_eq!(of(PEER, &[(X_FORWARDED_FOR, &format!("{forged}, 192.0.2.1"))]), client("192.0.2.1:0"));
            prop_assert_eq!(of(PEER, &[(FORWARDED, &format!("{forged}, for=192.0.2.1"))]), client("192.0.2.1:0"));
        }
    }
}
