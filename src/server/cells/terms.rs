use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::own_client::Kind;
use super::Cells;
use crate::broker;
use crate::config::Config;
use crate::routing::CellId;

/// What the server of a cell is told about its cell. It has no listeners, no admin listener and no signals.
#[derive(Debug, Clone)]
pub struct CellTerms {
    /// The cell that it serves.
    pub cell: CellId,
    /// The number of this ownership: it is higher than that of each owner before.
    pub epoch: u64,
    /// Is the same at all nodes, and not known to clients.
    pub secret: [u8; 16],
    /// Where all cells are served.
    pub cells: Arc<Cells>,
    /// [`Cells::reloads`] from before the configuration was read. If there are more when the front can reload this server, it reloads itself.
    pub reloads: u64,
}

impl CellTerms {
    /// The data directory of a cell in that of its process.
    pub fn data(data: &Path, cell: CellId) -> PathBuf {
        Self::within(&data.join(CELLS_DIRECTORY), cell)
    }

    /// The same in a directory that has those of the cells alone.
    pub(super) fn within(cells: &Path, CellId(cell): CellId) -> PathBuf {
        cells.join(cell.to_string())
    }

    /// The same for the shards.
    pub(in crate::server) fn of_broker(&self) -> broker::CellTerms {
        let (cell, cells, epoch) = (self.cell, self.cells.count(), self.epoch);
        let interest_bytes_max = interest_bytes_max(self.cells.memory.max());
        broker::CellTerms { cell, cells, epoch, interest_key: self.secret, interest_bytes_max }
    }

    /// The configuration of the server of the cell, made of that of the process. The front has the listeners; they stay in it for what they say about
    /// authentication.
    pub(in crate::server) fn fit(&self, mut config: Config) -> Config {
        config.server.data = Self::data(&config.server.data, self.cell);
        // Several cells share the processors.
        config.server.shards = config.server.shards.max(1);
        // The front does.
        config.server.watch_files = false;
        (config.admin.enabled, config.admin.socket) = (false, false);
        // What is not there for several cells, and on by default.
        (config.mqtt.batch_messages_max, config.receipts.open_max) = (0, 0);
        // A bridge or a sink runs where its Session is.
        config.bridges.retain(|bridge| self.has(Kind::Bridge, &bridge.name));
        config.sinks.retain(|sink| self.has(Kind::Sink, &sink.name));
        config
    }

    /// Whether the cell has the Session of this client of the broker's own.
    fn has(&self, kind: Kind, name: &str) -> bool {
        kind.cell(name, self.cells.count()) == self.cell
    }
}

/// The bound of the interest of all cells in the table of one, of which a node has as many as it owns cells: a part of `limits.memory_max`, which is the same
/// for all of these, but room for 5.6 million filters without wildcards at least, and for 357 million at most.
fn interest_bytes_max(memory_max: u64) -> usize {
    usize::try_from((memory_max / 32).clamp(64 << 20, 4 << 30)).unwrap_or(64 << 20)
}

/// The directory in a data directory that has those of the cells.
pub(super) const CELLS_DIRECTORY: &str = "cells";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::StoredMark;

    #[test]
    fn a_cell_has_the_settings_of_the_process_but_for_what_the_front_does() {
        let terms = CellTerms { cell: CellId(5), epoch: 1, secret: [0; 16], cells: Cells::new(6), reloads: 0 };
        let mut config = Config::default();
        config.server.data = "/data".into();
        config.server.watch_files = true;
        config.limits.connections_max = 7;
        let fitted = terms.fit(config.clone());
        assert_eq!(fitted.server.data, Path::new("/data/cells/5"));
        assert_eq!((fitted.server.shards, fitted.server.watch_files), (1, false));
        assert_eq!((&fitted.limits, &fitted.listeners), (&config.limits, &config.listeners));
        assert!(!fitted.admin.enabled && !fitted.admin.socket);
        config.server.shards = 3;
        assert_eq!(terms.fit(config).server.shards, 3);
    }

    #[test]
    fn the_interest_may_take_more_where_there_is_more_memory() {
        assert_eq!([0, 2 << 30, 64 << 30].map(interest_bytes_max), [64 << 20, 64 << 20, 2 << 30]);
        assert_eq!(interest_bytes_max(u64::MAX), 4 << 30, "the memory of the machine is not known");
    }

    #[test]
    fn each_bridge_and_each_sink_is_in_the_cell_of_its_session_alone() {
        let cells = Cells::new(3);
        let mut config = Config::default();
        for number in 0..20 {
            let name = format!("n{number}");
            config.bridges.push(crate::config::Bridge { name: name.clone(), ..crate::config::Bridge::default() });
            let sink = format!("name = \"{name}\"\ntype = \"webhook\"\nfilters = [\"a\"]\nurl = \"http://localhost\"");
            config.sinks.push(toml::from_str(&sink).unwrap());
        }
        let (mut bridges, mut sinks) = (Vec::new(), Vec::new());
        for cell in 0..3 {
            let terms =
                CellTerms { cell: CellId(cell), epoch: 1, secret: [0; 16], cells: Arc::clone(&cells), reloads: 0 };
            let fitted = terms.fit(config.clone());
            let is_here = |client_id: &str| CellId::of_client(client_id, 3) == CellId(cell);
            let mark = |bridge: &str| StoredMark { bridge: bridge.to_owned(), text: String::new() };
            assert!(fitted.bridges.iter().all(|bridge| is_here(&mark(&bridge.name).client_id())));
            assert!(fitted.sinks.iter().all(|sink| is_here(&format!("$sink/{}", sink.name))));
            bridges.extend(fitted.bridges.into_iter().map(|bridge| bridge.name));
            sinks.extend(fitted.sinks.into_iter().map(|sink| sink.name));
        }
        let expected = config.bridges.into_iter().map(|bridge| bridge.name).collect::<std::collections::BTreeSet<_>>();
        for found in [bridges, sinks] {
            assert_eq!((found.len(), found.into_iter().collect()), (20, expected.clone()));
        }
    }
}
