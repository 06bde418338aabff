use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::listeners::{ClientCertificate, Tls};
use super::problem::{Problem, unreadable};
use super::role::Role;
use super::value::text_list;

/// Metrics, health and the API, over HTTP: `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether the admin listener runs.
    pub enabled: bool,
    /// Address of the admin listener. Not a name or a port alone: what it stands for must be plain.
    #[serde(deserialize_with = "ip_and_port")]
    pub address: SocketAddr,
    /// Steps of QoS 1 and 2 messages that are kept in memory, for the journey of a message; 0: none.
    pub journey_steps_max: usize,
    /// Names in the Host header of requests that are answered, beside `localhost` and all IP addresses.
    #[serde(deserialize_with = "names")]
    pub allowed_hosts: Vec<String>,
    /// Whether the broker refuses to start if it can't listen at this address. Otherwise it logs a warning and runs
    /// without.
    pub required: bool,
    /// Whether `admin.sock` in the data directory serves the API to the user of the broker and root, without a token.
    pub socket: bool,
    /// Whether other machines can read the metrics without a token.
    pub metrics_open: bool,
    /// Whether other machines may use the API without TLS.
    pub allow_plain: bool,
    /// File with the certificate of the admin listener, followed by its chain, PEM. With it, the listener speaks TLS only.
    pub certificate: Option<PathBuf>,
    /// File with its private key, PEM.
    pub key: Option<PathBuf>,
    /// File with the certificate authorities that sign certificates of callers, PEM.
    pub client_ca: Option<PathBuf>,
    /// The roles of callers with a certificate, each as `COMMON NAME=ROLE`. They need no token.
    #[serde(deserialize_with = "certificate_roles")]
    pub certificate_roles: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            // Operators need metrics and health checks.
            enabled: true,
            // Loopback, because there is no certificate by default. The port is 1883 moved into the range of Prometheus
            // exporters.
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9883)),
            // Ten minutes of some hundred messages a second, in 5 MiB.
            journey_steps_max: 100_000,
            // A website can give its own name to this machine's address, but not to an address alone (DNS rebinding).
            allowed_hosts: Vec::new(),
            // A second broker on the same machine should still serve its clients.
            required: false,
            // The command line needs it. Who can open it can read and replace the store as well.
            socket: true,
            // Metrics tell how many clients there are and what they do.
            metrics_open: false,
            // Tokens would cross the network for everybody to read.
            allow_plain: false,
            certificate: None,
            key: None,
            client_ca: None,
            certificate_roles: Vec::new(),
        }
    }
}

impl Admin {
    /// Checks what the types do not express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let is_name = |name: &String| {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_name)
        };
        let mut problems = Vec::new();
        if self.journey_steps_max > JOURNEY_STEPS_MAX {
            let text = format!("must be at most {JOURNEY_STEPS_MAX}");
            problems.push(Problem::new("admin.journey_steps_max", &text));
        }
        if !self.allowed_hosts.iter().all(is_name) {
            problems.push(Problem::new("admin.allowed_hosts", "must be names of hosts, without a port"));
        }
        if self.allowed_hosts.len() > NAMES_MAX {
            problems.push(Problem::new("admin.allowed_hosts", &format!("must be at most {NAMES_MAX} names")));
        }
        for (setting, path) in [("certificate", &self.certificate), ("key", &self.key), ("client_ca", &self.client_ca)]
        {
            problems.extend(path.as_ref().and_then(|path| unreadable(&format!("admin.{setting}"), path)));
        }
        for (setting, is_set, needed, is_there) in [
            ("certificate", self.certificate.is_some(), "key", self.key.is_some()),
            ("key", self.key.is_some(), "certificate", self.certificate.is_some()),
            ("client_ca", self.client_ca.is_some(), "certificate", self.certificate.is_some()),
            ("certificate_roles", !self.certificate_roles.is_empty(), "client_ca", self.client_ca.is_some()),
        ] {
            if is_set && !is_there {
                problems.push(Problem::new(&format!("admin.{setting}"), &format!("needs admin.{needed}")));
            }
        }
        if self.roles_of_certificates().count() < self.certificate_roles.len() {
            let text = "must be texts such as \"alice=operator\"; a role is viewer, operator or admin";
            problems.push(Problem::new("admin.certificate_roles", text));
        }
        if self.certificate_roles.len() > ROLES_MAX {
            problems.push(Problem::new("admin.certificate_roles", &format!("must be at most {ROLES_MAX}")));
        }
        problems
    }

    /// The Common Names of certificates with a role. A text that is none is left out.
    pub fn roles_of_certificates(&self) -> impl Iterator<Item = (&str, Role)> {
        self.certificate_roles.iter().filter_map(|text| {
            let (name, role) = text.rsplit_once('=')?;
            let role = role.trim().parse().ok()?;
            let name = name.trim();
            (!name.is_empty()).then_some((name, role))
        })
    }

    /// The files of TLS; `None`: the listener speaks plain HTTP.
    pub fn tls(&self) -> Option<Tls> {
        let client_ca = self.client_ca.clone();
        Some(Tls {
            client_certificate: if client_ca.is_some() { ClientCertificate::Optional } else { ClientCertificate::None },
            identity_as_user_name: client_ca.is_some(),
            client_ca,
            // Its clients name several versions of HTTP, or none.
            alpn: Some(Vec::new()),
            ..Tls::new(self.certificate.clone()?, self.key.clone()?)
        })
    }
}

