use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use oncemq::broker::{
    AnonymousSessions, DeadLetterLimits, DelayedLimits, Durability, DurabilityRule, QueueHead, QueueOverflow,
    ReceiptLimits, RedeliveryRules, Settings,
};
use oncemq::codec::Qos;
use oncemq::rewrite::RewriteRules;
use oncemq::routing::ShareStrategy;
use oncemq::store::Level;
use oncemq::store::sim::Loss;
use oncemq::topic::{TopicFilter, TopicName};

use crate::refusing::{KEPT, redelivery_rules};
use crate::rng::Rng;
use crate::streams::streams_of;

/// The kinds of faults in a run, and their frequency.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    pub(crate) shards: usize,
    pub(crate) clients: usize,
    /// How long clients are active, in milliseconds; then faults stop, and all expected messages must arrive.
    pub(crate) duration: u64,
    /// Percent of a client's decisions that end its connection.
    pub(crate) losses: u64,
    /// Percent of the clients with one Session for the whole run, for which every message is checked.
    pub(crate) one_session: u64,
    /// Whether some clients subscribe and unsubscribe repeatedly.
    pub(crate) churn: bool,
    pub(crate) shares: bool,
    pub(crate) retained: bool,
    pub(crate) wills: bool,
    /// Whether some clients have mount points.
    pub(crate) mounts: bool,
    /// Whether some clients read slowly, and the broker's buffers are small.
    pub(crate) slow: bool,
    /// Whether the store is sometimes congested, shards are sometimes full, and clients flood.
    pub(crate) pressure: bool,
    /// Whether some clients refuse messages, and rules say what becomes of these.
    pub(crate) refuses_messages: bool,
    /// Whether there are streams, and clients that read them.
    pub(crate) streams: bool,
    /// Whether an operator trims the streams.
    pub(crate) trims: bool,
    /// Whether the streams keep the last message of each topic.
    pub(crate) keyed: bool,
    /// Whether there are groups of subscribers of streams.
    pub(crate) groups: bool,
    /// Whether some clients have a durable position in a stream.
    pub(crate) kept: bool,
    /// Whether some messages ask for receipts.
    pub(crate) receipts: bool,
    /// Whether queues are so small that messages are dropped, or refused if `rejects` is set.
    pub(crate) small_queues: bool,
    /// Whether a message for a full queue is refused.
    pub(crate) rejects: bool,
    /// Whether the disk is sometimes full.
    pub(crate) disk_fills: bool,
    /// Whether some clients have a small Receive Maximum or Maximum Packet Size.
    pub(crate) small_windows: bool,
    /// Whether messages expire.
    pub(crate) expiry: bool,
    /// The longest delay of the network, in milliseconds.
    pub(crate) network_delay: u64,
    /// The longest delay between shards, in milliseconds.
    pub(crate) forward_delay: u64,
    /// The longest delay of a sync, in milliseconds.
    pub(crate) sync_delay: u64,
    /// The longest delay of a store read and of its result, in milliseconds.
    pub(crate) read_delay: u64,
    /// The average number of steps between crashes; `None` for no crashes.
    pub(crate) crash_every: Option<u64>,
    /// The data that a crash loses.
    pub(crate) loss: Loss,
    pub(crate) level: Level,
    /// Durability levels by topic; the first match applies.
    pub(crate) rules: Vec<(&'static str, Durability)>,
    /// The level of other topics.
    pub(crate) durability: Durability,
}

impl Mix {
    /// No faults, only delays.
    pub(crate) fn calm(rng: &mut Rng) -> Self {
        Self {
            shards: rng.index(4) + 1,
            clients: rng.index(6) + 3,
            duration: rng.between(1_000, 4_000),
            losses: 0,
            one_session: 80,
            churn: false,
            shares: false,
            retained: false,
            wills: false,
            mounts: false,
            slow: false,
            pressure: false,
            refuses_messages: false,
            streams: false,
            trims: true,
            keyed: false,
            groups: false,
            kept: false,
            receipts: false,
            small_queues: false,
            rejects: false,
            disk_fills: false,
            small_windows: false,
            expiry: false,
            network_delay: rng.pick(&[2, 20, 100]),
            forward_delay: rng.pick(&[1, 5, 50]),
            sync_delay: rng.pick(&[1, 10, 100]),
            read_delay: rng.pick(&[1, 10, 200]),
            crash_every: None,
            loss: Loss::Process,
            level: Level::PowerLoss,
            rules: Vec::new(),
            durability: Durability::PowerLoss,
        }
    }

