//! Memory, and the queue of connections that the kernel keeps.

use std::fs;
use std::path::{Path, PathBuf};

use oncemq::config::Config;

use super::finding::Findings;
use super::running::Running;
use crate::output::size;

pub(super) fn examine(config: &Config, running: &Running, findings: &mut Findings) {
    let group = fs::read_to_string(running.proc("cgroup")).ok().and_then(|text| group_limit(&text));
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    memory(config.limits.memory_max, group, machine, findings);
    let backlog = fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok());
    if let Some(backlog) = backlog {
        queue(backlog, findings);
    }
}

fn memory(budget: Option<u64>, group: Option<u64>, machine: Option<u64>, findings: &mut Findings) {
    let Some(limit) = group.into_iter().chain(machine).min() else { return };
    let of = if group == Some(limit) { "the control group" } else { "the machine" };
    let has = format!("{of} has {}", in_units(limit));
    match budget {
        Some(budget) if budget >= limit => {
            let text = format!(
                "limits.memory_max is {}, and {has}: the kernel ends the broker before it makes room",
                in_units(budget)
            );
            findings.error(MEMORY, text, "limits.memory_max = \"auto\", or more memory");
        }
        Some(budget) if budget > limit / 10 * 9 => {
            let text = format!(
                "limits.memory_max is {}, and {has}: nothing is left for the buffers of the kernel",
                in_units(budget)
            );
            findings.warning(MEMORY, text, "limits.memory_max = \"auto\", which is three quarters");
        }
        Some(budget) => findings.ok(MEMORY, format!("limits.memory_max is {}, and {has}", in_units(budget))),
        None => findings.ok(MEMORY, format!("{has}; limits.memory_max is three quarters of it")),
    }
    if limit < MEMORY_LOW {
        findings.note(MEMORY, has, "docs/SIZING.md says how much a broker needs");
    }
}

fn queue(backlog: u32, findings: &mut Findings) {
    let text = format!("net.core.somaxconn is {backlog}");
    if backlog < BACKLOG_LOW {
        let text = format!("{text}: when many clients reconnect at once, the kernel drops some of their connections");
        findings.note("kernel", text, "sysctl -w net.core.somaxconn=4096");
    } else {
        findings.ok("kernel", text);
    }
}

/// The lowest limit of a control group of version 2 and those above it.
fn group_limit(cgroup: &str) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    let path: PathBuf = root.join(path.trim_start_matches('/'));
    let groups = path.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(|group| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn in_units(bytes: u64) -> String {
    size(bytes as f64)
}

const MEMORY: &str = "memory";
const MEMORY_LOW: u64 = 128 << 20;
const BACKLOG_LOW: u32 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;

    #[test]
    fn a_budget_above_the_limit_is_an_error() {
        let found = |budget, group, machine| {
            let mut findings = Findings::default();
            memory(budget, group, machine, &mut findings);
            findings.sorted().first().map(|finding| finding.severity)
        };
        let gibibytes = |count: u64| Some(count << 30);
        assert_eq!(found(gibibytes(4), gibibytes(2), gibibytes(8)), Some(Severity::Error));
        assert_eq!(found(gibibytes(8), None, gibibytes(8)), Some(Severity::Error));
        assert_eq!(found(Some(1_900 << 20), gibibytes(2), gibibytes(8)), Some(Severity::Warning));
        assert_eq!(found(gibibytes(1), gibibytes(2), gibibytes(8)), Some(Severity::Ok));
        assert_eq!(found(None, None, gibibytes(8)), Some(Severity::Ok));
        assert_eq!(found(None, Some(64 << 20), None), Some(Severity::Note));
        assert_eq!(found(None, None, None), None);
        assert_eq!(total("MemTotal:       2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn a_short_queue_is_noted() {
        let found = |backlog| {
            let mut findings = Findings::default();
            queue(backlog, &mut findings);
            findings.sorted()[0].severity
        };
        assert_eq!([128, 4_096].map(found), [Severity::Note, Severity::Ok]);
    }
}
