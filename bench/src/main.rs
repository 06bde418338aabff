//! A load generator for MQTT brokers. It measures the cost of messages and checks that they arrive.

mod broker;
mod clock;
mod cluster;
mod compare;
mod connection;
mod flow;
mod goal_table;
mod goals;
mod grow;
mod ledger;
mod mixed;
mod packet;
mod packet_ids;
mod peers;
mod placement;
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

use crate::cluster::ClusterArgs;
use crate::compare::CompareArgs;
use crate::goals::GoalsArgs;
use crate::grow::GrowArgs;
use crate::relay::RelayArgs;
use crate::report::{Report, digits};
use crate::scenario::{ScenarioArgs, Target};
use crate::transport::Endpoint;
use crate::verdict::Verdict;

/// Puts load on MQTT 3.1.1 brokers, and measures its cost.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario against a running broker
    Run(RunArgs),
    /// Start several brokers and compare them
    Compare(CompareArgs),
    /// Run the project's goals, and report which are met
    Goals(GoalsArgs),
    /// Run scenarios at three sizes, and report how their cost grows
    Grow(GrowArgs),
    /// Start three servers of NATS and three nodes of OnceMQ, and measure what a replicated message costs, and how long a fail-over takes
    Cluster(ClusterArgs),
    /// Run a bare relay, as a reference
    Relay(RelayArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// IP address of the broker
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port of the broker, for the transport of the scenario
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// The certificate authority of the broker's certificate, which must be for `localhost`; for TLS
    #[arg(long)]
    authority: Option<PathBuf>,
    /// Process id of the broker
    #[arg(long)]
    pid: u32,
    /// Write the figures to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Goals(args) => goals::run(&args),
        Command::Grow(args) => grow::run(&args),
        Command::Cluster(args) => cluster::run(&args),
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
    let report = scenario::run(&args.scenario, &Target { endpoint, pid: args.pid, beside: Vec::new(), cells: None })?;
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

/// Differs from 1, the code for a run that failed.
const EXIT_BROKEN: u8 = 3;
