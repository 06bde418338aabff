//! `oncemq doctor`: looks at the machine with the broker's configuration, and names each problem with its mend. It changes nothing.
//!
//! Each file looks at one thing. `finding` is what they find; `page` and JSON are below.

mod certificates;
mod clock;
mod data;
mod descriptors;
mod finding;
mod hosts;
mod kernel;
mod open;
mod ports;
mod running;
mod systemd;

use std::fmt::Write as _;

use clap::Args;
use oncemq::config::{self, LocationArguments};
use serde_json::{Value, json};

use crate::output::print;
use finding::{Finding, Findings, Severity};
use running::Running;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  oncemq doctor                                        with the default configuration
  sudo -u oncemq oncemq doctor --config /etc/oncemq/oncemq.toml --data /var/lib/oncemq
  oncemq doctor --json | jq '.findings[] | select(.severity == \"error\")'

Run it as the user of the broker: others can't see all. It looks at the data directory and its disk, descriptors, ports, certificates, clock,
memory, the unit of systemd, what is open to others, the names of the hosts of bridges and sinks, and asks the broker if it runs. It changes nothing; to measure the disk it writes
256 KiB to a new file beside the data, which has no name and is gone at the end. Exit codes: 0 no errors, 1 errors, 2 the command line
can't be right.")]
pub(crate) struct DoctorCommand {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    location: LocationArguments,
}

/// Some findings are errors.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the findings are errors")]
pub(crate) struct DoctorError(usize);

impl DoctorError {
    /// The exit code of the process.
    pub(crate) const fn exit_code(&self) -> u8 {
        1
    }
}

/// Looks at everything and prints what it finds.
pub(crate) fn run(command: DoctorCommand) -> anyhow::Result<()> {
    let findings = examine(command.location);
    let errors = findings.count(Severity::Error);
    print(&if command.json { json_of(&findings).to_string() } else { page(&findings) })?;
    if errors > 0 { Err(DoctorError(errors).into()) } else { Ok(()) }
}

fn examine(location: LocationArguments) -> Findings {
    let mut findings = Findings::default();
    let loaded = match config::load(&location.into()) {
        Ok(loaded) => loaded,
        Err(error) => {
            // Nothing else can be judged without it.
            findings.error("configuration", error.to_string(), "oncemq config check FILE names each wrong setting");
            return findings;
        }
    };
    let config = &loaded.config;
    let running = Running::find(config);
    running.examine(&mut findings);
    open::examine(&loaded, &mut findings);
    certificates::examine(config, &mut findings);
    data::examine(config, &mut findings);
    ports::examine(config, &running, &mut findings);
    descriptors::examine(&loaded, &running, &mut findings);
    systemd::examine(config, &mut findings);
    clock::examine(&mut findings);
    kernel::examine(config, &running, &mut findings);
    hosts::examine(config, &mut findings);
    findings
}

/// The findings, the worst first.
fn page(findings: &Findings) -> String {
    let mut page = String::new();
    for Finding { severity, subject, text, mend } in findings.sorted() {
        // Writing to a string does not fail.
        let _written = writeln!(page, "{:<8} {subject}: {text}", severity.name());
        if let Some(mend) = mend {
            let _written = writeln!(page, "{:<8} → {mend}", "");
        }
    }
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| findings.count(severity));
    let _written = write!(page, "errors: {}, warnings: {}, notes: {}", counts[0], counts[1], counts[2]);
    page
}

fn json_of(findings: &Findings) -> Value {
    let finding = |finding: &Finding| {
        let Finding { severity, subject, text, mend } = finding;
        json!({ "severity": severity.name(), "subject": subject, "text": text, "mend": mend })
    };
    json!({
        "errors": findings.count(Severity::Error),
        "warnings": findings.count(Severity::Warning),
        "notes": findings.count(Severity::Note),
        "findings": findings.sorted().into_iter().map(finding).collect::<Vec<_>>(),
    })
}
