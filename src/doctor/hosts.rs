//! The other brokers of bridges and the services of sinks: whether their names can be resolved, and the files of sinks be used. Nothing connects to
//! them.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use oncemq::config::Config;
use oncemq::server::check_sinks;

use super::finding::Findings;

pub(super) fn examine(config: &Config, findings: &mut Findings) {
    if let Err(reason) = check_sinks(config) {
        let mend = "mend the file, and reload: until then the sink does not run, and its session keeps what is queued";
        findings.error(SUBJECT, reason, mend);
    }
    let names = names(config);
    let mut answers = answers(&names);
    for (name, who) in names {
        let (who, failure) = (who.join(", "), answers.remove(&name));
        match failure {
            Some(Ok(())) => findings.ok(SUBJECT, format!("{name} can be resolved ({who})")),
            Some(Err(reason)) => findings.warning(SUBJECT, format!("{name} can't be resolved ({who}): {reason}"), MEND),
            None => findings.warning(SUBJECT, format!("no name server answers for {name} ({who})"), MEND),
        }
    }
}

/// The names of hosts, each with who connects there. Addresses need no name server.
fn names(config: &Config) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |host: &str, who: String| {
        if host.parse::<IpAddr>().is_err() && (names.len() < NAMES_MAX || names.contains_key(host)) {
            let all = names.entry(host.to_owned()).or_default();
            if !all.contains(&who) {
                all.push(who);
            }
        }
    };
    for bridge in &config.bridges {
        for address in bridge.parsed_addresses() {
            add(&address.host, format!("bridge {}", bridge.name));
        }
    }
    for sink in &config.sinks {
        // A URL that can't be used was named above.
        let Ok(target) = sink.target() else { continue };
        let host = target.uri.host().unwrap_or_default();
        add(host.trim_matches(['[', ']']), format!("sink {}", sink.name));
    }
    names
}

/// What the resolver of the system says about each name, as far as it does in time.
fn answers(names: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Result<(), String>> {
    let (sender, receiver) = mpsc::channel();
    for name in names.keys().cloned() {
        let sender = sender.clone();
        // It ends with the process if the name server is silent.
        thread::spawn(move || {
            let resolved = (&*name, 0).to_socket_addrs().map(drop).map_err(|error| error.to_string());
            // The receiver may be gone; then the result is not needed.
            let _ = sender.send((name, resolved));
        });
    }
    drop(sender);
    let mut answers = BTreeMap::new();
    while let Ok((name, resolved)) = receiver.recv_timeout(PATIENCE) {
        answers.insert(name, resolved);
    }
    answers
}

const SUBJECT: &str = "bridges and sinks";
const MEND: &str =
    "mend the name, or the name servers of this machine (/etc/resolv.conf); bridges and sinks try again by themselves";
/// Each is asked for in a thread of its own.
const NAMES_MAX: usize = 64;
/// The longest time without a further answer.
const PATIENCE: Duration = Duration::from_secs(5);
