//! The rules of a listener about browsers and HTTP proxies.

use super::{Listener, ProxyProtocol, Transport};

impl Listener {
    /// Whether its connections begin with an HTTP request.
    pub fn is_web(&self) -> bool {
        matches!(self.transport, Transport::Ws | Transport::Wss)
    }

    /// Checks the settings about browsers and proxies.
    pub(super) fn browser_problems(&self, problem: &mut impl FnMut(&str, &str)) {
        if let Some(origins) = &self.websocket_origins {
            if !self.is_web() {
                problem("websocket_origins", "has no effect: the transport must be \"ws\" or \"wss\"");
            }
            if origins.len() > ORIGINS_MAX {
                problem("websocket_origins", "must be at most 64 origins");
            }
            if !origins.iter().all(|origin| is_origin(origin)) {
                let text = "must be origins such as \"https://app.example.com\" (without a path), host names, \"null\" or \"*\"";
                problem("websocket_origins", text);
            }
        }
        if self.trusted_proxies.len() > PROXIES_MAX {
            problem("trusted_proxies", "must be at most 64 addresses or networks");
        }
        let has_effect = self.is_web() || self.proxy_protocol != ProxyProtocol::Off;
        if !self.trusted_proxies.is_empty() && (!has_effect || self.transport == Transport::Unix) {
            problem(
                "trusted_proxies",
                "has no effect: it needs proxy_protocol, or the transport \"ws\" or \"wss\", and an IP address",
            );
        }
    }
}

/// Whether the text can be an entry of `websocket_origins`.
fn is_origin(text: &str) -> bool {
    let is_graphic =
        !text.is_empty() && text.len() <= ORIGIN_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let host = match text.split_once("://") {
        // A page from a file has the origin file://.
        Some((scheme, host)) if !scheme.is_empty() => host,
        Some(_) => return false,
        None => return is_graphic && !text.contains(['/', ',']) && (text == "*" || !text.contains('*')),
    };
    is_graphic && !host.contains(['/', '*', ',', '@'])
}

/// Each is compared with the origin of each request.
const ORIGINS_MAX: usize = 64;
/// A host name has at most 253 bytes.
const ORIGIN_BYTES_MAX: usize = 300;
/// Each is compared with the address of each connection.
const PROXIES_MAX: usize = 64;
