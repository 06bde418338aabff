//! The parameters of a scenario: its arguments, their defaults, and its participants.

use std::hash::{BuildHasher, RandomState};

use anyhow::{Context, Result, bail};

use super::arguments::{Scenario, ScenarioArgs};
use crate::mixed;
use crate::packet::{Protocol, QoS, Retain, SessionKind};
use crate::plan::{self, Pace, Plan};
use crate::stamp::Stamp;

/// The arguments with the defaults of their scenario.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(super) scenario: Scenario,
    qos: QoS,
    payload: usize,
    publishers: usize,
    pub(super) subscribers: usize,
    /// Sessions that receive each message of `offline`.
    receivers: usize,
    pub(super) window: usize,
    pub(super) count: usize,
    /// Number of the last receivers, which disconnect before the measurement.
    pub(super) away: usize,
    rate: Option<f64>,
    pub(super) durable: bool,
    pub(super) stream: Option<String>,
    groups: bool,
    receipts: bool,
    pub(super) cold: bool,
    batch: usize,
    protocol: Protocol,
    pub(super) seconds: f64,
    pub(super) messages: Option<u64>,
    pub(super) run: u32,
}

impl Parameters {
    /// Validates the arguments and fills in defaults.
    pub(super) fn new(args: &ScenarioArgs, pid: u32) -> Result<Self> {
        let defaults = Defaults::of(args.scenario);
        let publishers = args.publishers.unwrap_or(defaults.publishers);
        let one_topic_each = matches!(args.scenario, Scenario::FanIn | Scenario::Shared);
        // In a flood, each publisher has one subscriber unless there are more.
        let subscribers = if args.scenario == Scenario::Flood { publishers } else { defaults.subscribers };
        let replays = args.scenario == Scenario::StreamReplay;
        let parameters = Self {
            scenario: args.scenario,
            qos: QoS::from_bits(args.qos.unwrap_or(defaults.qos)).context("QoS is 0, 1 or 2")?,
            payload: args.payload.unwrap_or(defaults.payload),
            publishers,
            subscribers: args.subscribers.unwrap_or(subscribers),
            receivers: args.receivers.unwrap_or(1),
            window: args.window.unwrap_or(defaults.window),
            count: args.count.unwrap_or(if one_topic_each { publishers } else { defaults.count }),
            away: args.away,
            rate: args.rate,
            durable: args.durable,
            stream: args.stream.clone().or_else(|| replays.then(|| STREAM.to_owned())),
            groups: args.groups,
            receipts: args.receipts,
            cold: args.cold,
            batch: args.batch,
            // A message is refused, and asks for a receipt, in MQTT 5.0 alone.
            protocol: if args.scenario == Scenario::Parked || args.receipts { Protocol::V5 } else { args.protocol },
            seconds: args.seconds,
            messages: args.messages,
            run: run_number(pid),
        };
        parameters.check()?;
        Ok(parameters)
    }

    fn check(&self) -> Result<()> {
        if !(Stamp::LEN..=PAYLOAD_MAX).contains(&self.payload) {
            bail!("--payload must be from {} to {PAYLOAD_MAX}", Stamp::LEN);
        }
        if !(1..=WINDOW_MAX).contains(&self.window) {
            bail!("--window must be from 1 to {WINDOW_MAX}");
        }
        let counts = [self.publishers, self.subscribers, self.receivers, self.count, self.batch];
        if counts.contains(&0) || self.messages == Some(0) {
            bail!("--publishers, --subscribers, --receivers, --count, --batch and --messages must be at least 1");
        }
        if self.receivers > 1 && self.scenario != Scenario::Offline {
            bail!("--receivers is only for `offline`");
        }
        if !(0.1..=3_600.0).contains(&self.seconds) {
            bail!("--seconds must be from 0.1 to 3600");
        }
        if self.rate.is_some_and(|rate| !(1.0..=RATE_MAX).contains(&rate)) {
            bail!("--rate must be from 1 to {RATE_MAX}");
        }
        let kept =
            matches!(self.scenario, Scenario::Offline | Scenario::Retained | Scenario::StreamReplay | Scenario::Parked);
        let connects = matches!(self.scenario, Scenario::Connects | Scenario::Takeovers);
        let still = matches!(self.scenario, Scenario::Idle | Scenario::Subscriptions);
        if self.rate.is_some() && (kept || still || connects || self.scenario == Scenario::Flood) {
            bail!("--rate is only for scenarios with a continuous flow of messages");
        }
        if self.durable && (kept || still) {
            bail!("--durable is only for scenarios with a continuous flow of messages, `connects` and `takeovers`");
        }
        if self.away > 0 && self.scenario != Scenario::Shared {
            bail!("--away is only for `shared`");
        }
        self.check_stream()?;
        self.check_scenario()
    }

