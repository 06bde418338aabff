//! File descriptors against the connections that the configuration allows.

use std::fs;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use oncemq::config::{Loaded, Origin};
use oncemq::server::connections_for;

use super::finding::Findings;
use super::running::Running;

pub(super) fn examine(loaded: &Loaded, running: &Running, findings: &mut Findings) {
    let Ok(limits) = fs::read_to_string(running.proc("limits")) else { return };
    let Some((soft, hard)) = open_files(&limits) else { return };
    let config = &loaded.config;
    let shards = match usize::from(config.server.shards) {
        0 => available_parallelism().map_or(1, NonZeroUsize::get),
        shards => shards,
    };
    let configured = config.limits.connections_max;
    let whose = if running.process().is_some() { "the broker" } else { "this process" };
    // The broker raises its limit up to the hard one.
    let possible = connections_for(hard, shards, config.listeners.len()).min(configured);
    let text = format!(
        "{whose} may open {soft} files, up to {hard}: {possible} connections of limits.connections_max = {configured}"
    );
    let mend = format!(
        "LimitNOFILE={} in the unit, ulimit -n, or docker run --ulimit nofile=…",
        configured.saturating_add(31_072)
    );
    let is_chosen = *loaded.origin("limits.connections_max") != Origin::Default;
    if possible < FEW || (possible < configured && is_chosen) {
        findings.warning(SUBJECT, text, &mend);
    } else if possible < configured {
        findings.note(SUBJECT, text, &mend);
    } else {
        findings.ok(SUBJECT, text);
    }
}

/// The soft and the hard limit in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words =
        line.split_whitespace().map(|word| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() });
    Some((words.next()??, words.next()??))
}

const SUBJECT: &str = "descriptors";
/// A default of 1,024 descriptors is too low for a server.
const FEW: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_process_are_read() {
        let line = |rest: &str| open_files(&format!("Limit  Soft\nMax open files            {rest} files\n"));
        assert_eq!(line("1024                 524288"), Some((1_024, 524_288)));
        assert_eq!(line("1024 unlimited"), Some((1_024, u64::MAX)));
        assert_eq!((line("x y"), open_files("")), (None, None));
    }
}
