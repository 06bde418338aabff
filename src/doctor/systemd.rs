//! The unit of systemd, where that is the init system.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use oncemq::config::Config;

use super::finding::Findings;

pub(super) fn examine(config: &Config, findings: &mut Findings) {
    if !Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let mut command = Command::new("systemctl");
    command.args(["show", UNIT, "--no-pager", "--property", PROPERTIES]).stdin(Stdio::null());
    let Ok(output) = command.output() else { return };
    judge(&String::from_utf8_lossy(&output.stdout), config, findings);
}

fn judge(shown: &str, config: &Config, findings: &mut Findings) {
    let properties: HashMap<&str, &str> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    let property = |name: &str| properties.get(name).copied().unwrap_or_default();
    if property("LoadState") != "loaded" {
        findings.note(
            SUBJECT,
            format!("there is no unit {UNIT}"),
            "the packages install one; configs/oncemq.service is an example",
        );
        return;
    }
    let before = (findings.count(super::Severity::Error), findings.count(super::Severity::Warning));
    if property("ActiveState") == "failed" {
        findings.error(SUBJECT, format!("{UNIT} has failed"), "systemctl status oncemq, journalctl -u oncemq");
    }
    if property("Restart") == "no" {
        findings.warning(
            SUBJECT,
            format!("{UNIT} is not restarted when it fails"),
            "Restart=on-failure in systemctl edit oncemq",
        );
    }
    let files = property("LimitNOFILE").parse().unwrap_or(u64::MAX);
    if files < config.limits.connections_max as u64 {
        let text = format!(
            "{UNIT} has LimitNOFILE={files}, less than limits.connections_max = {}",
            config.limits.connections_max
        );
        findings.warning(SUBJECT, text, "LimitNOFILE=131072 in systemctl edit oncemq");
    }
    let drain = config.server.drain_timeout;
    if span(property("TimeoutStopUSec")).is_some_and(|stop| stop <= drain) {
        let text = format!("{UNIT} is killed after {}, before server.drain_timeout ends", property("TimeoutStopUSec"));
        findings.warning(SUBJECT, text, "TimeoutStopSec=30 in systemctl edit oncemq");
    }
    if matches!(property("WatchdogUSec"), "0" | "infinity") {
        findings.note(
            SUBJECT,
            format!("{UNIT} has no watchdog"),
            "WatchdogSec=60 restarts a broker that makes no progress",
        );
    }
    if (findings.count(super::Severity::Error), findings.count(super::Severity::Warning)) == before {
        findings.ok(SUBJECT, format!("{UNIT} is loaded and {}", property("ActiveState")));
    }
}

/// A time span as systemd prints it, such as `1min 30s`; `None` if it has no end.
fn span(text: &str) -> Option<Duration> {
    let mut whole = Duration::ZERO;
    for word in text.split_whitespace() {
        let digits = word.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(word.len());
        let (number, unit) = word.split_at_checked(digits)?;
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        whole = whole.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(whole)
}

const SUBJECT: &str = "systemd";
const UNIT: &str = "oncemq.service";
const PROPERTIES: &str = "LoadState,ActiveState,Restart,LimitNOFILE,TimeoutStopUSec,WatchdogUSec";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;

    #[test]
    fn spans_of_systemd_are_read() {
        let spans =
            ["1min 30s", "8s", "500ms", "infinity", "", "x"].map(|text| span(text).map(|span| span.as_millis()));
        assert_eq!(spans, [Some(90_000), Some(8_000), Some(500), None, None, None]);
    }

    #[test]
    fn a_unit_is_judged() {
        let found = |shown: &str| {
            let mut findings = Findings::default();
            judge(shown, &Config::default(), &mut findings);
            findings.sorted().iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        let good = "LoadState=loaded\nActiveState=active\nRestart=on-failure\nLimitNOFILE=131072\nTimeoutStopUSec=30s\nWatchdogUSec=1min\n";
        assert_eq!(found(good), [Severity::Ok]);
        assert_eq!(found("LoadState=not-found\n"), [Severity::Note]);
        for (from, to, severity) in [
            ("=active", "=failed", Severity::Error),
            ("on-failure", "no", Severity::Warning),
            ("131072", "1024", Severity::Warning),
            ("30s", "5s", Severity::Warning),
            ("1min", "0", Severity::Note),
        ] {
            assert_eq!(found(&good.replace(from, to))[0], severity, "{to}");
        }
        assert_eq!(found(&good.replace("131072", "infinity").replace("30s", "infinity")), [Severity::Ok]);
    }
}
