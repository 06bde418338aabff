use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::bridge_address::host_and_port;
use super::problem::{Problem, unreadable};
use super::value::text_list;
use super::{Durability, NatsAddress, Stream};

/// Several nodes with one log, of which one serves clients, or with a log for each cell: `[cluster]`. `node`, `nats` and `advertise` are enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// The name of this node, which no other node of the cluster has.
    pub node: Option<String>,
    /// The servers of NATS: see [`NatsAddress`]. Without any, the broker is not part of a cluster.
    #[serde(deserialize_with = "addresses")]
    pub nats: Vec<String>,
    /// Where clients reach this node: `host:port`. Other nodes send them there while it serves.
    pub advertise: Option<String>,
    /// Where this node listens for other nodes, `IP:port`, so that what they pass to each other goes from node to node; by default it goes through NATS. Only with `front = "tunnel"` or several cells.
    pub link_address: Option<SocketAddr>,
    /// What a node that does not serve does with its clients.
    pub front: Front,
    /// The name of the cluster: several can share the servers of NATS.
    pub name: String,
    /// The stream keeps what is on the disks of fewer nodes, the owner included. All nodes follow, if there are more.
    pub copies: u8,
    /// The number of cells, from 1 to 256, which never changes: each client belongs to one, and each cell has a log and an owner of its own.
    pub cells: u16,
    /// The number of servers of NATS that keep what is not yet in the copies of all nodes.
    pub tail_copies: u8,
    /// PEM file with the authorities that may certify the servers of NATS; by default those of the operating system.
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate that this node presents to them.
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of `certificate`.
    pub key: Option<PathBuf>,
    /// The user of this node at the servers of NATS.
    pub user_name: Option<String>,
    /// File with its password, of which the first line counts. Read at each connection, as the files that follow.
    pub password_file: Option<PathBuf>,
    /// Instead: file with the token and the seed of this node, as `nsc` writes it (`.creds`).
    pub credentials_file: Option<PathBuf>,
    /// Instead: file with the seed of its NKey.
    pub nkey_file: Option<PathBuf>,
}

/// What a node that does not serve does with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Front {
    /// It answers CONNECT with 0x9C and the address of the node that serves.
    Refer,
    /// It passes their bytes to the node that serves, and back.
    Tunnel,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            // One broker alone needs no other server.
            node: None,
            nats: Vec::new(),
            advertise: None,
            // It opens a port.
            link_address: None,
            // It costs no second hop.
            front: Front::Refer,
            // Who has one cluster needs no name for it.
            name: "oncemq".to_owned(),
            // One can be lost, and one can be replaced meanwhile.
            copies: 2,
            // One node serves all clients, as long as one is enough.
            cells: 1,
            // A majority goes on without one of them.
            tail_copies: 3,
            // All that follows is needed beyond loopback alone.
            ca: None,
            certificate: None,
            key: None,
            user_name: None,
            password_file: None,
            credentials_file: None,
            nkey_file: None,
        }
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    text_list(deserializer, "a list of addresses, or one text with commas between them")
}

impl Cluster {
    /// Whether this broker is part of a cluster.
    pub fn is_enabled(&self) -> bool {
        self.node.is_some() || !self.nats.is_empty() || self.advertise.is_some()
    }

    /// The servers of NATS, those whose addresses are valid.
    pub fn parsed_addresses(&self) -> Vec<NatsAddress> {
        self.nats.iter().filter_map(|address| address.parse().ok()).collect()
    }

    /// The certificate that this node presents, and its key.
    pub fn identity(&self) -> Option<(&std::path::Path, &std::path::Path)> {
        self.certificate.as_deref().zip(self.key.as_deref())
    }

    /// Whether clients are spread over several cells.
    pub fn has_cells(&self) -> bool {
        self.is_enabled() && self.cells > 1
    }

    /// Whether clients can use any node. With several cells, a client need not know which node has its own.
    pub fn passes_clients(&self) -> bool {
        self.is_enabled() && (self.front == Front::Tunnel || self.has_cells())
    }

    /// Where other nodes reach `link_address`, if it is that of all interfaces: at the host of `advertise`.
    pub fn announced_link_address(&self) -> Option<String> {
        let address = self.link_address.filter(|address| address.ip().is_unspecified())?;
        let (host, _) = self.advertise.as_deref()?.rsplit_once(':')?;
        Some(format!("{host}:{}", address.port()))
    }

