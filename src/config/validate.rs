use std::collections::HashMap;

use super::nearest::nearest;
use super::{ClientIdRule, Config, ListenAddress, Listener, Problem, ProviderKind, sinks, topics};

impl Config {
    /// All contradictions, and all files that can't be read; empty if the configuration can be used.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.limits.problems();
        problems.extend(self.mqtt.problems());
        problems.extend(self.security.problems());
        problems.extend(self.bans.problems());
        problems.extend(self.probe.problems(&self.listeners, &self.limits));
        problems.extend(super::bridges::problems(&self.bridges, &self.limits));
        problems.extend(self.telemetry.problems(&self.admin));
        problems.extend(self.log.problems());
        problems.extend(self.server.problems());
        problems.extend(self.admin.problems());
        if self.listeners.is_empty() {
            problems.push(Problem::new("listeners", "must be at least one"));
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            problems.extend(listener.problems(&format!("listeners[{index}]")));
        }
        for (index, rule) in self.durability_rules.iter().enumerate() {
            problems.extend(rule.problems(&format!("durability_rules[{index}]")));
        }
        problems.extend(super::user_limits::problems(&self.user_limits, &self.provider_names()));
        let labels: Vec<String> = self.listeners.iter().map(|listener| listener.label().into_owned()).collect();
        problems.extend(topics::problems(&self.topic_rewrite, &self.auto_subscribe, &labels));
        problems.extend(super::streams::problems(&self.streams, self.strongest_durability(), &self.mqtt));
        problems.extend(super::redelivery::problems(&self.redelivery, &self.mqtt));
        problems.extend(self.receipts.problems());
        problems.extend(self.cluster.problems(self.server.durability, &self.streams));
        problems.extend(self.problems_of_cells());
        problems.extend(sinks::problems(&self.sinks));
        problems.extend(self.auth_problems());
        problems.extend(self.addresses_used_twice());
        problems.extend(self.names_used_twice());
        let streams = self.streams.iter().enumerate();
        problems.extend(used_twice(streams.map(|(index, stream)| (format!("streams[{index}].name"), &stream.name))));
        let rules = self.durability_rules.iter().enumerate();
        problems
            .extend(used_twice(rules.map(|(index, rule)| (format!("durability_rules[{index}].topic"), &rule.topic))));
        problems
    }

    /// What belongs to one broker has no place among cells.
    fn problems_of_cells(&self) -> Vec<Problem> {
        let used = [
            ("probe.enabled", self.probe.enabled),
            ("mqtt.exclusive_subscriptions", self.mqtt.exclusive_subscriptions),
        ];
        let used = used.into_iter().filter(|(_, is_used)| *is_used && self.cluster.has_cells());
        let used = used.map(|(key, _)| Problem::new(key, "can't be used yet with cluster.cells of 2 or more"));
        let is_by_user = |listener: &Listener| listener.client_id == ClientIdRule::UserName && self.cluster.has_cells();
        let by_user = self.listeners.iter().enumerate().filter(|(_, listener)| is_by_user(listener));
        let by_user = by_user.map(|(index, _)| {
            let text = "can't be \"user-name\" with cluster.cells of 2 or more: a client belongs to the cell of the Client Identifier that it sends";
            Problem::new(&format!("listeners[{index}].client_id"), text)
        });
        used.chain(by_user).collect()
    }

    /// Checks the providers, and what listeners say about them.
    fn auth_problems(&self) -> Vec<Problem> {
        let password_file = self.security.password_file.is_some();
        let mut problems = Vec::new();
        for (index, provider) in self.auth.iter().enumerate() {
            problems.extend(provider.problems(&format!("auth[{index}]"), password_file));
        }
        let names = self.auth.iter().map(|provider| provider.label());
        problems.extend(used_twice(names.enumerate().map(|(index, name)| (format!("auth[{index}].name"), name))));
        let reads = |kind: ProviderKind| kind == ProviderKind::PasswordFile;
        if password_file
            && !self.auth.is_empty()
            && !self.auth.iter().any(|provider| reads(provider.kind) && provider.file.is_none())
        {
            let text = "has no effect: no [[auth]] is of the type \"password-file\" without a file of its own";
            problems.push(Problem::new("security.password_file", text));
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            problems.extend(self.chain_problems(&format!("listeners[{index}]"), listener));
        }
        problems
    }

    /// Checks the providers of one listener, which is at `key`.
    fn chain_problems(&self, key: &str, listener: &Listener) -> Vec<Problem> {
        let mut problems = Vec::new();
        let provider = |name: &str| self.auth.iter().find(|provider| provider.label() == name);
        for (index, name) in listener.auth.iter().flatten().enumerate() {
            let names: Vec<&str> = self.auth.iter().map(|provider| provider.label()).collect();
            let is_repeated = listener.auth.iter().flatten().take(index).any(|before| before == name);
            let text = match provider(name) {
                None => {
                    let hint = nearest(name, names.iter());
                    let hint = hint.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                    format!("has {name:?}, which is not the name of an [[auth]]{hint}")
                }
                Some(_) if is_repeated => format!("has {name:?} twice"),
                Some(_) => continue,
            };
            problems.push(Problem::new(&format!("{key}.auth"), &text));
        }
        let is_certificate = |kind: ProviderKind| kind == ProviderKind::Certificate;
        let judges = match &listener.auth {
            Some(names) => names.iter().filter_map(|name| provider(name)).any(|provider| is_certificate(provider.kind)),
            None => self.auth.is_empty() || self.auth.iter().any(|provider| is_certificate(provider.kind)),
        };
        if !judges && listener.has_certificate_identity() {
            let text = "has no effect: no provider of the listener has the type \"certificate\"";
            let table =
                if listener.tls.as_ref().is_some_and(|tls| tls.identity_as_user_name) { "tls" } else { "proxy_tls" };
            problems.push(Problem::new(&format!("{key}.{table}.identity_as_user_name"), text));
        }
        problems
    }

    fn addresses_used_twice(&self) -> Vec<Problem> {
        let admin = ListenAddress::Ip(self.admin.address);
        let admin = self.admin.enabled.then(|| ("admin.address".to_owned(), &admin));
        // A port of TCP and the same one of UDP are two.
        let listeners = |is_datagram: bool| {
            let listeners = self.listeners.iter().enumerate();
            let of_kind = listeners.filter(move |(_, listener)| listener.transport.is_datagram() == is_datagram);
            of_kind.map(|(index, listener)| (format!("listeners[{index}].address"), &listener.address))
        };
        let has_port = |(_, address): &(String, &ListenAddress)| address.port() != Some(0);
        let mut problems = used_twice(listeners(false).chain(admin).filter(has_port));
        problems.extend(used_twice(listeners(true).filter(has_port)));
        problems
    }

    /// What applies to the clients of a listener is found by its name, which is its address if it has no other: two listeners of one name would
    /// get the access rules, the mount point and the providers of one of them.
    fn names_used_twice(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            // Two addresses that are the same have a problem of their own, or the port is chosen by the system.
            let is_by_address = |other: &Listener| {
                let is_same_kind = listener.transport.is_datagram() == other.transport.is_datagram();
                let is_unnamed = listener.name.is_none() && other.name.is_none();
                is_unnamed && (is_same_kind || listener.address.port() == Some(0))
            };
            let earlier = self.listeners.iter().take(index);
            let mut earlier = earlier.map(|other| other.label() == listener.label() && !is_by_address(other));
            if let Some(first) = earlier.position(|is_same| is_same) {
                let hint = if listener.name.is_none() { ": give one of them a name" } else { "" };
                let text = format!("is {}, which listeners[{first}].name already uses{hint}", listener.label());
                problems.push(Problem::new(&format!("listeners[{index}].name"), &text));
            }
        }
        problems
    }
}

