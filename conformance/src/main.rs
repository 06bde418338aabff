//! The command line.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};

use conformance::broker::Template;
use conformance::case::Case;
use conformance::report::{BrokerUnderTest, ResultFile};
use conformance::runner::{self, Selection, Target};
use conformance::wire::Version;
use conformance::{cases, registry, report};

/// Tests a broker against every normative statement of MQTT 3.1.1 and 5.0.
///
/// The exit code is 0 only if no case failed.
#[derive(Debug, Parser)]
#[command(name = "conformance", disable_version_flag = true, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Action>,
    #[command(flatten)]
    suite: SuiteArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Compare result files (JSON reports), as Markdown: a row for each broker, and the cases that each failed
    ///
    /// Files of the same broker and version count as runs of the same thing: each case with its worst result.
    Table {
        /// Result files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct SuiteArguments {
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
    /// Start another broker for each case: for a broker that stops working after a case
    #[arg(long, requires = "broker")]
    isolated: bool,
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
    /// The broker's name for the JSON report
    #[arg(long, value_name = "NAME", default_value = "")]
    broker_name: String,
    /// The broker's version for the JSON report
    #[arg(long, value_name = "VERSION", default_value = "")]
    broker_version: String,
    /// Settings of the broker that matter for the results, for the JSON report
    #[arg(long, value_name = "TEXT", default_value = "")]
    broker_settings: String,
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
    let Arguments { command, suite } = arguments;
    let cases = cases::all();
    let mut out = io::stdout();
    if let Some(Action::Table { files }) = command {
        let files: Vec<ResultFile> = files.iter().map(|file| ResultFile::read(file)).collect::<Result<_, _>>()?;
        write!(out, "{}", report::table(&files))?;
        return Ok(ExitCode::SUCCESS);
    }
    if suite.check {
        return check(&mut out, &cases);
    }
    let selection = Selection { versions: suite.version, statements: suite.statement, cases: suite.case };
    if suite.list {
        print_list(&mut out, &selection, &cases)?;
        return Ok(ExitCode::SUCCESS);
    }
    let target = match (&suite.broker, &suite.address) {
        (Some(command), _) if suite.isolated => Target::StartedForEachCase(Template::new(command)),
        (Some(command), _) => Target::Started(Template::new(command)),
        (None, Some(address)) => {
            let websocket = suite.websocket.as_deref().map(resolve).transpose()?;
            Target::Running { address: resolve(address)?, websocket }
        }
        (None, None) => bail!("neither HOST:PORT nor --broker is given"),
    };
    let found = runner::run(&target, &selection, &cases, suite.jobs)?;
    write!(out, "{}{}", report::failures(&found), report::summary(&found))?;
    let broker = BrokerUnderTest {
        name: suite.broker_name,
        version: suite.broker_version,
        settings: suite.broker_settings,
        command: suite.broker,
    };
    for file in &suite.report {
        found.write(file, &broker)?;
    }
    Ok(code(found.counts(None).failed == 0))
}

/// Prints what is inconsistent between statements and cases.
fn check(out: &mut impl Write, cases: &[&Case]) -> anyhow::Result<ExitCode> {
    let problems = registry::check(cases);
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    writeln!(out, "{} rows, {} cases, {} problems", registry::rows().len(), cases.len(), problems.len())?;
    Ok(code(problems.is_empty()))
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
