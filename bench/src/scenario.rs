//! The scenarios: what each is asked, its defaults, and how it runs.

mod idle;
mod kept;
mod steady;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::packet::{QoS, Retain};
use crate::plan::{self, Pace, Plan};
use crate::process;
use crate::report::Report;
use crate::stamp::Stamp;

/// Which scenario, and its measures.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScenarioArgs {
    /// What to run
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// QoS of publishing and subscribing; 1 for `offline`, else 0
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: Option<u8>,
    /// Bytes of a payload, at least 24; 64 KiB for `large`, else 64
    #[arg(long)]
    pub(crate) payload: Option<usize>,
    /// Publishers; 1 for `fan-out`, `retained` and `offline`, 10 for `large`, else 50
    #[arg(long, visible_alias = "pairs")]
    pub(crate) publishers: Option<usize>,
    /// Subscribers of `fan-out` (1,000), members of `shared` (10), sessions of `wildcards` (100)
    #[arg(long)]
    pub(crate) subscribers: Option<usize>,
    /// Messages a publisher has in flight, 1 for one at a time; 20 for `fan-out`, 4 for `large`, else 64
    #[arg(long)]
    pub(crate) window: Option<usize>,
    /// Filters of `wildcards` (1,000), messages of `retained` (10,000) and `offline` (20,000), connections of `idle` (10,000)
    #[arg(long)]
    pub(crate) count: Option<usize>,
    /// How long to measure
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// How many messages to publish and measure, instead of a time
    #[arg(long)]
    pub(crate) messages: Option<u64>,
}

/// What a broker can be put through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publishers with a subscriber each
    Pairs,
    /// One publisher, many subscribers
    FanOut,
    /// Many publishers, one subscriber
    FanIn,
    /// Many publishers, one shared subscription
    Shared,
    /// Many wildcard filters, topics that match three each
    Wildcards,
    /// Retained messages, replayed to new subscribers
    Retained,
    /// Messages queued for a session that is away, drained when it returns
    Offline,
    /// Pairs at QoS 0 whose publishers never wait; losses are counted, not condemned
    Flood,
    /// Connections that do nothing
    Idle,
    /// Pairs with large payloads
    Large,
}

/// The process to measure, and where it listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
}

/// The arguments, with the defaults of their scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measures {
    scenario: Scenario,
    qos: QoS,
    payload: usize,
    publishers: usize,
    subscribers: usize,
    window: usize,
    count: usize,
    seconds: f64,
    messages: Option<u64>,
    run: u32,
}

/// Runs a scenario.
pub(crate) fn run(args: &ScenarioArgs, target: Target) -> Result<Report> {
    let measures = Measures::new(args, target.pid)?;
    process::ensure_open_files(measures.connections())?;
    match args.scenario {
        Scenario::Idle => idle::run(&measures, target),
        Scenario::Retained => kept::run_retained(&measures, target),
        Scenario::Offline => kept::run_offline(&measures, target),
        Scenario::Pairs
        | Scenario::FanOut
        | Scenario::FanIn
        | Scenario::Shared
        | Scenario::Wildcards
        | Scenario::Flood
        | Scenario::Large => steady::run(&measures, target),
    }
}

impl ScenarioArgs {
    /// How many connections the scenario takes.
    pub(crate) fn connections(&self) -> Result<usize> {
        Ok(Measures::new(self, 0)?.connections())
    }
}

impl Measures {
    fn new(args: &ScenarioArgs, pid: u32) -> Result<Self> {
        let defaults = Defaults::of(args.scenario);
        let measures = Self {
            scenario: args.scenario,
            qos: QoS::from_bits(args.qos.unwrap_or(defaults.qos)).context("QoS is 0, 1 or 2")?,
            payload: args.payload.unwrap_or(defaults.payload),
            publishers: args.publishers.unwrap_or(defaults.publishers),
            subscribers: args.subscribers.unwrap_or(defaults.subscribers),
            window: args.window.unwrap_or(defaults.window),
            count: args.count.unwrap_or(defaults.count),
            seconds: args.seconds,
            messages: args.messages,
            run: run_number(pid),
        };
        measures.check()?;
        Ok(measures)
    }