fn used_twice<'a, T>(values: impl Iterator<Item = (String, &'a T)>) -> Vec<Problem>
where
    T: std::hash::Hash + Eq + std::fmt::Display + ?Sized + 'a,
{
    let mut seen: HashMap<&T, String> = HashMap::new();
    let mut problems = Vec::new();
    for (key, value) in values {
        if let Some(first) = seen.get(value) {
            problems.push(Problem::new(&key, &format!("is {value}, which {first} already uses")));
        } else {
            seen.insert(value, key);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{
        CertificateDates, CertificateIdentity, ClientCertificate, CrlCheck, ExpiredCrl, Listener, Tls, Transport,
    };

    use super::*;

    fn listener(address: &str) -> Listener {
        Listener::new(address.parse().unwrap())
    }

    fn keys(config: &Config) -> Vec<String> {
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_default_has_no_problem() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn a_listener_that_contradicts_itself_is_a_problem() {
        let mut encrypted = listener("127.0.0.1:1");
        encrypted.transport = Transport::Tls;
        let mut socket = listener("unix:/tmp/socket");
        socket.transport = Transport::Ws;
        let mut certified = listener("127.0.0.1:2");
        certified.transport = Transport::Wss;
        let client_certificate = ClientCertificate::Required;
        certified.tls = Some(Tls { client_certificate, ..Tls::new("/does/not/exist".into(), "/".into()) });
        let mut pathless = listener("127.0.0.1:3");
        pathless.websocket_path = Some("mqtt".to_owned());
        let config = Config { listeners: vec![encrypted, socket, certified, pathless], ..Config::default() };
        let expected = [
            "listeners[0].tls",
            "listeners[1].transport",
            "listeners[2].tls.client_ca",
            "listeners[2].tls.certificate",
            "listeners[2].tls.key",
            "listeners[3].websocket_path",
        ];
        assert_eq!(keys(&config), expected);
        let texts: Vec<_> = config.problems().into_iter().map(|problem| problem.text).collect();
        assert!(texts[3].contains("/does/not/exist"), "{texts:?}");
        assert!(texts[4].contains("directory"), "{texts:?}");
    }

    #[test]
    fn quic_needs_certificates_and_has_ports_of_its_own() {
        let mut quic = listener("127.0.0.1:1");
        (quic.transport, quic.name) = (Transport::Quic, Some("quic".to_owned()));
        let problems = |listeners: Vec<Listener>| keys(&Config { listeners, ..Config::default() });
        assert_eq!(problems(vec![quic.clone()]), ["listeners[0].tls"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        quic.tls = Some(crate::config::listeners::test_tls(file.path()));
        assert_eq!(problems(vec![quic.clone(), listener("127.0.0.1:1")]), [""; 0], "UDP and TCP");
        assert_eq!(problems(vec![quic.clone(), quic.clone()]), ["listeners[1].address", "listeners[1].name"]);
        quic.proxy_protocol = crate::config::ProxyProtocol::V2;
        assert_eq!(problems(vec![quic.clone()]), ["listeners[0].proxy_protocol"]);
        quic.proxy_protocol = crate::config::ProxyProtocol::Off;
        let mut config = Config { listeners: vec![quic], ..Config::default() };
        config.probe.enabled = true;
        assert_eq!(keys(&config), ["probe.listener"], "the probe is no client of QUIC");
        config.listeners.push(listener("127.0.0.1:1"));
        assert_eq!(config.problems(), [], "it takes the next one");
    }

    #[test]
    fn origins_proxies_and_modes_must_be_such_and_have_an_effect() {
        let on = |address: &str, change: fn(&mut Listener)| {
            let mut listener = listener(address);
            change(&mut listener);
            keys(&Config { listeners: vec![listener], ..Config::default() })
        };
        let good = ["*", "null", "https://app.example.com", "http://localhost:3000", "app.example.com", "file://"];
        for origin in good.into_iter().map(Some).chain([None]) {
            let mut listener = listener("127.0.0.1:1");
            listener.transport = Transport::Ws;
            listener.websocket_origins = Some(origin.map(str::to_owned).into_iter().collect());
            let config = Config { listeners: vec![listener], ..Config::default() };
            assert_eq!(config.problems(), [], "{origin:?}");
        }
        for origin in ["", "https://a/", "https://a/b", "a/b", "*.example.com", "https://*.a", "a,b", "a b", "://a"] {
            let mut listener = listener("127.0.0.1:1");
            listener.transport = Transport::Ws;
            listener.websocket_origins = Some(vec![origin.to_owned()]);
            let config = Config { listeners: vec![listener], ..Config::default() };
            assert_eq!(keys(&config), ["listeners[0].websocket_origins"], "{origin:?}");
        }
        let origins = "listeners[0].websocket_origins";
        assert_eq!(on("127.0.0.1:1", |listener| listener.websocket_origins = Some(Vec::new())), [origins]);
        let proxies = "listeners[0].trusted_proxies";
        let trust = |listener: &mut Listener| listener.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(on("127.0.0.1:1", trust), [proxies]);
        assert_eq!(on("unix:/a", trust), [proxies]);
        let mode = "listeners[0].socket_mode";
        assert_eq!(on("127.0.0.1:1", |listener| listener.socket_mode = Some(Default::default())), [mode]);
        assert_eq!(on("unix:/a", |listener| listener.socket_mode = Some(Default::default())), [""; 0]);
        let mut config = Config::default();
        config.admin.allowed_hosts = vec!["broker".to_owned(), "mqtt.example.com".to_owned()];
        assert_eq!(config.problems(), []);
        for name in ["", "a:1", "http://a", "*", "a b"] {
            config.admin.allowed_hosts = vec![name.to_owned()];
            assert_eq!(keys(&config), ["admin.allowed_hosts"], "{name}");
        }
    }

    #[test]
    fn outgoing_buffer_of_4_gib_is_a_problem() {
        let mut config = Config::default();
        for (bytes, expected) in [((1 << 32) - 1, &[][..]), (1 << 32, &["limits.outgoing_bytes_max"])] {
            config.limits.outgoing_bytes_max = bytes;
            assert_eq!(keys(&config), expected);
        }
    }

    #[test]
    fn client_certificate_settings_without_requesting_certificates_are_a_problem() {
        let file = std::env::current_exe().unwrap();
        let mut listener = listener("127.0.0.1:1");
        listener.transport = Transport::Tls;
        listener.tls = Some(Tls {
            client_ca: Some(file.clone()),
            crl: Some(file.clone()),
            crl_check: CrlCheck::Chain,
            crl_expired: ExpiredCrl::Refuse,
            client_certificate_dates: CertificateDates::Ignored,
            identity_as_user_name: true,
            identity: CertificateIdentity::Subject,
            ..Tls::new(file.clone(), file)
        });
        let config = Config { listeners: vec![listener], ..Config::default() };
        let prefix = "listeners[0].tls.";
        let expected = [
            "client_ca",
            "crl",
            "crl_check",
            "crl_expired",
            "client_certificate_dates",
            "identity_as_user_name",
            "identity",
        ];
        assert_eq!(keys(&config), expected.map(|key| format!("{prefix}{key}")));
        let mut config = config;
        let tls = config.listeners[0].tls.as_mut().unwrap();
        (tls.client_certificate, tls.identity_as_user_name) = (ClientCertificate::Optional, false);
        assert_eq!(keys(&config), ["listeners[0].tls.identity"]);
    }

    #[test]
    fn an_address_or_name_used_twice_is_a_problem_but_not_port_0() {
        let listeners = ["127.0.0.1:9883", "127.0.0.1:0", "127.0.0.1:0", "unix:/a", "unix:/a"].map(listener).into();
        let mut config = Config { listeners, ..Config::default() };
        assert_eq!(keys(&config), ["listeners[4].address", "admin.address"]);
        config.listeners = vec![listener("127.0.0.1:1"), listener("127.0.0.1:2")];
        for listener in &mut config.listeners {
            listener.name = Some("same".to_owned());
        }
        assert_eq!(keys(&config), ["listeners[1].name"]);
    }

    #[test]
    fn two_listeners_of_one_name_are_a_problem_also_if_one_has_that_of_its_address() {
        let (tls, mut quic) = (listener("127.0.0.1:8883"), listener("127.0.0.1:8883"));
        (quic.transport, quic.tls) = (Transport::Quic, tls.tls.clone());
        let twice = |listeners: [&Listener; 2]| {
            let config = Config { listeners: listeners.map(Clone::clone).into(), ..Config::default() };
            let names = keys(&config).into_iter().filter(|key| key.ends_with(".name"));
            names.collect::<Vec<_>>()
        };
        assert_eq!(twice([&tls, &quic]), ["listeners[1].name"]);
        quic.name = Some("quic".to_owned());
        assert_eq!(twice([&tls, &quic]), [""; 0]);
        let other = Listener { name: Some("127.0.0.1:8883".to_owned()), ..listener("127.0.0.1:1") };
        assert_eq!(twice([&tls, &other]), ["listeners[1].name"]);
    }

    #[test]
    fn limits_that_exclude_every_client_are_a_problem() {
        let mut config = Config::default();
        config.limits.connections_max = 0;
        config.limits.connect_timeout = Duration::ZERO;
        config.limits.maximum_packet_size = 10;
        config.limits.client_id_length_max = 22;
        config.limits.keep_alive_max = Some(Duration::from_secs(65_536));
        config.listeners.clear();
        let expected = [
            "limits.connections_max",
            "limits.connect_timeout",
            "limits.maximum_packet_size",
            "limits.client_id_length_max",
            "limits.keep_alive_max",
            "listeners",
        ];
        assert_eq!(keys(&config), expected);
    }
}