    /// Connections break frequently.
    pub(crate) fn losses(rng: &mut Rng) -> Self {
        Self { losses: rng.pick(&[2, 5, 15]), small_windows: rng.percent(50), ..Self::calm(rng) }
    }

    /// Sessions begin, move, expire and end frequently.
    pub(crate) fn sessions(rng: &mut Rng) -> Self {
        Self { losses: rng.pick(&[10, 20, 40]), one_session: 40, churn: rng.percent(50), ..Self::calm(rng) }
    }

    /// Receivers are slow; windows and queues are small.
    pub(crate) fn slow(rng: &mut Rng) -> Self {
        Self {
            losses: rng.pick(&[0, 2, 10]),
            slow: true,
            small_windows: true,
            small_queues: rng.percent(30),
            ..Self::calm(rng)
        }
    }

    /// Congestion everywhere, intermittently.
    pub(crate) fn pressure(rng: &mut Rng) -> Self {
        Self { shards: rng.index(3) + 1, pressure: true, small_queues: false, duration: 6_000, ..Self::slow(rng) }
    }

    /// Full queues refuse messages; publishers that can't be told so wait.
    pub(crate) fn refusals(rng: &mut Rng) -> Self {
        Self {
            small_queues: true,
            rejects: true,
            shares: rng.percent(30),
            churn: rng.percent(30),
            pressure: rng.percent(30),
            disk_fills: rng.percent(20),
            one_session: rng.pick(&[40, 80, 100]),
            duration: 5_000,
            ..Self::slow(rng)
        }
    }

    /// The disk is full, intermittently.
    pub(crate) fn full_disk(rng: &mut Rng) -> Self {
        let rejects = rng.percent(30);
        Self {
            losses: rng.pick(&[0, 2, 10]),
            disk_fills: true,
            small_queues: rejects,
            rejects,
            shares: rng.percent(30),
            slow: rng.percent(30),
            streams: rng.percent(30),
            one_session: rng.pick(&[50, 80, 100]),
            duration: 5_000,
            ..Self::calm(rng)
        }
    }

    /// The process ends or the machine loses power, sometimes while the disk is full.
    pub(crate) fn crash_full(rng: &mut Rng) -> Self {
        let loss = rng.pick(&[Loss::Process, Loss::Power]);
        Self {
            loss,
            disk_fills: true,
            retained: false,
            wills: false,
            crash_every: Some(rng.pick(&[150, 500, 2_000])),
            ..Self::crashes(rng)
        }
    }

    /// Whether a message can be refused.
    pub(crate) const fn refuses(&self) -> bool {
        self.rejects || self.disk_fills
    }

    /// Whether messages at QoS 1 and 2 are dropped.
    pub(crate) const fn drops(&self) -> bool {
        self.small_queues && !self.rejects
    }

    /// Shared Subscriptions.
    pub(crate) fn shares(rng: &mut Rng) -> Self {
        Self { losses: rng.pick(&[0, 5, 20]), one_session: rng.pick(&[50, 100]), shares: true, ..Self::calm(rng) }
    }

    /// Wills and retained messages.
    pub(crate) fn wills(rng: &mut Rng) -> Self {
        Self {
            losses: rng.pick(&[5, 20]),
            one_session: 50,
            wills: true,
            retained: true,
            churn: rng.percent(50),
            ..Self::calm(rng)
        }
    }

