//! The command line.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;

use conformance::broker::Template;
use conformance::case::Case;
use conformance::runner::{self, Selection, Target};
use conformance::wire::Version;
use conformance::{cases, registry, report};

/// Tests a broker against every normative statement of MQTT 3.1.1 and 5.0.
///
/// The exit code is 0 only if no case failed.
#[derive(Debug, Parser)]
#[command(name = "conformance", disable_version_flag = true)]
struct Arguments {
    /// The broker's address
    #[arg(value_name = "HOST:PORT", required_unless_present_any = ["broker", "list", "check"], conflicts_with = "broker")]
    address: Option<String>,
    /// The broker's WebSocket address; with --broker, use {websocket} in the command
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "broker")]
    websocket: Option<String>,
    /// Start the broker with this command, with the placeholders {port}, {data} (a directory) and {websocket}; required
    /// for the cases that restart it
    #[arg(long, value_name = "COMMAND")]
    broker: Option<String>,
    /// Run only this version, 3.1.1 or 5.0; can be repeated
    #[arg(long, value_name = "VERSION", value_parser = version)]
    version: Vec<Version>,
    /// Run only the cases of this statement; can be repeated
    #[arg(long, value_name = "STATEMENT")]
    statement: Vec<String>,
    /// Run only cases whose name contains this; can be repeated
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Write a report to this file: .md, .json, .html or .xml (JUnit); can be repeated
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Number of cases that run concurrently
    #[arg(long, default_value_t = 48)]
    jobs: usize,
    /// List the cases and their statements instead of running them
    #[arg(long)]
    list: bool,
    /// Check that statements and cases match, instead of running them
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // If standard error is closed, the error can't be reported.
            let _written = writeln!(io::stderr(), "conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { address, websocket, broker, version, statement, case, report, jobs, list, check } = arguments;
    let cases = cases::all();
    let mut out = io::stdout();
    if check {
        let problems = registry::check(&cases);
        for problem in &problems {
            writeln!(out, "{problem}")?;
        }
        writeln!(out, "{} rows, {} cases, {} problems", registry::rows().len(), cases.len(), problems.len())?;
        return Ok(code(problems.is_empty()));
    }
    let selection = Selection { versions: version, statements: statement, cases: case };
    if list {
        print_list(&mut out, &selection, &cases)?;
        return Ok(ExitCode::SUCCESS);
    }
    let target = match (broker, address) {
        (Some(command), _) => Target::Started(Template::new(command)),
        (None, Some(address)) => {
            let websocket = websocket.as_deref().map(resolve).transpose()?;
            Target::Running { address: resolve(&address)?, websocket }
        }
        (None, None) => bail!("neither HOST:PORT nor --broker is given"),
    };
    let found = runner::run(&target, &selection, &cases, jobs)?;
    write!(out, "{}{}", report::failures(&found), report::summary(&found))?;
    for file in &report {
        found.write(file)?;
    }
    Ok(code(found.counts(None).failed == 0))
}

fn print_list(out: &mut impl Write, selection: &Selection, cases: &[&Case]) -> io::Result<()> {
    for case in cases {
        for version in Version::ALL.into_iter().filter(|version| selection.takes(case, *version)) {
            writeln!(out, "{version:5} {} {}", case.name, case.statements(version).join(" "))?;
        }
    }
    Ok(())
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = address.to_socket_addrs().with_context(|| format!("resolving {address}"))?;
    addresses.next().with_context(|| format!("{address} has no address"))
}

fn version(text: &str) -> Result<Version, String> {
    let found =
        Version::ALL.into_iter().find(|version| version.name() == text || version.name() == format!("{text}.0"));
    found.ok_or_else(|| "3.1.1 or 5.0".to_owned())
}
