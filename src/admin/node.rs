use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use super::handles::BrokerHandles;
use crate::broker::{CellLink, Counters, Shared};
use crate::routing::CellId;
use crate::server::{AdmissionCounts, CellServer, Cells, RemoteCounts, ShardSnapshot, Status, TelemetryFigures};
use crate::store::{Stats, Store, Timing};

/// The figures of a node: those of its only server, or the sums over the servers of its cells and their front.
#[derive(Debug, Clone)]
pub(super) struct Node {
    status: Arc<Status>,
    shared: Arc<Shared>,
    store: Option<Arc<Store>>,
    front_of: Option<Arc<Cells>>,
}

/// What the server of a cell says about it.
#[derive(Debug)]
pub(super) struct CellFigures {
    pub(super) cell: CellId,
    pub(super) accepts_clients: bool,
    pub(super) links: Vec<CellLink>,
}

impl Node {
    pub(super) fn of(handles: &BrokerHandles) -> Self {
        Self {
            status: Arc::clone(&handles.status),
            shared: Arc::clone(&handles.shared),
            store: handles.store.clone(),
            front_of: handles.front_of.clone(),
        }
    }

    fn servers(&self) -> Vec<CellServer> {
        self.front_of.as_ref().map(|cells| cells.servers()).unwrap_or_default()
    }

    /// What each server says about itself.
    pub(super) fn statuses(&self) -> Vec<Arc<Status>> {
        let of_cells = self.servers().into_iter().map(|server| server.status);
        [Arc::clone(&self.status)].into_iter().chain(of_cells).collect()
    }

    /// The counters of each shard, with its name: its number, and before it that of its cell. What servers have counted that have ended is the last one,
    /// which has no name.
    pub(super) fn shards(&self) -> Vec<(Option<String>, ShardSnapshot)> {
        let own = self.status.shards().into_iter().enumerate();
        let own = own.map(|(number, shard)| (Some(number.to_string()), shard));
        let of_cell = |CellServer { cell: CellId(cell), status, .. }: CellServer| {
            let shards = status.shards().into_iter().enumerate();
            shards.map(move |(number, shard)| (Some(format!("{cell}/{number}")), shard)).collect::<Vec<_>>()
        };
        let past = self.front_of.iter().map(|cells| (None, cells.past().shards));
        own.chain(self.servers().into_iter().flat_map(of_cell)).chain(past).collect()
    }

    /// The sum of the counters of all shards.
    pub(super) fn counters(&self) -> Counters {
        self.shards().iter().fold(Counters::default(), |sum, (_, shard)| sum + shard.counters)
    }

    /// The counters of listeners and of limits of connections. With cells, connections are those that the cells serve, and those accepted are those of the
    /// listeners: the front counts a connection that it passes, too.
    pub(super) fn admission(&self) -> AdmissionCounts {
        let mut sum = self.status.listeners();
        let Some(cells) = &self.front_of else { return sum };
        let accepted = sum.accepted;
        sum.connections = 0;
        self.servers().iter().for_each(|server| sum += server.status.listeners());
        sum += cells.past().admission;
        AdmissionCounts { accepted, ..sum }
    }

    /// The sum of a number and its bytes.
    pub(super) fn sum(&self, of: fn(&Shared) -> (usize, usize)) -> (usize, usize) {
        let of_cells = self.servers().into_iter().map(|server| of(&server.shared));
        of_cells.fold(of(&self.shared), |(number, bytes), (more, more_bytes)| (number + more, bytes + more_bytes))
    }

    /// The number of retained messages. Each cell has all.
    pub(super) fn retained(&self) -> usize {
        let of_cells = self.servers().into_iter().map(|server| server.shared.retained_len().0);
        of_cells.max().unwrap_or_else(|| self.shared.retained_len().0)
    }

    /// What all stores are; all zero without one.
    pub(super) fn store(&self) -> Stats {
        let mut sum = self.front_of.as_ref().map(|cells| cells.past().store).unwrap_or_default();
        for stats in self.stores().map(|store| store.stats()) {
            sum = Stats {
                segments: sum.segments + stats.segments,
                bytes: sum.bytes + stats.bytes,
                live_bytes: sum.live_bytes + stats.live_bytes,
                keys: sum.keys + stats.keys,
                commits: sum.commits + stats.commits,
                syncs: sum.syncs + stats.syncs,
                entries: sum.entries + stats.entries,
                is_full: sum.is_full || stats.is_full,
                unreadable_segment: sum.unreadable_segment.or(stats.unreadable_segment),
            };
        }
        sum
    }

    /// How long all stores take.
    pub(super) fn timing(&self) -> Timing {
        let mut sum = self.front_of.as_ref().map(|cells| cells.past().timing).unwrap_or_default();
        for timing in self.stores().map(|store| store.timing()) {
            sum.commit += timing.commit;
            sum.sync += timing.sync;
            sum.pending_bytes += timing.pending_bytes;
            sum.lag = sum.lag.max(timing.lag);
        }
        sum
    }