    /// Mount points, in which the same names are different topics; sometimes with crashes.
    pub(crate) fn mounts(rng: &mut Rng) -> Self {
        let mix = if rng.percent(50) { Self::everything(rng) } else { Self::crash_power(rng) };
        Self { clients: mix.clients + 3, mounts: true, shares: true, retained: true, ..mix }
    }

    /// Streams and their readers.
    pub(crate) fn streams(rng: &mut Rng) -> Self {
        Self {
            losses: rng.pick(&[0, 3, 15]),
            streams: true,
            retained: rng.percent(60),
            shares: rng.percent(20),
            slow: rng.percent(30),
            small_windows: rng.percent(50),
            expiry: rng.percent(20),
            ..Self::calm(rng)
        }
    }

    /// Streams through crashes, sometimes with messages of different levels.
    pub(crate) fn crash_streams(rng: &mut Rng) -> Self {
        let mix = match rng.below(3) {
            0 => Self::crash_process(rng),
            1 => Self::crash_power(rng),
            _ => Self::crash_levels(rng),
        };
        Self { streams: true, retained: rng.percent(50), ..mix }
    }

    /// Groups of subscribers of streams.
    pub(crate) fn groups(rng: &mut Rng) -> Self {
        Self { groups: true, trims: rng.percent(30), ..Self::streams(rng) }
    }

    /// Groups, and crashes.
    pub(crate) fn crash_groups(rng: &mut Rng) -> Self {
        Self { groups: true, trims: rng.percent(30), ..Self::crash_streams(rng) }
    }

    /// Groups whose members refuse messages, mostly with crashes.
    pub(crate) fn refused_groups(rng: &mut Rng) -> Self {
        let mix = if rng.percent(30) { Self::groups(rng) } else { Self::crash_groups(rng) };
        Self { refuses_messages: true, ..mix }
    }

    /// Durable positions in streams. Queues are small in some runs: windows must not push anything out.
    pub(crate) fn positions(rng: &mut Rng) -> Self {
        Self { kept: true, trims: rng.percent(30), small_queues: rng.percent(30), ..Self::streams(rng) }
    }

    /// Durable positions, and crashes.
    pub(crate) fn crash_positions(rng: &mut Rng) -> Self {
        Self { kept: true, trims: rng.percent(30), ..Self::crash_streams(rng) }
    }

    /// Messages that ask for receipts.
    pub(crate) fn receipts(rng: &mut Rng) -> Self {
        let refuses_messages = rng.percent(30);
        Self {
            losses: rng.pick(&[0, 3, 15]),
            one_session: rng.pick(&[40, 80, 100]),
            receipts: true,
            refuses_messages,
            churn: rng.percent(30),
            shares: rng.percent(30),
            retained: rng.percent(20),
            slow: rng.percent(20),
            small_queues: !refuses_messages && rng.percent(20),
            small_windows: rng.percent(40),
            expiry: rng.percent(20),
            ..Self::calm(rng)
        }
    }

    /// Messages that ask for receipts, and crashes.
    pub(crate) fn crash_receipts(rng: &mut Rng) -> Self {
        let mix = if rng.percent(50) { Self::crash_process(rng) } else { Self::crash_power(rng) };
        Self { receipts: true, refuses_messages: rng.percent(30), streams: rng.percent(20), wills: false, ..mix }
    }

    /// Streams that keep the last message of each key, all their consumers, and crashes.
    pub(crate) fn crash_keys(rng: &mut Rng) -> Self {
        Self {
            keyed: true,
            groups: rng.percent(50),
            kept: rng.percent(50),
            trims: rng.percent(20),
            duration: rng.between(2_000, 5_000),
            ..Self::crash_streams(rng)
        }
    }

    /// Clients that refuse messages.
    pub(crate) fn redelivery(rng: &mut Rng) -> Self {
        Self {
            losses: rng.pick(&[0, 0, 3, 15]),
            refuses_messages: true,
            one_session: 90,
            slow: rng.percent(20),
            small_windows: rng.percent(50),
            ..Self::calm(rng)
        }
    }

