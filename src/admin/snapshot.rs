use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::process;
use crate::broker::{Counters, Shared};
use crate::config::Durability;
use crate::server::{AdmissionCounts, LatencyHistogram, Status, Traffic};
use crate::store::{Stats, Store};
use crate::timestamp::Timestamp;

/// The broker as those see it who watch it.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What the shards and the listeners count.
    pub status: Arc<Status>,
    /// The subscriptions and the retained messages.
    pub shared: Arc<Shared>,
    /// What an acknowledged message survives, where no rule speaks of its topic.
    pub durability: Durability,
    /// What keeps it, if anything does.
    pub store: Option<Arc<Store>>,
    /// The data directory.
    pub data: PathBuf,
}

/// All figures of one moment: those of the shards and listeners are up to a second old.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Of all shards.
    pub(super) counters: Counters,
    /// Of all listeners.
    pub(super) admission: AdmissionCounts,
    /// All, and those that are shared.
    pub(super) subscriptions: (usize, usize),
    /// Messages and bytes.
    pub(super) retained: (usize, usize),
    pub(super) durability: Durability,
    /// All zero without durability.
    pub(super) store: Stats,
    pub(super) started_at: Timestamp,
    pub(super) longest_silence: Duration,
    pub(super) resident_bytes: u64,
    traffic: Vec<Traffic>,
}

impl Snapshot {
    pub(super) fn of(watched: &Watched) -> Self {
        let shards = watched.status.shards();
        Self {
            counters: shards.iter().fold(Counters::default(), |sum, shard| sum + shard.counters),
            admission: watched.status.listeners(),
            subscriptions: watched.shared.subscriptions_len(),
            retained: watched.shared.retained_len(),
            durability: watched.durability,
            store: watched.store.as_ref().map(|store| store.stats()).unwrap_or_default(),
            started_at: watched.status.started_at(),
            longest_silence: watched.status.longest_silence(),
            resident_bytes: process::resident_bytes(),
            traffic: shards.into_iter().map(|shard| shard.traffic).collect(),
        }
    }

    /// What `count` says for all shards together.
    pub(super) fn traffic(&self, count: fn(&Traffic) -> u64) -> u64 {
        self.traffic.iter().map(count).sum()
    }

    /// The samples of publish-to-deliver of all shards.
    pub(super) fn publish_to_deliver(&self) -> LatencyHistogram {
        let mut all = LatencyHistogram::default();
        for shard in self.traffic.iter().map(|traffic| &traffic.publish_to_deliver) {
            for (sum, count) in all.counts.iter_mut().zip(shard.counts) {
                *sum += count;
            }
            all.sum += shard.sum;
        }
        all
    }

    /// The start as Prometheus wants it.
    pub(super) fn started_at_seconds(&self) -> f64 {
        Duration::from_millis(self.started_at.0).as_secs_f64()
    }
}
