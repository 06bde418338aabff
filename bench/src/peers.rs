//! The table of brokers: how to start each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::transport::Transport;

/// How to start a broker, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BrokerSpec {
    pub(crate) name: String,
    pub(crate) command: String,
    /// The content of `{config}`.
    pub(crate) config: String,
    /// The version that the program prints.
    pub(crate) version: Option<String>,
    /// The highest QoS it supports.
    pub(crate) qos_max: u8,
    /// Names of figures, with the names of the Prometheus counters they come from, at
    /// `http://127.0.0.1:{admin_port}/metrics`.
    pub(crate) counters: BTreeMap<String, String>,
}

/// The table of brokers.
#[derive(Debug)]
pub(crate) struct Peers {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Entry {
    /// Another entry that provides the values missing here.
    like: Option<String>,
    command: Option<String>,
    config: Option<String>,
    /// A command that prints the version on its first line.
    version: Option<String>,
    qos_max: Option<u8>,
    counters: BTreeMap<String, String>,
}

impl Peers {
    /// Reads the table.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(Self { entries: toml::from_str(text)? })
    }

    /// The broker with a name in the table, or the one that NAME=COMMAND describes.
    pub(crate) fn broker(&self, text: &str) -> Result<BrokerSpec> {
        let (name, entry) = match text.split_once('=') {
            Some((name, command)) => (name, Entry { command: Some(command.to_owned()), ..Entry::default() }),
            None => (text, self.entry(text, LIKE_MAX)?),
        };
        let command = entry.command.unwrap_or_default();
        if name.is_empty() || !(command.contains("{port}") || command.contains("{config}")) {
            bail!("a broker needs a name, and {{port}} or {{config}} in its command: '{text}'");
        }
        let version = entry.version.as_deref().and_then(first_line);
        let config = entry.config.unwrap_or_default();
        let qos_max = entry.qos_max.unwrap_or(2);
        Ok(BrokerSpec { name: name.to_owned(), command, config, version, qos_max, counters: entry.counters })
    }

    fn entry(&self, name: &str, depth: usize) -> Result<Entry> {
        let known = || self.entries.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let entry = self.entries.get(name).with_context(|| format!("no broker '{name}' among {}", known()))?.clone();
        let Some(like) = &entry.like else { return Ok(entry) };
        if depth == 0 {
            bail!("'{name}' is like '{like}', and the chain of `like` is too long");
        }
        let base = self.entry(like, depth - 1)?;
        Ok(Entry {
            like: None,
            command: entry.command.or(base.command),
            config: entry.config.or(base.config),
            version: entry.version.or(base.version),
            qos_max: entry.qos_max.or(base.qos_max),
            counters: if entry.counters.is_empty() { base.counters } else { entry.counters },
        })
    }
}

impl BrokerSpec {
    /// Whether it supports the QoS, and its command or configuration has the port of the transport.
    pub(crate) fn offers(&self, qos: u8, transport: Transport) -> bool {
        let place = match transport {
            Transport::Tcp => return qos <= self.qos_max,
            Transport::Tls => "{tls_port}",
            Transport::Ws => "{ws_port}",
        };
        qos <= self.qos_max && (self.command.contains(place) || self.config.contains(place))
    }
}

/// The directory of this program, which also contains the broker of the same build.
pub(crate) fn bin() -> String {
    let program = std::env::current_exe().ok();
    let directory = program.as_deref().and_then(Path::parent);
    directory.map_or_else(|| ".".to_owned(), |directory| directory.display().to_string())
}

fn first_line(command: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", &command.replace("{bin}", &bin())]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Maximum length of a chain of `like`.
const LIKE_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [a]
        command = "a --config {config}"
        config = "listen {port} {tls_port}"
        version = "echo; echo a 1.0"
        counters = { syncs = "syncs_total" }
        qos_max = 1
        [a-fast]
        like = "a"
        command = "a --fast --config {config}"
        [loop]
        like = "loop"
    "#;

    #[test]
    fn a_broker_comes_from_the_table_or_from_the_command_line() {
        let peers = Peers::parse(TABLE).unwrap();
        let fast = peers.broker("a-fast").unwrap();
        assert_eq!((fast.name.as_str(), fast.command.as_str()), ("a-fast", "a --fast --config {config}"));
        assert_eq!((fast.config.as_str(), fast.version.as_deref()), ("listen {port} {tls_port}", Some("a 1.0")));
        assert_eq!(fast.counters.len(), 1);
        assert!(fast.offers(1, Transport::Tls) && !fast.offers(2, Transport::Tls) && !fast.offers(0, Transport::Ws));
        assert_eq!(peers.broker("b=c --d=e {port}").unwrap().command, "c --d=e {port}");
    }

    #[test]
    fn an_unknown_or_incomplete_broker_is_refused() {
        let peers = Peers::parse(TABLE).unwrap();
        for text in ["b", "loop", "=b {port}", "b=c"] {
            assert!(peers.broker(text).is_err(), "{text}");
        }
        assert!(Peers::parse("[a]\ncomand = 'a'").is_err());
    }

    #[test]
    fn the_table_of_the_repository_is_valid() {
        let peers = Peers::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers.toml"))).unwrap();
        for name in peers.entries.keys() {
            assert!(peers.broker(name).is_ok(), "{name}");
        }
    }
}
