use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, unreadable};
use super::value::duration;
use super::{AcceptedVersion, ClientCertificate, Limits, Listener};
use crate::topic::TopicName;

/// A client of the broker's own that publishes to itself: `[probe]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    /// Whether it runs.
    pub enabled: bool,
    /// The listener that it connects to: its name, or its address if it has no name. Default: the first one that is not for QUIC.
    pub listener: Option<String>,
    /// Its Client Identifier.
    pub client_id: String,
    /// Its user name. Default: it is anonymous.
    pub user_name: Option<String>,
    /// File with its password, of which the first line counts. Read at each connection.
    pub password_file: Option<PathBuf>,
    /// File with the certificate that it presents, PEM.
    pub certificate: Option<PathBuf>,
    /// File with the key of `certificate`, PEM.
    pub key: Option<PathBuf>,
    /// File with the authorities that must have signed the certificate of the listener, PEM. Default: any, but it must not have expired.
    pub ca: Option<PathBuf>,
    /// The name that the certificate of the listener must have; needed with `ca`.
    pub server_name: Option<String>,
    /// It publishes to one topic below this one.
    pub topic_prefix: String,
    /// How often it publishes a message at each QoS.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// A message that is not back by then is lost. Also the limit for connecting.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Whether the broker is unready while the probe fails.
    pub affects_readiness: bool,
    /// The probe fails after this number of failed rounds in a row.
    pub unready_after: NonZeroU32,
    /// It is well again after this number of good rounds in a row.
    pub ready_after: NonZeroU32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            // Its topic and its connection are visible to clients, and with an ACL file it needs rights.
            enabled: false,
            // The first listener is the one that the log names first.
            listener: None,
            // It says in every list of clients what it is.
            client_id: "oncemq-probe".to_owned(),
            // As for every client, nothing is needed on loopback unless the operator says so.
            user_name: None,
            password_file: None,
            certificate: None,
            key: None,
            // The connection doesn't leave the machine.
            ca: None,
            server_name: None,
            // One rule of an ACL file is enough: `topic readwrite oncemq/probe/#`.
            topic_prefix: "oncemq/probe".to_owned(),
            // A failure is known within half a minute, and a commit of the store every ten seconds costs nothing.
            interval: Duration::from_secs(10),
            // Far beyond the slowest healthy disk, and below the patience of most clients.
            timeout: Duration::from_secs(5),
            // A load balancer that takes a broker away moves its load to the others, so the operator decides.
            affects_readiness: false,
            // One slow commit is no outage.
            unready_after: const { NonZeroU32::new(3).unwrap() },
            // So that a broker on the edge doesn't change its state with each round.
            ready_after: const { NonZeroU32::new(2).unwrap() },
        }
    }
}

impl Probe {
    /// Checks what the types do not express. What the probe needs from the rest of the configuration is checked if it is enabled.
    pub(super) fn problems(&self, listeners: &[Listener], limits: &Limits) -> Vec<Problem> {
        let mut problems = self.range_problems();
        if !self.enabled {
            return problems;
        }
        problems.extend(self.name_problems(limits));
        let files = [
            ("probe.password_file", &self.password_file),
            ("probe.certificate", &self.certificate),
            ("probe.key", &self.key),
            ("probe.ca", &self.ca),
        ];
        problems.extend(files.iter().filter_map(|(key, path)| unreadable(key, path.as_ref()?)));
        match self.listener_of(listeners) {
            Some(listener) => problems.extend(self.listener_problems(listener)),
            // Another problem says that there is none.
            None if listeners.is_empty() => {}
            None if self.listener.is_none() => {
                let text = "must be a listener with another transport than \"quic\", of which the probe is no client";
                problems.push(Problem::new("probe.listener", text));
            }
            None => {
                let labels: Vec<_> = listeners.iter().map(Listener::label).collect();
                let text = format!("must be one of the listeners: {}", labels.join(", "));
                problems.push(Problem::new("probe.listener", &text));
            }
        }
        problems
    }

