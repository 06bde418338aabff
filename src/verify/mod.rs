//! `oncemq verify`: proves the guarantees on the operator's own disk, with a broker of its own in a new directory.
//!
//! `crash` kills the broker under load, `waits` measures whether acknowledgements wait for the disk, `cost` what that costs, `statements`
//! checks the standards. They share no code with the broker but the codec's side for clients. `report` has the page of results and the JSON.

mod broker;
mod client;
mod cost;
mod crash;
mod link;
mod report;
mod scratch;
mod statements;
mod stop;
mod trouble;
mod waits;

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use oncemq::config::{self, LocationArguments};
use tokio::time::Instant;

use crate::disk::{Latencies, mount, sync_latency};
use crate::output::{eprint, print};
use broker::Program;
use client::Outcome;
use crash::Plan;
use report::Report;
use scratch::Scratch;
use statements::Checked;
use stop::Stop;
pub(crate) use trouble::Trouble;
use waits::{Verdict, Wait};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq verify                              beside the data directory of the configuration, in about a minute
  oncemq verify --dir /mnt/ssd --seconds 20  on another disk
  oncemq verify --rounds 200 --seconds 300   more kills
  oncemq verify --binary ./oncemq-new        another build
  oncemq verify --json > result.json

It starts brokers on free ports of 127.0.0.1 with data in a new directory, which uses at most 128 MiB and is removed in the end, also after
Ctrl-C. It never touches the data of a broker. It loads them with QoS 1 and 2, kills them with SIGKILL, restarts them, and checks that
nothing acknowledged is lost, nothing is doubled at QoS 2, and the order is kept; that acknowledgements wait for the disk; and essential
statements of the standards. It measures the syncs of the disk and what durability costs there. Exit codes: 0 all passed, 1 a check failed,
2 the command line or the configuration can't be right, 3 the checks could not run, 130 interrupted.")]
pub(crate) struct VerifyCommand {
    /// Make the new directory here, on the disk to examine; by default beside the data directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "data"])]
    dir: Option<PathBuf>,
    /// About how long it takes at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// How often the broker is killed, if the time suffices
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rounds: u64,
    /// Examine this build of the broker instead of the running one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    location: LocationArguments,
}

/// Runs all checks and prints the results.
pub(crate) fn run(command: VerifyCommand) -> anyhow::Result<()> {
    let stop = Stop::on_signals()?;
    let parents = match command.dir {
        Some(directory) => vec![directory],
        None => scratch::places(&config::load(&command.location.into()).map_err(Trouble::from)?.config.server.data),
    };
    let binary = command.binary.map_or_else(env::current_exe, |path| {
        path.canonicalize().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    });
    let binary = binary.map_err(Trouble::from)?;
    let scratch = Scratch::create(&parents)?;
    let effort = Effort { seconds: command.seconds, rounds: command.rounds };
    let is_shown = !command.json && io::stderr().is_terminal();
    let report = examine(&Program { binary, directory: scratch.path(), stop: &stop }, &scratch, effort, &|what| {
        if is_shown {
            eprint(what);
        }
    })?;
    drop(scratch);
    print(&if command.json { report.json().to_string() } else { report.page() })?;
    if report.has_passed() { Ok(()) } else { Err(Trouble::Failed.into()) }
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Effort {
    seconds: u64,
    rounds: u64,
}

impl Effort {
    /// This part of the time, in hundredths, and at most `most`.
    fn share(self, percent: u64, most: Duration) -> Duration {
        Duration::from_millis(self.seconds * 10 * percent).min(most)
    }
}

fn examine(
    program: &Program<'_>,
    scratch: &Scratch,
    effort: Effort,
    progress: &dyn Fn(&str),
) -> Result<Report, Trouble> {
    let started = Instant::now();
    let version = version(program)?;
    let directory = scratch.path().parent().unwrap_or(Path::new("/")).to_owned();
    let file_system = mount(&directory).map(|mount| mount.kind);
    progress("measuring the syncs of the disk …");
    let sync = syncs(scratch, effort, program.stop)?;
    progress("killing and restarting the broker under load …");
    let plan = Plan { rounds: effort.rounds, until: started + effort.share(55, Duration::MAX) };
    let crashes = crash::run(program, scratch, plan)?;
    progress("checking statements of the standards …");
    let (statements, waits) = of_one_broker(program, effort)?;
    scratch.check()?;
    progress("measuring what durability costs …");
    let costs = cost::measure(program, effort.share(4, Duration::from_millis(1_500)))?;
    let again = syncs(scratch, effort, program.stop)?;
    scratch.check()?;
    // A disk that others use may be faster at another time.
    let floor = sync.percentile(FLOOR_PERCENT).min(again.percentile(FLOOR_PERCENT));
    let waits = waits
        .map(|waits| waits.into_iter().map(|wait| (Verdict::of(&wait, floor), wait)).collect::<Vec<(Verdict, Wait)>>());
    let binary = program.binary.clone();
    let seconds = started.elapsed().as_secs_f64();
    Ok(Report { version, binary, directory, file_system, seconds, sync, crashes, waits, costs, statements })
}

fn syncs(scratch: &Scratch, effort: Effort, stop: &Stop) -> Result<Latencies, Trouble> {
    let limit = effort.share(4, Duration::from_secs(3));
    let latencies = sync_latency(scratch.path(), SYNCS, limit, &|| stop.is_set());
    stop.check()?;
    latencies.map_err(|source| Trouble::Directory { path: scratch.path().to_owned(), source })
}

/// The checks that need no kill.
fn of_one_broker(program: &Program<'_>, effort: Effort) -> Result<(Vec<Checked>, Outcome<Vec<Wait>>), Trouble> {
    let broker = program.start(DATA, "power-loss")?;
    let statements = statements::check(broker.address, program.stop);
    let until = Instant::now() + effort.share(10, Duration::from_secs(6));
    let waits = waits::measure(broker.address, program.stop, until);
    broker.kill()?;
    program.stop.check()?;
    Ok((statements, waits))
}

/// What the binary says about itself.
fn version(program: &Program<'_>) -> Result<String, Trouble> {
    let fail = |cause: String| Trouble::NoBroker { binary: program.binary.display().to_string(), cause };
    let output = Command::new(&program.binary).arg("--version").env_clear().output();
    let output = output.map_err(|error| fail(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && text.starts_with("oncemq ") {
        Ok(text)
    } else {
        Err(fail("it is no OnceMQ".to_owned()))
    }
}

const DATA: &str = "data";
const SYNCS: usize = 1_000;
/// Nine of ten syncs take longer.
const FLOOR_PERCENT: usize = 10;