/// The longest name of a host in the Domain Name System.
const NAME_BYTES_MAX: usize = 253;
const NAMES_MAX: usize = 64;
const ROLES_MAX: usize = 1_000;
/// They use 520 MB.
const JOURNEY_STEPS_MAX: usize = 10_000_000;

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    text_list(deserializer, "a list of names such as [\"broker\"]")
}

fn certificate_roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    text_list(deserializer, "a list of texts such as [\"alice=operator\"]")
}

fn ip_and_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let address = value.as_str().and_then(|text| text.parse().ok());
    address.ok_or_else(|| Error::custom("must be an IP address and a port, such as 127.0.0.1:9883 or [::1]:9883"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(admin: &Admin) -> Vec<String> {
        admin.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn what_belongs_together_is_set_together() {
        let file = Some(PathBuf::from("/dev/null"));
        let mut admin = Admin { certificate: file.clone(), ..Admin::default() };
        assert_eq!(keys(&admin), ["admin.certificate"]);
        admin.key = file.clone();
        assert_eq!(keys(&admin), [""; 0]);
        assert_eq!(admin.tls().unwrap().client_certificate, ClientCertificate::None);
        admin.certificate_roles = vec!["alice=operator".to_owned()];
        assert_eq!(keys(&admin), ["admin.certificate_roles"]);
        admin.client_ca = file.clone();
        assert_eq!(keys(&admin), [""; 0]);
        assert_eq!(admin.tls().unwrap().client_certificate, ClientCertificate::Optional);
        admin.key = None;
        assert_eq!(keys(&admin), ["admin.certificate"]);
        assert_eq!(keys(&Admin { client_ca: file.clone(), ..Admin::default() }), ["admin.client_ca"]);
        let missing = Admin { certificate: Some("/does/not/exist".into()), key: file, ..Admin::default() };
        assert_eq!(keys(&missing), ["admin.certificate"]);
    }

    #[test]
    fn a_role_of_a_certificate_is_a_name_and_a_role() {
        let of = |text: &str| {
            let admin = Admin { certificate_roles: vec![text.to_owned()], ..Admin::default() };
            admin.roles_of_certificates().map(|(name, role)| (name.to_owned(), role)).next()
        };
        assert_eq!(of("alice = operator"), Some(("alice".to_owned(), Role::Operator)));
        assert_eq!(of("a=b=viewer"), Some(("a=b".to_owned(), Role::Viewer)));
        for text in ["", "alice", "=viewer", "alice=", "alice=root"] {
            assert_eq!(of(text), None, "{text}");
            let admin = Admin { certificate_roles: vec![text.to_owned()], ..Admin::default() };
            assert!(keys(&admin).contains(&"admin.certificate_roles".to_owned()), "{text}");
        }
    }
}