    /// Clients that refuse messages, and crashes.
    pub(crate) fn crash_redelivery(rng: &mut Rng) -> Self {
        let mix = if rng.percent(50) { Self::crash_process(rng) } else { Self::crash_power(rng) };
        Self { refuses_messages: true, one_session: 90, expiry: false, streams: rng.percent(30), ..mix }
    }

    /// A random combination.
    pub(crate) fn everything(rng: &mut Rng) -> Self {
        Self {
            losses: rng.pick(&[0, 3, 10, 30]),
            one_session: rng.pick(&[30, 60, 90]),
            churn: rng.percent(50),
            shares: rng.percent(50),
            retained: rng.percent(50),
            wills: rng.percent(50),
            slow: rng.percent(30),
            small_queues: rng.percent(20),
            small_windows: rng.percent(50),
            expiry: rng.percent(30),
            ..Self::calm(rng)
        }
    }

    /// The process ends repeatedly.
    pub(crate) fn crash_process(rng: &mut Rng) -> Self {
        let level = rng.pick(&[Level::Crash, Level::PowerLoss]);
        Self { loss: Loss::Process, level, ..Self::crashes(rng) }
    }

    /// The machine loses power repeatedly.
    pub(crate) fn crash_power(rng: &mut Rng) -> Self {
        Self { loss: Loss::Power, level: Level::PowerLoss, ..Self::crashes(rng) }
    }

    /// Power loss with messages of different levels.
    pub(crate) fn crash_levels(rng: &mut Rng) -> Self {
        let loss = rng.pick(&[Loss::Process, Loss::Power]);
        let durability = match loss {
            Loss::Process => rng.pick(&[Durability::Crash, Durability::PowerLoss]),
            Loss::Power => Durability::PowerLoss,
        };
        let rules = vec![
            ("t/0", Durability::None),
            ("s/0", Durability::None),
            ("t/1", Durability::Crash),
            ("t/2", Durability::PowerLoss),
        ];
        Self { loss, rules, durability, ..Self::crashes(rng) }
    }

    /// Whether acknowledged messages of this topic survive crashes.
    pub(crate) fn keeps(&self, topic: &TopicName) -> bool {
        let least = match self.loss {
            Loss::Process => Durability::Crash,
            Loss::Power => Durability::PowerLoss,
        };
        self.crash_every.is_none() || self.rules.is_empty() || self.level_of(topic) >= least
    }

    pub(crate) fn level_of(&self, topic: &TopicName) -> Durability {
        if self.streams && streams_of(topic).next().is_some() {
            return Durability::PowerLoss; // that of the store
        }
        let rule = self.rules.iter().find(|(name, _)| *name == topic.as_str());
        rule.map_or(self.durability, |(_, level)| *level)
    }

    /// Connections, Sessions and the process end frequently, so their Wills and shared messages move.
    pub(crate) fn crash_ends(rng: &mut Rng) -> Self {
        Self {
            losses: rng.pick(&[5, 20, 40]),
            one_session: rng.pick(&[30, 60, 100]),
            wills: rng.percent(70),
            shares: rng.percent(70),
            loss: rng.pick(&[Loss::Process, Loss::Power]),
            crash_every: Some(rng.pick(&[40, 80, 150])),
            ..Self::crashes(rng)
        }
    }

    fn crashes(rng: &mut Rng) -> Self {
        Self {
            losses: rng.pick(&[0, 0, 5, 20]),
            one_session: rng.pick(&[50, 80, 100]),
            churn: rng.percent(40),
            shares: rng.percent(30),
            retained: rng.percent(40),
            wills: rng.percent(40),
            slow: rng.percent(10),
            small_windows: rng.percent(40),
            expiry: rng.percent(15),
            crash_every: Some(rng.pick(&[150, 500, 2_000])),
            ..Self::calm(rng)
        }
    }

