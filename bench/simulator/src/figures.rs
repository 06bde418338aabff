//! What is counted and measured during a run.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cell::Output;

/// Counts and times.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    /// Messages that did not come before a later one of the same publisher.
    pub(crate) lost: u64,
    /// Messages that came more than once, but for those at QoS 1 that were sent again.
    pub(crate) doubled: u64,
    /// Messages at QoS 1 that came again after they were sent again.
    pub(crate) repeated: u64,
    pub(crate) missed_at_qos0: u64,
    pub(crate) sessions_lost: u64,
    pub(crate) subscribed: u32,
    pub(crate) turns: u64,
    pub(crate) packets: u64,
    pub(crate) link_packets: u64,
    pub(crate) link_bytes: u64,
    pub(crate) frames: u64,
    pub(crate) records: u64,
    pub(crate) commits: u64,
    pub(crate) commit_bytes: u64,
    pub(crate) fetches: u64,
    pub(crate) connects: u64,
    pub(crate) churned: u64,
    pub(crate) moves: u64,
    /// The most messages that waited for other cells at one time.
    pub(crate) waiting_max: usize,
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) acknowledged_us: Histogram<u64>,
    pub(crate) connect_us: Histogram<u64>,
    pub(crate) suback_us: Histogram<u64>,
    pub(crate) suback_in_deaths_us: Histogram<u64>,
    /// From the death of an owner until clients can connect again.
    pub(crate) adoptions_us: Histogram<u64>,
    pub(crate) storms: Vec<Storm>,
    /// Cells that have a new owner and accept no clients yet, with the time since when.
    pub(crate) joining: BTreeMap<usize, u64>,
    /// Who waits for SUBACK, since when, and whether all cells had owners then.
    pub(crate) subscribing: HashMap<u32, (u64, bool)>,
    /// What must not happen, as text.
    pub(crate) complaints: Vec<String>,
    pub(crate) complained: u64,
}

/// A death of a node, and the clients that lost their connections.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Storm {
    pub(crate) node: usize,
    /// In nanoseconds of the virtual clock.
    pub(crate) at: u64,
    pub(crate) cells: usize,
    pub(crate) clients: u32,
    /// When all clients were connected again.
    pub(crate) over: Option<u64>,
}

impl Storm {
    pub(crate) const fn new(node: usize, at: u64, cells: usize, clients: u32) -> Self {
        Self { node, at, cells, clients, over: None }
    }
}

impl Default for Figures {
    fn default() -> Self {
        let histogram = || {
            let mut histogram = Histogram::new_with_max(HISTOGRAM_MAX_US, 3);
            if let Ok(histogram) = &mut histogram {
                histogram.auto(true);
            }
            histogram.unwrap_or_else(|_| unreachable!("the bounds are valid"))
        };
        Self {
            published: 0,
            acknowledged: 0,
            delivered: 0,
            lost: 0,
            doubled: 0,
            repeated: 0,
            missed_at_qos0: 0,
            sessions_lost: 0,
            subscribed: 0,
            turns: 0,
            packets: 0,
            link_packets: 0,
            link_bytes: 0,
            frames: 0,
            records: 0,
            commits: 0,
            commit_bytes: 0,
            fetches: 0,
            connects: 0,
            churned: 0,
            moves: 0,
            waiting_max: 0,
            latency_us: histogram(),
            acknowledged_us: histogram(),
            connect_us: histogram(),
            suback_us: histogram(),
            suback_in_deaths_us: histogram(),
            adoptions_us: histogram(),
            storms: Vec::new(),
            joining: BTreeMap::new(),
            subscribing: HashMap::new(),
            complaints: Vec::new(),
            complained: 0,
        }
    }
}

impl Figures {
    /// Counts a turn.
    pub(crate) const fn add(&mut self, output: &Output) {
        self.packets += output.packets;
        self.link_packets += output.link_packets;
        self.records += output.records;
        self.connects += output.connects;
    }

    /// Notes what must not happen.
    pub(crate) fn complain(&mut self, what: String) {
        self.complained += 1;
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }
}

const HISTOGRAM_MAX_US: u64 = 1_000_000_000;
const COMPLAINTS_MAX: usize = 10;