    fn stores(&self) -> impl Iterator<Item = Arc<Store>> {
        self.store.clone().into_iter().chain(self.servers().into_iter().filter_map(|server| server.store.upgrade()))
    }

    /// What the services of providers have answered, by the name of the provider.
    pub(super) fn services(&self) -> Vec<(ByteString, RemoteCounts)> {
        let Some(cells) = &self.front_of else { return self.status.services() };
        let mut sums: BTreeMap<ByteString, RemoteCounts> = cells.past().services;
        let of_cells = self.servers().into_iter().flat_map(|server| server.status.services());
        for (name, counts) in self.status.services().into_iter().chain(of_cells) {
            *sums.entry(name).or_default() += counts;
        }
        sums.into_iter().collect()
    }

    /// What became of the spans of traces; `None`: there were none.
    pub(super) fn telemetry(&self) -> Option<TelemetryFigures> {
        let past = self.front_of.as_ref().and_then(|cells| cells.past().telemetry);
        self.statuses().iter().map(|status| status.telemetry()).fold(past, TelemetryFigures::sum)
    }

    /// The longest time since a shard published its counters.
    pub(super) fn longest_silence(&self) -> Duration {
        let of_cells = self.front_of.as_ref().map(|cells| cells.longest_silence());
        self.status.longest_silence().max(of_cells.unwrap_or_default())
    }

    /// The cells that are served here.
    pub(super) fn cells(&self) -> Vec<CellFigures> {
        let Some(cells) = &self.front_of else { return Vec::new() };
        let of = |CellServer { cell, shared, .. }: CellServer| CellFigures {
            cell,
            accepts_clients: cells.accepts_clients(cell),
            links: shared.cell_links(),
        };
        cells.servers().into_iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::admin::tests::handles;
    use crate::server::Clock;
    use crate::timestamp::Timestamp;

    fn counted(messages: u64, sessions: u64) -> ShardSnapshot {
        let mut shard = ShardSnapshot::default();
        (shard.counters.messages_received[1], shard.counters.sessions) = (messages, sessions);
        (0..messages).for_each(|_| shard.traffic.latencies.connect.record(Duration::from_millis(1)));
        shard
    }

    /// The server of a cell with one shard.
    fn server(cell: u8, messages: u64, sessions: u64) -> CellServer {
        let status = Arc::new(Status::new(1, Clock::start(Timestamp(0))));
        status.publish_shard(0, counted(messages, sessions));
        let admission = AdmissionCounts { connections: sessions, accepted: 9, ..AdmissionCounts::default() };
        status.publish_listeners(AdmissionCounts { refused_address: messages, ..admission });
        status.publish_telemetry(TelemetryFigures { spans: [messages, 0, 1] });
        CellServer::unanswered(CellId(cell), 3, status)
    }

    #[test]
    fn the_figures_of_cells_are_summed_and_what_was_counted_stays_when_one_goes() {
        let cells = Cells::new(3);
        let handles = BrokerHandles { front_of: Some(Arc::clone(&cells)), ..handles() };
        handles.status.publish_shard(0, counted(1, 0));
        handles.status.publish_listeners(AdmissionCounts { accepted: 8, connections: 3, ..AdmissionCounts::default() });
        let node = Node::of(&handles);
        let spans = Cell::default();
        let figures = || {
            let (counters, admission) = (node.counters(), node.admission());
            let latencies: u64 = node.shards().iter().map(|(_, shard)| shard.traffic.latencies.connect.count()).sum();
            assert_eq!(latencies, counters.messages_received[1]);
            assert_eq!((admission.accepted, admission.connections), (8, counters.sessions));
            spans.set(node.telemetry().map(|figures| figures.spans));
            (counters.messages_received[1], admission.refused_address, counters.sessions)
        };
        let first = server(1, 10, 4);
        let status = Arc::clone(&first.status);
        cells.add_server(first);
        cells.add_server(server(2, 20, 3));
        assert_eq!(figures(), (31, 30, 7));
        let names: Vec<_> = node.shards().into_iter().map(|(name, _)| name.unwrap_or_default()).collect();
        assert_eq!(names, ["0", "1", "1/0", "2/0", ""]);

        cells.remove_server(CellId(1));
        assert_eq!(figures(), (31, 30, 3));
        // Its connections end last.
        status.publish_shard(0, counted(12, 4));
        assert_eq!(figures(), (33, 30, 3));
        cells.add_server(server(1, 100, 5));
        assert_eq!((figures(), spans.get()), ((133, 130, 8), Some([137, 1, 3])));
        cells.remove_server(CellId(1));
        cells.remove_server(CellId(2));
        assert_eq!((figures(), spans.get()), ((133, 130, 0), Some([137, 1, 3])));
    }
}