    /// The listener that the probe connects to.
    fn listener_of<'a>(&self, listeners: &'a [Listener]) -> Option<&'a Listener> {
        match &self.listener {
            Some(name) => listeners.iter().find(|listener| listener.label() == name.as_str()),
            // The probe is no client of QUIC.
            None => listeners.iter().find(|listener| !listener.transport.is_datagram()),
        }
    }

    fn range_problems(&self) -> Vec<Problem> {
        let is_between = |value: Duration, least, most| value >= least && value <= most;
        let (interval_min, interval_max) = (Duration::from_secs(1), Duration::from_secs(3_600));
        [
            (!is_between(self.interval, interval_min, interval_max))
                .then(|| Problem::new("probe.interval", "must be from \"1s\" to \"1h\"")),
            (!is_between(self.timeout, Duration::from_millis(10), self.interval))
                .then(|| Problem::new("probe.timeout", "must be from \"10ms\" to probe.interval")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn name_problems(&self, limits: &Limits) -> Vec<Problem> {
        let prefix = &self.topic_prefix;
        let is_topic = TopicName::new(prefix.as_str().into()).is_ok() && !prefix.starts_with('$');
        // The topic has one more level, of 16 characters.
        let (levels, length) = (prefix.split('/').count() + 1, prefix.len() + 17);
        let fits = levels <= usize::from(limits.topic_levels_max.get())
            && length <= usize::from(limits.topic_length_max.get());
        let id_length = self.client_id.len();
        let fits_id = (1..=usize::from(limits.client_id_length_max)).contains(&id_length);
        [
            (!is_topic).then(|| Problem::new("probe.topic_prefix", "must be a Topic Name that does not begin with $")),
            (is_topic && !fits).then(|| {
                let text = "must leave room for another level: see limits.topic_levels_max and limits.topic_length_max";
                Problem::new("probe.topic_prefix", text)
            }),
            (!fits_id)
                .then(|| Problem::new("probe.client_id", "must have from 1 byte to limits.client_id_length_max bytes")),
            (self.password_file.is_some() && self.user_name.is_none())
                .then(|| Problem::new("probe.user_name", "must be set with probe.password_file")),
            (self.certificate.is_some() != self.key.is_some())
                .then(|| Problem::new("probe.certificate", "must be set together with probe.key")),
            (self.ca.is_some() != self.server_name.is_some())
                .then(|| Problem::new("probe.ca", "must be set together with probe.server_name")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn listener_problems(&self, listener: &Listener) -> Option<Problem> {
        let label = listener.label();
        if listener.protocol_versions.as_ref().is_some_and(|versions| !versions.contains(&AcceptedVersion::V5)) {
            let text = format!("must be a listener that accepts MQTT 5.0, which the probe speaks; {label} does not");
            return Some(Problem::new("probe.listener", &text));
        }
        if listener.transport.is_datagram() {
            return Some(Problem::new("probe.listener", "must be another listener: the probe is no client of QUIC"));
        }
        if listener.proxy_tls.is_some() {
            return Some(Problem::new(
                "probe.listener",
                "must be another listener: this one is for clients of a proxy alone",
            ));
        }
        let has_tls = listener.transport.is_encrypted();
        let needs_certificate =
            listener.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificate::Required);
        if has_tls && needs_certificate && self.certificate.is_none() {
            let text = format!("must be set, because the listener {label} requires a client certificate");
            return Some(Problem::new("probe.certificate", &text));
        }
        if !has_tls && (self.certificate.is_some() || self.ca.is_some()) {
            let key = if self.certificate.is_some() { "probe.certificate" } else { "probe.ca" };
            return Some(Problem::new(key, &format!("has no effect, because the listener {label} has no TLS")));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Tls};

    fn enabled() -> Probe {
        Probe { enabled: true, ..Probe::default() }
    }

    fn keys(probe: &Probe, config: &Config) -> Vec<String> {
        probe.problems(&config.listeners, &config.limits).into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn what_the_probe_can_not_use_is_a_problem_if_it_is_enabled() {
        let mut config = Config::default();
        assert_eq!(keys(&enabled(), &config), [""; 0]);
        let wrong = Probe {
            listener: Some("nowhere".to_owned()),
            client_id: String::new(),
            password_file: Some("/does/not/exist".into()),
            certificate: Some("/does/not/exist".into()),
            ca: Some("/does/not/exist".into()),
            topic_prefix: "a/#".to_owned(),
            ..enabled()
        };
        let expected = [
            "probe.topic_prefix",
            "probe.client_id",
            "probe.user_name",
            "probe.certificate",
            "probe.ca",
            "probe.password_file",
            "probe.certificate",
            "probe.ca",
            "probe.listener",
        ];
        assert_eq!(keys(&wrong, &config), expected);
        assert_eq!(keys(&Probe { enabled: false, ..wrong }, &config), [""; 0]);

        for topic_prefix in ["", "$SYS/x", "a+b", "a\0b"] {
            let probe = Probe { topic_prefix: topic_prefix.to_owned(), ..enabled() };
            assert_eq!(keys(&probe, &config), ["probe.topic_prefix"], "{topic_prefix:?}");
        }
        config.limits.topic_levels_max = 2.try_into().unwrap();
        assert_eq!(keys(&enabled(), &config), ["probe.topic_prefix"]);
    }

    #[test]
    fn times_are_judged_even_if_it_is_not_enabled() {
        let config = Config::default();
        let probe = |interval, timeout| Probe { interval, timeout, ..Probe::default() };
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert_eq!(keys(&probe(s(1), s(1)), &config), [""; 0]);
        assert_eq!(keys(&probe(ms(999), ms(10)), &config), ["probe.interval"]);
        assert_eq!(keys(&probe(s(3_601), s(1)), &config), ["probe.interval"]);
        assert_eq!(keys(&probe(s(10), ms(10_001)), &config), ["probe.timeout"]);
        assert_eq!(keys(&probe(s(10), ms(9)), &config), ["probe.timeout"]);
    }

    #[test]
    fn the_probe_needs_a_listener_for_its_version() {
        let mut config = Config::default();
        config.listeners[0].protocol_versions = Some(vec![AcceptedVersion::V3_1_1]);
        assert_eq!(keys(&enabled(), &config), ["probe.listener"]);
        config.listeners[0].protocol_versions = Some(vec![AcceptedVersion::V3_1_1, AcceptedVersion::V5]);
        assert_eq!(keys(&enabled(), &config), [""; 0]);
    }

    #[test]
    fn the_certificate_is_judged_by_the_listener() {
        let mut config = Config::default();
        let mut encrypted = Listener::new("127.0.0.1:8883".parse().unwrap());
        encrypted.name = Some("encrypted".to_owned());
        encrypted.transport = crate::config::Transport::Tls;
        encrypted.tls = Some(Tls {
            client_certificate: ClientCertificate::Required,
            client_ca: Some("/c".into()),
            ..Tls::new("/a".into(), "/b".into())
        });
        config.listeners.push(encrypted);
        let probe = Probe { listener: Some("encrypted".to_owned()), ..enabled() };
        assert_eq!(keys(&probe, &config), ["probe.certificate"]);
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let certified = Probe { certificate: Some(file.into()), key: Some(file.into()), ..probe };
        assert_eq!(keys(&certified, &config), [""; 0]);
        assert_eq!(keys(&Probe { listener: None, ..certified }, &config), ["probe.certificate"], "no TLS");
    }
}
