//! The rules of `[listeners.proxy_tls]`.

use super::{ClientCertificate, Listener, Problem, ProxyProtocol, Transport};

impl Listener {
    /// Whether the Common Name of a client's certificate is its user name, whoever has verified it.
    pub fn has_certificate_identity(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.identity_as_user_name)
            || self.proxy_tls.as_ref().is_some_and(|tls| tls.identity_as_user_name)
    }

    /// Checks `[listeners.proxy_tls]`. `key` is the path of this listener, such as `listeners[0]`.
    pub(super) fn proxy_tls_problems(&self, key: &str) -> Vec<Problem> {
        let Some(settings) = &self.proxy_tls else { return Vec::new() };
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        if self.proxy_protocol != ProxyProtocol::V2 {
            problem("proxy_tls", "needs proxy_protocol = \"v2\": version 1 does not tell about TLS");
        }
        if self.transport == Transport::Unix {
            problem("proxy_tls", "needs an IP address: who connects to a Unix socket can't be one of trusted_proxies");
        } else if self.trusted_proxies.is_empty() {
            problem("proxy_tls", "needs trusted_proxies: everybody else could name any certificate");
        }
        if settings.identity_as_user_name && settings.client_certificate == ClientCertificate::None {
            let text = "has no effect: client_certificate must be \"optional\" or \"required\"";
            problem("proxy_tls.identity_as_user_name", text);
        }
        if settings.identity_as_user_name && self.tls.as_ref().is_some_and(|tls| tls.identity_as_user_name) {
            problem("proxy_tls.identity_as_user_name", "can't be set together with tls.identity_as_user_name");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyTls;

    fn keys(change: impl FnOnce(&mut Listener)) -> Vec<String> {
        let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
        listener.proxy_protocol = ProxyProtocol::V2;
        listener.trusted_proxies = vec!["10.0.0.5".parse().unwrap()];
        listener.proxy_tls =
            Some(ProxyTls { client_certificate: ClientCertificate::Required, identity_as_user_name: true });
        change(&mut listener);
        listener.problems("listeners[0]").into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn what_a_proxy_says_is_believed_from_trusted_proxies_by_version_2_alone() {
        assert_eq!(keys(|_| ()), [""; 0]);
        let table = ["listeners[0].proxy_tls"];
        for protocol in [ProxyProtocol::V1, ProxyProtocol::Any] {
            assert_eq!(keys(|listener| listener.proxy_protocol = protocol), table);
        }
        assert_eq!(keys(|listener| listener.trusted_proxies.clear()), table);
        let unix = |listener: &mut Listener| {
            *listener = Listener {
                address: "unix:/a".parse().unwrap(),
                transport: Transport::Unix,
                trusted_proxies: Vec::new(),
                ..listener.clone()
            };
        };
        assert_eq!(keys(unix), table);
        let identity = ["listeners[0].proxy_tls.identity_as_user_name"];
        let without = |listener: &mut Listener| {
            listener.proxy_tls =
                Some(ProxyTls { client_certificate: ClientCertificate::None, identity_as_user_name: true });
        };
        assert_eq!(keys(without), identity);
        let file = tempfile::NamedTempFile::new().unwrap();
        let both = |listener: &mut Listener| {
            listener.transport = Transport::Tls;
            let tls = super::super::listeners::test_tls(file.path());
            listener.tls = Some(super::super::Tls { identity_as_user_name: true, ..tls });
        };
        assert_eq!(keys(both), identity);
    }
}
