use std::io;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::select;

use super::super::log::log_cluster;
use super::super::reload::{ReloadReport, Scope};
use super::super::replace::ping;
use super::super::shutdown::Signals;
use super::super::systemd::notify;
use super::super::watchdog::Watchdog;
use super::super::{Server, ServerError};
use super::joining::Joining;
use super::{CellServer, CellTerms, Cells, Gate, Place};
use crate::config::Loaded;
use crate::routing::CellId;

impl Server {
    /// What was loaded, as far as it is for this server.
    pub(in crate::server) fn own_part(&self, mut loaded: Loaded) -> Loaded {
        if let Some(terms) = &self.cell {
            loaded.config = terms.fit(loaded.config);
        }
        loaded
    }

    /// Lets the other cells in, if this is the server of a cell.
    pub(in crate::server) fn admit_cells(&self) {
        let Some(CellTerms { cell, cells, reloads, .. }) = &self.cell else { return };
        let gate = Gate::new(self.clock, Arc::clone(&self.admission), Arc::clone(&self.mailboxes));
        let (status, shared, queries, reloader) = (self.status(), self.shared(), self.queries(), self.reloader());
        let store = self.store.as_ref().map(Arc::downgrade).unwrap_or_default();
        let (cell, traces) = (*cell, self.traces());
        cells.add_server(CellServer { cell, status, shared, queries, traces, reloader: reloader.clone(), store });
        cells.set(cell, Place::Joining(gate));
        if cells.reloads() != *reloads {
            // Its report is that of the front.
            tokio::spawn(async move { drop(reloader.request(Scope::Everything).await) });
        }
    }

    /// Whether clients can connect to this server: it is no standby, and not that of a cell which does not know yet what all others want.
    pub(in crate::server) fn accepts_clients(&self) -> bool {
        match &self.cell {
            None => !self.is_standby(),
            Some(CellTerms { cell, cells, .. }) => cells.accepts_clients(*cell),
        }
    }

    /// Lets clients in, if this is the server of a cell that knows what all others want. Returns whether there is nothing more to wait for.
    pub(in crate::server) async fn admit_clients(&mut self, joining: &mut Joining) -> bool {
        let Some(CellTerms { cell, cells, .. }) = &self.cell else { return true };
        let now = self.clock.read().elapsed;
        let say = |(is_trouble, text): (bool, String)| log_cluster(is_trouble, &format!("cell {}: {text}", cell.0));
        match cells.place(*cell) {
            Place::Joining(gate) if self.shared.knows_cells() => {
                cells.set(*cell, Place::Here(gate));
                joining.joined(now).map(say);
                self.apply_attendants().await;
                true
            }
            Place::Joining(_) => {
                joining.look(now, || self.shared.lacking_cells()).map(say);
                false
            }
            Place::Unknown | Place::Node(_) | Place::Here(_) => true,
        }
    }

    /// Lets no further client in, if this is the server of a cell. It is called before the shards end.
    pub(in crate::server) fn close_gate(&self) {
        let Some(CellTerms { cell, cells, .. }) = &self.cell else { return };
        if let Place::Here(gate) | Place::Joining(gate) = cells.place(*cell) {
            gate.close();
        }
        cells.set(*cell, Place::Unknown);
        cells.remove_server(*cell);
    }

    /// The cells of the process, if this is the server of one of them.
    pub(in crate::server) fn cells(&self) -> Option<Arc<Cells>> {
        self.cell.as_ref().map(|CellTerms { cells, .. }| Arc::clone(cells))
    }

    /// Notifies systemd, unless the front of the process does.
    pub(in crate::server) fn notify(&self, states: &[sd_notify::NotifyState<'_>]) {
        if self.cell.is_none() {
            notify(states);
        }
    }

    /// The watchdog, which is the business of the front if there is one.
    pub(in crate::server) fn watchdog(&self) -> Watchdog {
        match &self.cell {
            None => Watchdog::start(self.status(), self.store()).of_front(self.front_of.clone()),
            Some(_) => Watchdog::none(self.status(), self.store()),
        }
    }

    /// The signals of the process, which are the business of the front if there is one.
    pub(in crate::server) fn signals(&self) -> io::Result<Signals> {
        if self.cell.is_none() { Signals::listen() } else { Ok(Signals::default()) }
    }

    /// Ends the servers of all cells, and waits for that, if this is their front. A signal ends the wait.
    pub(in crate::server) async fn end_cells(
        &self,
        signals: &mut Signals,
        watchdog: &mut Watchdog,
    ) -> Result<(), ServerError> {
        let Some(cells) = &self.front_of else { return Ok(()) };
        cells.end();
        select! {
            () = cells.idle() => Ok(()),
            () = signals.stop() => Err(ServerError::Interrupted),
            () = ping(watchdog) => Ok(()),
        }
    }

    /// Reloads the servers of all cells here as well, if this is their front.
    pub(in crate::server) async fn reload_cells(&self, scope: &Scope, report: &mut ReloadReport) {
        let Some(cells) = &self.front_of else { return };
        cells.reloaded();
        let reloads =
            cells.servers().into_iter().map(async |server| (server.cell, server.reloader.request(scope.clone()).await));
        for (CellId(cell), reloaded) in join_all(reloads).await {
            // One that ends has no use for it.
            let Ok(reloaded) = reloaded else { continue };
            let kept = reloaded.parts.into_iter().filter_map(|part| Some((part.name, part.error?)));
            for (name, error) in kept {
                report.kept(format!("{name} of cell {cell}"), error);
            }
        }
    }
}
