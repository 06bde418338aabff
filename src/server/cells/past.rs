use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::super::status::{AdmissionCounts, ShardSnapshot, Status};
use super::super::telemetry_figures::TelemetryFigures;
use crate::auth::RemoteCounts;
use crate::store::{Stats, Timing};

/// What servers of cells have counted, and how long what they did took: of those that have ended, so that the counters of a node do not fall when a cell
/// goes to another one.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The counts of all shards. What is a state and not a count is zero.
    pub shards: ShardSnapshot,
    /// The same of the limits of connections, bans and passwords.
    pub admission: AdmissionCounts,
    /// The same of the store.
    pub store: Stats,
    /// The same of its times.
    pub timing: Timing,
    /// The same of the services of providers.
    pub services: BTreeMap<ByteString, RemoteCounts>,
    /// The same of the spans of traces; `None`: there were none.
    pub telemetry: Option<TelemetryFigures>,
}

impl Past {
    /// Adds what a server has counted that has ended.
    pub(super) fn add_status(&mut self, status: &Arc<Status>) {
        for shard in status.shards() {
            self.shards.add_counts(&shard);
        }
        self.admission += status.listeners().counts();
        self.telemetry = TelemetryFigures::sum(self.telemetry, status.telemetry());
        for (name, counts) in status.services() {
            *self.services.entry(name).or_default() += RemoteCounts { under_way: 0, waiting: 0, ..counts };
        }
    }

    /// Adds what its store has counted.
    pub(super) fn add_store(
        &mut self,
        Stats { commits, syncs, entries, .. }: Stats,
        Timing { commit, sync, .. }: Timing,
    ) {
        self.store.commits += commits;
        self.store.syncs += syncs;
        self.store.entries += entries;
        self.timing.commit += commit;
        self.timing.sync += sync;
    }
}
