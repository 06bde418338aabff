//! The results, as a page for people and as JSON for programs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Outcome;
use super::cost::Cost;
use super::crash::Crashes;
use super::statements::Checked;
use super::waits::{SYNC_MIN, Verdict, Wait};
use crate::disk::{Latencies, Pace, in_words};

#[derive(Debug)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) binary: PathBuf,
    /// In which the new directory was.
    pub(super) directory: PathBuf,
    pub(super) file_system: Option<String>,
    pub(super) seconds: f64,
    pub(super) sync: Latencies,
    pub(super) crashes: Crashes,
    pub(super) waits: Outcome<Vec<(Verdict, Wait)>>,
    pub(super) costs: Outcome<Vec<Cost>>,
    pub(super) statements: Vec<Checked>,
}

impl Report {
    pub(super) fn has_passed(&self) -> bool {
        let waits =
            self.waits.as_ref().is_ok_and(|waits| waits.iter().all(|(verdict, _)| *verdict != Verdict::TooEarly));
        let statements = self.statements.iter().all(|statement| statement.outcome.is_ok());
        self.crashes.fault.is_none() && waits && self.costs.is_ok() && statements
    }

    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _written = self.write_page(&mut page);
        page
    }

    fn write_page(&self, page: &mut String) -> std::fmt::Result {
        let Self { version, binary, directory, seconds, .. } = self;
        let kind = self.file_system.as_deref().unwrap_or("file system unknown");
        writeln!(page, "{version} ({}) on {} ({kind}), {seconds:.0} seconds", binary.display(), directory.display())?;
        self.write_crashes(page)?;
        self.write_disk(page)?;
        self.write_waits(page)?;
        self.write_costs(page)?;
        self.write_statements(page)?;
        write!(page, "\nNot shown:\n  {NOT_SHOWN}\n\nResult: {}", verdict(self.has_passed()))
    }

    fn write_crashes(&self, page: &mut String) -> std::fmt::Result {
        let Crashes { kills, acknowledged, delivered, restart_max, fault } = &self.crashes;
        writeln!(page, "\nCrashes: {}", verdict(fault.is_none()))?;
        writeln!(
            page,
            "  {kills} kills with SIGKILL under load; {acknowledged} messages acknowledged, {delivered} deliveries compared; the \
             slowest start took {}",
            in_words(*restart_max)
        )?;
        match fault {
            None => writeln!(page, "  nothing acknowledged was lost, nothing was doubled at QoS 2, the order was kept"),
            Some(fault) => writeln!(
                page,
                "  after {} kills, with --durability {}: {}: {}",
                fault.kills, fault.durability, fault.client, fault.text
            ),
        }
    }

    fn write_disk(&self, page: &mut String) -> std::fmt::Result {
        let pace = Pace::of(&self.sync);
        let [p50, p99, max] = [50, 99, 100].map(|percent| in_words(self.sync.percentile(percent)));
        writeln!(page, "\nSyncs of this disk: {}", pace.name())?;
        writeln!(
            page,
            "  p50 {p50}, p99 {p99}, max {max} ({} appends of 512 bytes with fdatasync)",
            self.sync.count()
        )?;
        writeln!(page, "  {}", meaning(pace))
    }

    fn write_waits(&self, page: &mut String) -> std::fmt::Result {
        let waits = match &self.waits {
            Ok(waits) => waits,
            Err(error) => return writeln!(page, "\nAcknowledgements wait for the disk: failed\n  {error}"),
        };
        let of = |wanted: Verdict| waits.iter().any(|(verdict, _)| *verdict == wanted);
        let summary = match (of(Verdict::TooEarly), of(Verdict::Unknown)) {
            (true, _) => "failed",
            (false, true) => "unknown",
            (false, false) => "passed",
        };
        writeln!(page, "\nAcknowledgements wait for the disk: {summary}")?;
        for (verdict, wait) in waits {
            let early = if *verdict == Verdict::TooEarly { "  sooner than a sync of this disk: failed" } else { "" };
            writeln!(page, "  {:<16}  p50 {:>7}{early}", wait.packet, in_words(wait.latencies.percentile(50)))?;
        }
        if summary == "unknown" {
            writeln!(
                page,
                "  One of ten syncs of this disk takes less than {}: too fast to tell by time",
                in_words(SYNC_MIN)
            )?;
        }
        Ok(())
    }

    fn write_costs(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "\nWhat durability costs on this disk (QoS 1, 100 bytes, a subscriber that is away):")?;
        let costs = match &self.costs {
            Ok(costs) => costs,
            Err(error) => return writeln!(page, "  failed: {error}"),
        };
        for Cost { durability, messages_per_second, latency } in costs {
            let [p50, p99] = [50, 99].map(|percent| in_words(latency.percentile(percent)));
            writeln!(page, "  {durability:<10}  {messages_per_second:>7.0} messages/s  p50 {p50:>7}  p99 {p99:>7}")?;
        }
        Ok(())
    }

    fn write_statements(&self, page: &mut String) -> std::fmt::Result {
        let failed: Vec<_> = self.statements.iter().filter(|statement| statement.outcome.is_err()).collect();
        let (all, good) = (self.statements.len(), self.statements.len() - failed.len());
        writeln!(page, "\nStatements of the standards: {good} of {all} passed")?;
        for Checked { id, version, what, outcome } in failed {
            let cause = outcome.as_ref().err().map_or("", String::as_str);
            writeln!(page, "  failed: [{id}] of {}: {what}: {cause}", version.name())?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let Crashes { kills, acknowledged, delivered, restart_max, fault } = &self.crashes;
        let fault = fault.as_ref().map(|fault| {
            json!({ "kills": fault.kills, "durability": fault.durability, "client": fault.client, "text": fault.text })
        });
        let waits = self.waits.as_ref().ok().map(|waits| {
            let wait = |(verdict, wait): &(Verdict, Wait)| {
                let median = seconds(wait.latencies.percentile(50));
                json!({ "packet": wait.packet, "result": verdict.name(), "p50_seconds": median })
            };
            waits.iter().map(wait).collect::<Vec<_>>()
        });
        let costs = self.costs.as_ref().ok().map(|costs| {
            let cost = |cost: &Cost| {
                let [p50, p99] = [50, 99].map(|percent| seconds(cost.latency.percentile(percent)));
                let rate = cost.messages_per_second;
                json!({ "durability": cost.durability, "messages_per_second": rate, "p50_seconds": p50, "p99_seconds": p99 })
            };
            costs.iter().map(cost).collect::<Vec<_>>()
        });
        let statement = |checked: &Checked| {
            let result = verdict(checked.outcome.is_ok());
            let (version, cause) = (checked.version.name(), checked.outcome.as_ref().err());
            json!({ "id": checked.id, "version": version, "what": checked.what, "result": result, "cause": cause })
        };
        let [p50, p99, max] = [50, 99, 100].map(|percent| seconds(self.sync.percentile(percent)));
        let pace = Pace::of(&self.sync).name();
        json!({
            "passed": self.has_passed(),
            "version": self.version,
            "binary": self.binary.display().to_string(),
            "directory": self.directory.display().to_string(),
            "file_system": self.file_system,
            "seconds": self.seconds,
            "crashes": {
                "result": verdict(self.crashes.fault.is_none()),
                "kills": kills,
                "acknowledged": acknowledged,
                "delivered": delivered,
                "restart_max_seconds": seconds(*restart_max),
                "fault": fault,
            },
            "sync": { "pace": pace, "count": self.sync.count(), "p50_seconds": p50, "p99_seconds": p99, "max_seconds": max },
            "waits": waits,
            "waits_error": self.waits.as_ref().err(),
            "costs": costs,
            "costs_error": self.costs.as_ref().err(),
            "statements": self.statements.iter().map(statement).collect::<Vec<_>>(),
            "not_shown": NOT_SHOWN,
        })
    }
}

const fn verdict(is_good: bool) -> &'static str {
    if is_good { "passed" } else { "failed" }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

const fn meaning(pace: Pace) -> &'static str {
    match pace {
        Pace::Implausible => {
            "No disk is that fast: this file system is in memory (tmpfs), or the syncs are ignored. After power loss nothing is left."
        }
        Pace::Fast => {
            "A disk with a cache that survives power loss is that fast, and so is one whose volatile cache ignores flushes: find out which \
             one this is."
        }
        Pace::Plausible => "Such a disk waits for its medium.",
        Pace::Slow => "Each acknowledgement takes that long; many at a time share a sync.",
    }
}

/// What no test of this kind can show.
const NOT_SHOWN: &str = "SIGKILL leaves what the operating system has, so the kills do not show what survives power loss. Whether syncs reach \
                         the medium only the disk knows: pull the plug, or trust its maker.";
