//! A load generator for MQTT brokers: what a message costs them, and whether it arrives.

mod broker;
mod clock;
mod compare;
mod connection;
mod flow;
mod goals;
mod ledger;
mod mixed;
mod packet;
mod packet_ids;
mod peers;
mod plan;
mod plot;
mod process;
mod relay;
mod report;
mod rounds;
mod scenario;
mod stamp;
mod statistics;
mod swarm;
mod table;
mod traffic;
mod transport;
mod verdict;
mod websocket;

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::compare::CompareArgs;
use crate::goals::GoalsArgs;
use crate::relay::RelayArgs;
use crate::report::{Report, digits};
use crate::scenario::{ScenarioArgs, Target};
use crate::transport::Endpoint;
use crate::verdict::Verdict;

/// Puts load on MQTT brokers (3.1.1) and measures what it costs them.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario against a broker that is up
    Run(RunArgs),
    /// Start brokers in turn and set them side by side
    Compare(CompareArgs),
    /// Run what the project's goals need, and say which are kept
    Goals(GoalsArgs),
    /// Be a bare relay, to compare with
    Relay(RelayArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Where the broker listens
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Where the broker listens, for the transport of the scenario
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// The certificate that signed the broker's, which is for `localhost`; for TLS
    #[arg(long)]
    authority: Option<PathBuf>,
    /// The broker's process
    #[arg(long)]
    pid: u32,
    /// Write the figures to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Goals(args) => goals::run(&args),
        Command::Relay(args) => relay::run(&args).map(|()| Verdict::Kept),
    };
    match outcome {
        Ok(Verdict::Kept) => ExitCode::SUCCESS,
        Ok(Verdict::Broken) => ExitCode::from(EXIT_BROKEN),
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> Result<Verdict> {
    let address = SocketAddr::new(args.host, args.port);
    let endpoint = Endpoint::new(address, args.scenario.transport, args.authority.as_deref())?;
    let report = scenario::run(&args.scenario, &Target { endpoint, pid: args.pid })?;
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    print(&report)?;
    Ok(if report.is_broken() { Verdict::Broken } else { Verdict::Kept })
}

fn print(report: &Report) -> Result<()> {
    let mut output = io::stdout().lock();
    for figure in &report.figures {
        writeln!(output, "{:<32}{:>12}", figure.name, digits(figure.value))?;
    }
    for what in &report.broken {
        writeln!(output, "BROKEN: {what}")?;
    }
    Ok(())
}

/// Apart from 1, by which the run itself failed.
const EXIT_BROKEN: u8 = 3;