    /// Checks what the types do not express, and what a cluster asks of the rest of the configuration.
    pub(super) fn problems(&self, durability: Durability, streams: &[Stream]) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.is_enabled() {
            return problems;
        }
        if !cfg!(feature = "cluster") {
            problems.push(Problem::new("cluster.nats", "needs a build with the feature cluster"));
        }
        let is_advertisable = |text: &str| host_and_port(text).is_some_and(|(_, port)| port.is_some());
        let rules = [
            (!self.node.as_deref().is_some_and(is_name), "node", NAME),
            (!is_name(&self.name), "name", NAME),
            (
                !self.advertise.as_deref().is_some_and(is_advertisable),
                "advertise",
                "must be like \"mqtt-1.example.com:1883\": where clients reach this node",
            ),
            (
                self.link_address.is_some_and(|address| address.port() == 0),
                "link_address",
                "must have a port, such as \"10.0.0.1:7883\"",
            ),
            (
                self.link_address.is_some() && !self.passes_clients(),
                "link_address",
                "needs front = \"tunnel\", or several cells: else nodes pass nothing to each other",
            ),
            (!(1..=COPIES_MAX).contains(&self.copies), "copies", "must be from 1 to 16"),
            (!(1..=CELLS_MAX).contains(&self.cells), "cells", "must be from 1 to 256"),
            (!matches!(self.tail_copies, 1 | 3 | 5), "tail_copies", "must be 1, 3 or 5: so many servers of NATS"),
        ];
        let broken = rules.into_iter().filter(|(is_broken, ..)| *is_broken);
        problems.extend(broken.map(|(_, setting, text)| Problem::new(&format!("cluster.{setting}"), text)));
        problems.extend(self.address_problems());
        problems.extend(self.credential_problem().map(|(setting, text)| Problem::new(setting, text)));
        let files = [
            ("cluster.ca", &self.ca),
            ("cluster.certificate", &self.certificate),
            ("cluster.key", &self.key),
            ("cluster.password_file", &self.password_file),
            ("cluster.credentials_file", &self.credentials_file),
            ("cluster.nkey_file", &self.nkey_file),
        ];
        problems.extend(files.iter().filter_map(|(setting, path)| unreadable(setting, path.as_ref()?)));
        if durability != Durability::PowerLoss {
            let text = "must be \"power-loss\" with [cluster]: an acknowledgement says that a majority has it on disk";
            problems.push(Problem::new("server.durability", text));
        }
        if !streams.is_empty() && self.has_cells() {
            let text = "can't be used with more than one cell (cluster.cells): a stream does not get the messages of other cells";
            problems.push(Problem::new("streams[0]", text));
        }
        problems
    }

    fn address_problems(&self) -> Vec<Problem> {
        let problem = |text: &str| Problem::new("cluster.nats", text);
        if self.nats.is_empty() || self.nats.len() > ADDRESSES_MAX {
            return vec![problem(&format!("must have from 1 to {ADDRESSES_MAX} addresses"))];
        }
        if let Some(error) = self.nats.iter().find_map(|address| address.parse::<NatsAddress>().err()) {
            return vec![problem(&error.to_string())];
        }
        let addresses = self.parsed_addresses();
        let is_encrypted = addresses.iter().any(|address| address.is_encrypted);
        if is_encrypted && !addresses.iter().all(|address| address.is_encrypted) {
            return vec![problem("must have addresses with tls:// alone, or with nats:// alone")];
        }
        let mut problems = Vec::new();
        if let Some(remote) = addresses.iter().find(|address| !address.is_local()) {
            if !is_encrypted {
                let text = format!(
                    "has {remote}, which is another machine: it must be tls://, so that nobody on the way reads or changes messages"
                );
                problems.push(problem(&text));
            }
            if !self.has_credentials() {
                let text = format!(
                    "has {remote}, which is another machine: set user_name and password_file, credentials_file, nkey_file, or certificate and key"
                );
                problems.push(problem(&text));
            }
        }
        let needless = [("cluster.ca", &self.ca), ("cluster.certificate", &self.certificate)];
        let needless = needless.into_iter().filter(|(_, path)| path.is_some() && !is_encrypted);
        problems.extend(needless.map(|(setting, _)| Problem::new(setting, "has no effect: no address has tls://")));
        problems
    }

    fn has_credentials(&self) -> bool {
        self.user_name.is_some()
            || self.credentials_file.is_some()
            || self.nkey_file.is_some()
            || self.certificate.is_some()
    }

    fn credential_problem(&self) -> Option<(&'static str, &'static str)> {
        let ways = [self.user_name.is_some(), self.credentials_file.is_some(), self.nkey_file.is_some()].map(u8::from);
        if self.user_name.is_some() != self.password_file.is_some() {
            Some(("cluster.user_name", "must be set together with password_file"))
        } else if self.certificate.is_some() != self.key.is_some() {
            Some(("cluster.certificate", "must be set together with key"))
        } else if ways.iter().sum::<u8>() > 1 {
            Some(("cluster.nats", "must have one of user_name, credentials_file and nkey_file"))
        } else {
            None
        }
    }
}