    fn check(&self) -> Result<()> {
        if !(Stamp::LEN..=PAYLOAD_MAX).contains(&self.payload) {
            bail!("--payload is from {} to {PAYLOAD_MAX}", Stamp::LEN);
        }
        if !(1..=WINDOW_MAX).contains(&self.window) {
            bail!("--window is from 1 to {WINDOW_MAX}");
        }
        if self.publishers == 0 || self.subscribers == 0 || self.count == 0 || self.messages == Some(0) {
            bail!("--publishers, --subscribers, --count and --messages are at least 1");
        }
        if !(0.1..=3_600.0).contains(&self.seconds) {
            bail!("--seconds is from 0.1 to 3600");
        }
        match self.scenario {
            Scenario::Flood if self.qos != QoS::AtMostOnce => bail!("`flood` is at QoS 0: at 1 and 2 publishers wait"),
            Scenario::Offline if self.qos == QoS::AtMostOnce => bail!("`offline` is at QoS 1 or 2: 0 is not queued"),
            Scenario::Wildcards if self.subscribers < 3 || self.count < 3 => {
                bail!("`wildcards` needs at least 3 filters in 3 sessions")
            }
            Scenario::Pairs
            | Scenario::FanOut
            | Scenario::FanIn
            | Scenario::Shared
            | Scenario::Wildcards
            | Scenario::Retained
            | Scenario::Offline
            | Scenario::Flood
            | Scenario::Idle
            | Scenario::Large => Ok(()),
        }
    }

    /// Who takes part.
    fn plan(&self) -> Plan {
        let Self { run, publishers, subscribers, count, .. } = *self;
        let (streams, receivers) = match self.scenario {
            Scenario::FanOut => plan::fan_out(run, subscribers),
            Scenario::FanIn => plan::fan_in(run, publishers),
            Scenario::Shared => plan::shared(run, publishers, subscribers),
            Scenario::Wildcards => plan::wildcards(run, count, subscribers),
            Scenario::Retained => plan::tree(run, count),
            Scenario::Pairs | Scenario::Offline | Scenario::Flood | Scenario::Idle | Scenario::Large => {
                plan::pairs(run, publishers)
            }
        };
        let keeps = self.scenario == Scenario::Retained;
        let publishers = plan::deal(streams.len(), if keeps { 1 } else { publishers });
        Plan {
            run,
            // A retained message is acknowledged, so that the replay begins when all are stored.
            publish_qos: if keeps { self.qos.max(QoS::AtLeastOnce) } else { self.qos },
            subscribe_qos: self.qos,
            retain: if keeps { Retain::Keep } else { Retain::PassOn },
            payload_len: self.payload,
            pace: self.pace(),
            window: self.window,
            streams,
            publishers,
            receivers,
        }
    }

    const fn pace(&self) -> Pace {
        match self.scenario {
            Scenario::Flood => Pace::Unbounded,
            Scenario::FanOut => Pace::AllDelivered,
            Scenario::Retained | Scenario::Offline => Pace::Acknowledged,
            Scenario::Pairs
            | Scenario::FanIn
            | Scenario::Shared
            | Scenario::Wildcards
            | Scenario::Idle
            | Scenario::Large => Pace::EachDelivered,
        }
    }

    fn connections(&self) -> usize {
        if self.scenario == Scenario::Idle { self.count } else { self.plan().connections() }
    }
}

#[derive(Debug)]
struct Defaults {
    qos: u8,
    payload: usize,
    publishers: usize,
    subscribers: usize,
    window: usize,
    count: usize,
}

impl Defaults {
    const fn of(scenario: Scenario) -> Self {
        let usual = Self { qos: 0, payload: 64, publishers: 50, subscribers: 10, window: 64, count: 10_000 };
        match scenario {
            Scenario::Pairs | Scenario::Flood | Scenario::FanIn | Scenario::Shared | Scenario::Idle => usual,
            Scenario::FanOut => Self { publishers: 1, subscribers: 1_000, window: 20, ..usual },
            Scenario::Wildcards => Self { subscribers: 100, count: 1_000, ..usual },
            Scenario::Retained => Self { publishers: 1, ..usual },
            Scenario::Offline => Self { qos: 1, publishers: 1, count: 20_000, ..usual },
            Scenario::Large => Self { payload: 65_536, publishers: 10, window: 4, ..usual },
        }
    }
}

/// A number that two runs hardly share.
fn run_number(broker_pid: u32) -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(broker_pid).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// What the generator's buffers may take for one packet.
const PAYLOAD_MAX: usize = 16 << 20;
/// Half of all Packet Identifiers, so that a free one is near.
const WINDOW_MAX: usize = 32_767;

#[cfg(test)]
mod tests;