    fn check_stream(&self) -> Result<()> {
        let batches = self.batch > 1;
        let waits = matches!(self.pace(), Pace::EachDelivered | Pace::AllDelivered | Pace::Acknowledged);
        if batches && (self.qos == QoS::AtMostOnce || self.protocol != Protocol::V5 || !waits) {
            bail!("--batch requires --qos 1 or 2 and --protocol 5.0, and publishers that wait for their messages");
        }
        if batches && self.window < self.batch {
            bail!("--window must be at least a batch");
        }
        if self.stream.is_some() && self.qos == QoS::ExactlyOnce {
            bail!("--stream requires QoS 0 or 1");
        }
        if self.groups && (self.scenario != Scenario::FanOut || self.stream.is_none()) {
            bail!("--groups is only for `fan-out` with --stream");
        }
        if self.receipts && self.scenario != Scenario::Offline {
            bail!("--receipts is only for `offline`");
        }
        if self.cold && self.scenario != Scenario::StreamReplay {
            bail!("--cold is only for `stream-replay`");
        }
        Ok(())
    }

    fn check_scenario(&self) -> Result<()> {
        let Self { scenario, qos, count, publishers, subscribers, .. } = *self;
        let complaint = match scenario {
            Scenario::Flood if qos != QoS::AtMostOnce => "`flood` requires QoS 0: at QoS 1 and 2 publishers wait",
            Scenario::Offline if qos == QoS::AtMostOnce => {
                "`offline` requires QoS 1 or 2: QoS 0 messages are not queued"
            }
            Scenario::Mixed if qos != QoS::AtMostOnce => "`mixed` takes no QoS: each kind of message has its own",
            Scenario::Topics | Scenario::FanIn | Scenario::Shared if count < publishers => {
                "--count must be at least a topic for each publisher"
            }
            Scenario::Parked if qos != QoS::AtLeastOnce => "`parked` requires QoS 1",
            Scenario::Flood if subscribers < publishers => "`flood` needs a subscriber for each publisher",
            Scenario::Wildcards if subscribers < 3 || count < 3 => "`wildcards` needs at least 3 filters in 3 sessions",
            Scenario::Pairs
            | Scenario::FanOut
            | Scenario::FanIn
            | Scenario::Shared
            | Scenario::Topics
            | Scenario::Wildcards
            | Scenario::Retained
            | Scenario::Offline
            | Scenario::StreamReplay
            | Scenario::Flood
            | Scenario::Idle
            | Scenario::Connects
            | Scenario::Takeovers
            | Scenario::Subscriptions
            | Scenario::Large
            | Scenario::Parked
            | Scenario::Mixed => return Ok(()),
        };
        bail!(complaint)
    }

    /// The participants.
    pub(super) fn plan(&self) -> Plan {
        let Self { run, publishers, subscribers, receivers, count, .. } = *self;
        let keeps = self.scenario == Scenario::Retained;
        let (mut streams, mut receivers) = match self.scenario {
            Scenario::FanOut => plan::fan_out(run, count, subscribers),
            Scenario::Offline if receivers > 1 => plan::fan_out(run, 1, receivers),
            Scenario::FanIn => plan::fan_in(run, count),
            Scenario::Shared => plan::shared(run, count, subscribers + self.away),
            Scenario::Topics => plan::topics(run, count, publishers),
            Scenario::Wildcards => plan::wildcards(run, count, subscribers),
            Scenario::Retained => plan::tree(run, count),
            Scenario::Subscriptions => plan::subscriptions(run, count, subscribers),
            Scenario::Idle | Scenario::Connects | Scenario::Takeovers => (Vec::new(), Vec::new()),
            Scenario::Flood => plan::pairs(run, subscribers),
            Scenario::StreamReplay => plan::fan_out(run, publishers, subscribers),
            Scenario::Pairs | Scenario::Offline | Scenario::Parked | Scenario::Large => plan::pairs(run, publishers),
            Scenario::Mixed => return self.mixed_plan(),
        };
        // At QoS 1 or 2 the message is acknowledged, so the replay begins when all messages are stored.
        let replays = self.scenario == Scenario::StreamReplay;
        let publish_qos = if keeps || replays { self.qos.max(QoS::AtLeastOnce) } else { self.qos };
        streams.iter_mut().for_each(|stream| stream.qos = publish_qos);
        let online = receivers.len() - self.away.min(receivers.len());
        for (number, receiver) in receivers.iter_mut().enumerate() {
            receiver.qos = self.qos;
            let outlives = matches!(self.scenario, Scenario::Offline | Scenario::Parked);
            let durable = self.durable || outlives || number >= online;
            receiver.session = if durable { SessionKind::Durable } else { SessionKind::Clean };
            if let Some(stream) = &self.stream {
                for filter in &mut receiver.filters {
                    *filter = match (replays, self.groups) {
                        (true, _) => format!("$stream/{stream}@earliest"),
                        (false, true) => plan::in_group(filter, stream, number),
                        (false, false) => plan::in_stream(filter, stream),
                    };
                }
            }
        }
        let publishers = plan::distribute(streams.len(), if keeps || self.receivers > 1 { 1 } else { publishers });
        Plan {
            run,
            retain: if keeps { Retain::Keep } else { Retain::PassOn },
            payload_len: self.payload,
            pace: self.pace(),
            window: self.window,
            batch: self.batch,
            refuses: self.scenario == Scenario::Parked,
            receipts: self.receipts,
            protocol: self.protocol,
            streams,
            publishers,
            receivers,
        }
    }