/// Whether a node or a cluster may have this name: it is a part of subjects and names of streams.
fn is_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_fit)
}

const NAME: &str = "must have 1 to 64 letters, digits, `-` or `_`";
const ADDRESSES_MAX: usize = 16;
const COPIES_MAX: u8 = 16;
/// A cell has a number of a byte.
const CELLS_MAX: u16 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientIdRule, Config, Listener};

    fn cluster() -> Cluster {
        Cluster {
            node: Some("one".to_owned()),
            nats: vec!["nats://127.0.0.1:4222".to_owned()],
            advertise: Some("mqtt-1.example.com:1883".to_owned()),
            ..Cluster::default()
        }
    }

    fn keys(cluster: Cluster) -> Vec<String> {
        let config = Config { cluster, ..Config::default() };
        config.cluster.problems(config.server.durability, &[]).into_iter().map(|problem| problem.key).collect()
    }

    fn with_addresses(addresses: &[&str]) -> Cluster {
        Cluster { nats: addresses.iter().map(|address| (*address).to_owned()).collect(), ..cluster() }
    }

    #[test]
    fn three_settings_are_enough_on_one_machine_and_none_is_no_cluster() {
        assert_eq!(keys(Cluster::default()), [""; 0]);
        assert_eq!(keys(cluster()), [""; 0]);
        assert_eq!(keys(Cluster { node: None, ..cluster() }), ["cluster.node"]);
        assert_eq!(keys(Cluster { nats: Vec::new(), ..cluster() }), ["cluster.nats"]);
        assert_eq!(keys(Cluster { advertise: None, ..cluster() }), ["cluster.advertise"]);
        for advertise in ["", "host", "host:0", "host:x", ":1883", "a b:1"] {
            assert_eq!(keys(Cluster { advertise: Some(advertise.to_owned()), ..cluster() }), ["cluster.advertise"]);
        }
        for advertise in ["[::1]:1883", "10.0.0.1:1883", "host:1"] {
            assert_eq!(keys(Cluster { advertise: Some(advertise.to_owned()), ..cluster() }), [""; 0]);
        }
        for name in ["", "a.b", "a b", "a*", "ä"] {
            assert_eq!(keys(Cluster { node: Some(name.to_owned()), ..cluster() }), ["cluster.node"], "{name:?}");
            assert_eq!(keys(Cluster { name: name.to_owned(), ..cluster() }), ["cluster.name"], "{name:?}");
        }
        assert_eq!(keys(Cluster { copies: 0, tail_copies: 2, ..cluster() }), ["cluster.copies", "cluster.tail_copies"]);
        for (cells, expected) in [(0, true), (1, false), (256, false), (257, true)] {
            assert_eq!(keys(Cluster { cells, ..cluster() }) == ["cluster.cells"], expected, "{cells}");
        }
    }

    #[test]
    fn other_nodes_find_the_link_address_at_the_host_of_advertise_if_it_is_that_of_all_interfaces() {
        let of = |link: &str, advertise: &str| {
            let (link_address, advertise) = (Some(link.parse().unwrap()), Some(advertise.to_owned()));
            Cluster { link_address, advertise, front: Front::Tunnel, ..cluster() }
        };
        let refers = Cluster { front: Front::Refer, ..of("10.0.0.1:7883", "host:1883") };
        assert_eq!(keys(refers.clone()), ["cluster.link_address"], "it would have no effect");
        assert_eq!(keys(Cluster { cells: 2, ..refers }), [""; 0]);
        assert_eq!(keys(of("10.0.0.1:7883", "host:1883")), [""; 0]);
        assert_eq!(keys(of("10.0.0.1:0", "host:1883")), ["cluster.link_address"]);
        let announced = |link, advertise| of(link, advertise).announced_link_address();
        assert_eq!(announced("10.0.0.1:7883", "host:1883"), None);
        assert_eq!(announced("0.0.0.0:7883", "host:1883").as_deref(), Some("host:7883"));
        assert_eq!(announced("[::]:7883", "[fd00::1]:1883").as_deref(), Some("[fd00::1]:7883"));
    }

    #[test]
    fn another_machine_needs_tls_and_credentials() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(keys(with_addresses(&["nats://localhost", "nats://[::1]:4223"])), [""; 0]);
        assert_eq!(keys(with_addresses(&["nats://localhost", "nats://10.0.0.1"])), ["cluster.nats", "cluster.nats"]);
        assert_eq!(keys(with_addresses(&["tls://10.0.0.1"])), ["cluster.nats"]);
        assert_eq!(keys(with_addresses(&["tls://localhost", "nats://localhost"])), ["cluster.nats"]);
        let remote = || with_addresses(&["tls://nats-1"]);
        let user = Cluster { user_name: Some("a".to_owned()), password_file: Some(file.into()), ..remote() };
        assert_eq!(keys(user.clone()), [""; 0]);
        let plain = Cluster { nats: vec!["nats://nats-1".to_owned()], ..user.clone() };
        assert_eq!(keys(plain), ["cluster.nats"], "a password in plain text");
        assert_eq!(keys(Cluster { credentials_file: Some(file.into()), ..remote() }), [""; 0]);
        assert_eq!(keys(Cluster { nkey_file: Some(file.into()), ..remote() }), [""; 0]);
        let certified = Cluster { certificate: Some(file.into()), key: Some(file.into()), ..remote() };
        assert_eq!(keys(certified.clone()), [""; 0]);
        assert_eq!(keys(Cluster { key: None, ..certified }), ["cluster.certificate"]);
        assert_eq!(keys(Cluster { password_file: None, ..user.clone() }), ["cluster.user_name"]);
        assert_eq!(keys(Cluster { nkey_file: Some(file.into()), ..user }), ["cluster.nats"]);
        assert_eq!(keys(Cluster { ca: Some(file.into()), ..cluster() }), ["cluster.ca"], "no TLS");
        let missing = Cluster { ca: Some("/does/not/exist".into()), nkey_file: Some("/nor/this".into()), ..remote() };
        assert_eq!(keys(missing), ["cluster.ca", "cluster.nkey_file"]);
    }

    #[test]
    fn a_weaker_durability_and_streams_of_several_cells_are_refused_in_a_cluster() {
        let mut config = Config { cluster: Cluster { cells: 2, ..cluster() }, ..Config::default() };
        config.streams.push(toml::from_str("name = \"orders\"\ntopic = \"orders/#\"").unwrap());
        config.server.durability = Durability::Crash;
        let keys: Vec<String> = config.problems().into_iter().map(|problem| problem.key).collect();
        assert!(keys.contains(&"server.durability".to_owned()) && keys.contains(&"streams[0]".to_owned()), "{keys:?}");
        config.cluster.cells = 1;
        let keys: Vec<String> = config.problems().into_iter().map(|problem| problem.key).collect();
        assert!(keys.contains(&"server.durability".to_owned()) && !keys.contains(&"streams[0]".to_owned()), "{keys:?}");
        config.cluster = Cluster::default();
        let keys: Vec<String> = config.problems().into_iter().map(|problem| problem.key).collect();
        assert!(!keys.contains(&"server.durability".to_owned()), "{keys:?}");
    }

    #[test]
    fn what_belongs_to_one_broker_is_refused_with_several_cells() {
        let mut config = Config { cluster: Cluster { cells: 2, ..cluster() }, ..Config::default() };
        let problems = |config: &Config| -> Vec<String> {
            let of_cells = |problem: &Problem| problem.text.contains("cluster.cells");
            config.problems().into_iter().filter(of_cells).map(|problem| problem.key).collect()
        };
        config.listeners = vec![Listener::new("127.0.0.1:0".parse().unwrap()); 2];
        config.listeners[1].client_id = ClientIdRule::UserName;
        config.probe.enabled = true;
        config.mqtt.exclusive_subscriptions = true;
        assert_eq!(problems(&config), ["probe.enabled", "mqtt.exclusive_subscriptions", "listeners[1].client_id"]);
        assert!(config.cluster.has_cells() && config.cluster.passes_clients());
        config.cluster.cells = 1;
        assert_eq!(problems(&config), [""; 0]);
        assert!(!config.cluster.has_cells() && !config.cluster.passes_clients());
        assert!(!Cluster { cells: 2, ..Cluster::default() }.has_cells(), "no cluster");
    }

    #[test]
    fn addresses_can_be_one_text_as_the_environment_has_it() {
        let cluster: Cluster = toml::from_str("nats = \"nats://a, nats://b\"").unwrap();
        assert_eq!(cluster.nats, ["nats://a", "nats://b"]);
    }
}