    pub(crate) fn settings(&self, rng: &mut Rng) -> Settings {
        let strategies = [
            ShareStrategy::RoundRobin,
            ShareStrategy::LeastInFlight,
            ShareStrategy::Sticky,
            ShareStrategy::HashPublisher,
            ShareStrategy::HashTopic,
        ];
        Settings {
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            receive_maximum: NonZeroU16::new(if rng.percent(50) { 4 } else { 20 }).unwrap(),
            topic_alias_maximum: rng.pick(&[0, 3]),
            topic_alias_maximum_outgoing: rng.pick(&[0, 2, 10]),
            topic_length_max: 100,
            topic_levels_max: 10,
            subscriptions_per_session_max: 20,
            queued_messages_max: if self.small_queues { rng.pick(&[3, 10]) } else { 100_000 },
            queued_bytes_max: 100_000_000,
            queue_head: Some(QueueHead {
                messages_max: rng.pick(&[1, 2, 3, 10]),
                bytes_max: rng.pick(&[60, 10_000]),
                away_share: rng.pick(&[1, 3]),
            }),
            queue_overflow: if self.rejects { QueueOverflow::Reject } else { QueueOverflow::DropOldest },
            dead_letter_topic: None,
            redelivery: if self.refuses_messages { redelivery_rules(self.groups) } else { RedeliveryRules::default() },
            dead_letter_limits: if self.refuses_messages { KEPT } else { DEAD_LETTERS },
            receipts: if self.receipts { MANY_RECEIPTS } else { RECEIPTS },
            deduplication_window: Duration::from_secs(60),
            deduplication_ids_max: 3,
            check_retain_source: true,
            is_replicated: false,
            delayed_publish: true,
            batch_messages_max: 5,
            delayed_limits: DelayedLimits {
                messages_max: 100,
                bytes_max: 100_000,
                messages_per_client_max: 100,
                bytes_per_client_max: 100_000,
            },
            inflight_messages_max: NonZeroU16::new(rng.pick(&[5, 100])).unwrap(),
            inflight_bytes_max: None,
            outgoing_bytes_max: if self.slow { rng.pick(&[600, 4_000]) } else { 1_000_000 },
            slow_receiver_grace: Duration::from_millis(rng.pick(&[50, 1_000])),
            client_messages_per_second_max: NonZeroU32::new(rng.pick(&[0, 0, 100, 1_000])),
            client_bytes_per_second_max: None, // the bytes are not simulated
            keep_alive_max: if rng.percent(20) { NonZeroU16::new(5) } else { None },
            session_expiry_max: u32::MAX,
            sessions_max: 1_000,
            connect_timeout: Duration::from_secs(20),
            client_id_length_max: 100,
            assigned_client_id_prefix: "auto-".into(),
            anonymous_sessions: AnonymousSessions::End,
            validate_payload_format: true,
            share_strategy: rng.pick(&strategies),
            response_information: None,
            server_reference: None,
            is_standby: false,
            durability: self.durability,
            durability_rules: self.rules.iter().map(rule).collect(),
            exclusive_subscriptions: true,
            rewrite_rules: RewriteRules::default(),
            auto_subscriptions: Vec::new(),
            sys_interval: Duration::ZERO,
            client_events: false,
            listeners: Vec::new(),
            user_limits: oncemq::broker::UserLimits::default(),
            traced_per_million: Some(100_000),
            journey_steps_max: 100,
        }
    }
}

fn rule((topic, level): &(&'static str, Durability)) -> DurabilityRule {
    DurabilityRule { topic_filter: TopicFilter::new((*topic).into()).unwrap(), level: *level }
}

const RECEIPTS: ReceiptLimits =
    ReceiptLimits { open_max: 100, per_client_max: 10, age_max: Duration::from_secs(1_000) };
/// Bounds that no run reaches.
const MANY_RECEIPTS: ReceiptLimits =
    ReceiptLimits { open_max: 100_000, per_client_max: 100_000, age_max: Duration::from_secs(1_000) };
/// There are none without a rule for redelivery.
const DEAD_LETTERS: DeadLetterLimits = DeadLetterLimits { messages_max: 0, bytes_max: 0, age_max: Duration::ZERO };