    /// The maximum number of open connections.
    pub(super) fn connections(&self) -> usize {
        if self.scenario == Scenario::Idle {
            return self.count;
        }
        if self.scenario == Scenario::Takeovers {
            return self.subscribers + self.window; // the old connections end while the new ones begin
        }
        if self.scenario == Scenario::Connects { self.window } else { self.plan().connections() }
    }

    fn mixed_plan(&self) -> Plan {
        let mixed::Fleet { streams, receivers, publishers } = mixed::fleet(self.run, self.publishers);
        Plan {
            run: self.run,
            retain: Retain::PassOn,
            payload_len: self.payload,
            pace: self.pace(),
            window: self.window,
            batch: 1,
            refuses: false,
            receipts: false,
            protocol: self.protocol,
            streams,
            publishers,
            receivers,
        }
    }

    fn pace(&self) -> Pace {
        if let Some(rate) = self.rate {
            return Pace::Scheduled { interval_ns: interval_ns(rate) };
        }
        match self.scenario {
            Scenario::Flood => Pace::Unbounded,
            Scenario::FanOut => Pace::AllDelivered,
            Scenario::Retained | Scenario::Offline | Scenario::StreamReplay | Scenario::Parked => Pace::Acknowledged,
            Scenario::Pairs
            | Scenario::FanIn
            | Scenario::Shared
            | Scenario::Topics
            | Scenario::Wildcards
            | Scenario::Idle
            | Scenario::Connects
            | Scenario::Takeovers
            | Scenario::Subscriptions
            | Scenario::Large
            | Scenario::Mixed => Pace::EachDelivered,
        }
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
            Scenario::Pairs
            | Scenario::Flood
            | Scenario::FanIn
            | Scenario::Shared
            | Scenario::Idle
            | Scenario::Connects
            | Scenario::Topics => usual,
            Scenario::FanOut => Self { publishers: 1, subscribers: 1_000, window: 20, count: 1, ..usual },
            Scenario::Takeovers => Self { subscribers: 1_000, ..usual },
            Scenario::Wildcards => Self { subscribers: 100, count: 1_000, ..usual },
            Scenario::Subscriptions => Self { subscribers: 100, count: 100_000, ..usual },
            Scenario::Retained => Self { publishers: 1, ..usual },
            Scenario::StreamReplay => Self { subscribers: 1, count: 200_000, ..usual },
            Scenario::Parked => Self { qos: 1, ..usual },
            Scenario::Offline => Self { qos: 1, window: 20, count: 50_000, ..usual },
            Scenario::Large => Self { payload: 65_536, publishers: 10, window: 4, ..usual },
            Scenario::Mixed => Self { publishers: 1_000, window: 1, ..usual },
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`check` keeps a rate between 1 and a million"
)]
fn interval_ns(rate: f64) -> u64 {
    (1e9 / rate) as u64
}

/// A number that differs between runs, with high probability.
fn run_number(broker_pid: u32) -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(broker_pid).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The stream in the configuration of the brokers that are compared.
const STREAM: &str = "bench";
/// Maximum payload in bytes, which bounds the generator's buffers.
const PAYLOAD_MAX: usize = 16 << 20;
/// Half of all Packet Identifiers, so that a free one is found quickly.
const WINDOW_MAX: usize = 32_767;
/// More messages per second than any broker accepts.
const RATE_MAX: f64 = 1e6;
