use oncemq::codec::ProtocolVersion;

use crate::mix::Mix;
use crate::rng::Rng;

/// The behaviour of a client.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) version: ProtocolVersion,
    pub(crate) lifetime: Lifetime,
    /// Whether it subscribes and unsubscribes repeatedly.
    pub(crate) churn: bool,
    /// Whether it publishes.
    pub(crate) publishes: bool,
    /// Percent of its decisions that end its connection.
    pub(crate) losses: u64,
    /// Whether it reads slowly.
    pub(crate) slow: bool,
    /// Whether it sends requests faster than it reads responses.
    pub(crate) floods: bool,
    /// Percent of the messages that it refuses.
    pub(crate) refuses: u64,
    /// Receive Maximum; 65,535 means that CONNECT has none.
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: u16,
    /// Keep Alive in seconds.
    pub(crate) keep_alive: u16,
    pub(crate) wills: bool,
    /// The longest time between two decisions, in milliseconds.
    pub(crate) pace: u64,
    /// Its subscriptions from the first connection on.
    pub(crate) filters: Vec<&'static str>,
    /// Its mount point.
    pub(crate) mount: Option<&'static str>,
}

/// The lifetime of its Session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// From the first connection to the end of the run.
    WholeRun,
    /// Until the end of its connection.
    Transient,
    /// Until this many seconds after a disconnect, or until a Clean Start.
    Expiring(u32),
    /// Random for each CONNECT.
    Random,
}

impl Profile {
    /// A client without faults that receives all Wills and other messages.
    pub(crate) fn watcher(mix: &Mix) -> Self {
        let mut filters = vec!["t/#"];
        filters.extend(mix.wills.then_some("w/#"));
        Self {
            version: ProtocolVersion::V5,
            lifetime: Lifetime::WholeRun,
            churn: false,
            publishes: false,
            losses: 0,
            slow: false,
            floods: false,
            refuses: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 5,
            keep_alive: 0,
            wills: false,
            pace: 100,
            filters,
            mount: None,
        }
    }

    pub(crate) fn any(mix: &Mix, rng: &mut Rng) -> Self {
        let one_session = rng.percent(mix.one_session);
        let others =
            [Lifetime::Transient, Lifetime::Transient, Lifetime::Expiring(1), Lifetime::Expiring(3), Lifetime::Random];
        let lifetime = if one_session { Lifetime::WholeRun } else { rng.pick(&others) };
        let churn = mix.churn && rng.percent(50);
        let small = mix.small_windows && rng.percent(50);
        let mut filters = Vec::new();
        if rng.percent(70) {
            filters.push(rng.pick(&["t/#", "t/+", "t/0", "t/1"]));
            if rng.percent(20) {
                filters.push("t/2"); // may overlap with the other filter
            }
        }
        if mix.shares && rng.percent(60) {
            filters.push(rng.pick(&["$share/one/s/#", "$share/one/s/#", "$share/two/s/+"]));
        }
        if mix.retained && rng.percent(60) {
            filters.push(rng.pick(&["r/#", "r/0"]));
        }
        let slow = mix.slow && rng.percent(50);
        let floods = mix.pressure && slow && rng.percent(50);
        let mut profile = Self {
            version: rng.pick(&[ProtocolVersion::V3_1_1, ProtocolVersion::V5, ProtocolVersion::V5]),
            lifetime,
            churn,
            publishes: rng.percent(80),
            losses: if rng.percent(80) { mix.losses } else { 0 },
            slow,
            floods,
            refuses: 0,
            receive_maximum: if small { rng.pick(&[1, 2, 5]) } else { u16::MAX },
            maximum_packet_size: if mix.small_windows && rng.percent(30) { Some(120) } else { None },
            topic_alias_maximum: rng.pick(&[0, 1, 5]),
            keep_alive: rng.pick(&[0, 1, 3]),
            wills: mix.wills && rng.percent(70),
            pace: rng.pick(&[20, 60, 200]),
            filters,
            mount: (mix.mounts && rng.percent(70)).then(|| rng.pick(&["t/", "t/", "s/", "r/"])),
        };
        if let Some(mount) = profile.mount {
            let shared = |filter: &&'static str| Some(filter.strip_prefix("$share/")?.split_once('/')?.1);
            profile.filters.retain(|filter| shared(filter).unwrap_or(filter).starts_with(mount));
            profile.churn &= mount == "t/";
            profile.wills = false;
        }
        if mix.refuses_messages && profile.is_v5() && lifetime == Lifetime::WholeRun {
            profile.refuses = rng.pick(&[0, 20, 50, 80]);
        }
        if mix.rejects && profile.publishes && !profile.is_v5() {
            // It may wait for room in a queue. If that is its own, or that of a client that waits for its queue, neither is read.
            profile.filters.clear();
            profile.churn = false;
        }
        profile
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }
}
