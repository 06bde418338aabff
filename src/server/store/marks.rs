//! The marks of bridges in the log of a cluster.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::broker::{RecordBytes, StoredMark};
use crate::server::store::fetch::keys;
use crate::store::{Entry, Level, Refused, Room, Store, Urgency};

/// What bridges still have to do, as they have written it, by their names. It grows by names in the configuration alone.
#[derive(Debug, Default)]
pub(in crate::server) struct LoggedMarks {
    state: Mutex<State>,
    /// The number of the last record that is stable.
    stable: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Does not keep the store open; `None`: the marks are elsewhere.
    store: Option<Weak<Store>>,
    /// The source of the records, which is not a shard.
    source: usize,
    written: u64,
    marks: BTreeMap<String, String>,
}

impl LoggedMarks {
    /// The log has the marks from now on. `source`: of their records.
    pub(super) fn begin(&self, store: &Arc<Store>, source: usize, recovered: Vec<StoredMark>) {
        let marks = recovered.into_iter().map(|StoredMark { bridge, text }| (bridge, text)).collect();
        *self.state() = State { store: Some(Arc::downgrade(store)), source, written: 0, marks };
    }

    /// Whether the log has the marks.
    pub(in crate::server) fn are_kept(&self) -> bool {
        self.state().store.is_some()
    }

    /// The mark of a bridge; `None`: it has none.
    pub(in crate::server) fn read(&self, bridge: &str) -> Option<String> {
        self.state().marks.get(bridge).cloned()
    }

    /// Changes the mark of a bridge. `None`: it has none. It is stable when this returns.
    ///
    /// # Errors
    /// The store takes no record, or does not report it stable: then the log may have the mark or not.
    pub(in crate::server) async fn write(&self, bridge: &str, text: Option<String>) -> io::Result<()> {
        let mut stable = self.stable.subscribe();
        let ticket = self.append(bridge, text)?;
        // The sender lives as long as `self`.
        match timeout(STABLE_TIME, stable.wait_for(|stable| *stable >= ticket)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// A record is stable.
    pub(super) fn persisted(&self, ticket: u64) {
        self.stable.send_modify(|stable| *stable = ticket.max(*stable));
    }

    fn append(&self, bridge: &str, text: Option<String>) -> io::Result<u64> {
        let mut state = self.state();
        let store = state.store.as_ref().and_then(Weak::upgrade).ok_or(io::ErrorKind::NotConnected)?;
        let RecordBytes { body, puts, deletes, .. } = match &text {
            Some(text) => StoredMark { bridge: bridge.to_owned(), text: text.clone() }.to_bytes(),
            None => StoredMark::delete(bridge),
        };
        let (puts, deletes) = (keys(&puts), keys(&deletes));
        let (level, room) = (Level::PowerLoss, Room::Ordinary);
        let entry = Entry { body: &body, puts: &puts, parts: &[], deletes: &deletes, ends: None, level, room };
        let ticket = state.written + 1;
        store.append_unannounced(state.source, ticket, Urgency::Awaited, &entry).map_err(error_of)?;
        state.written = ticket;
        match text {
            Some(text) => drop(state.marks.insert(bridge.to_owned(), text)),
            None => drop(state.marks.remove(bridge)),
        }
        drop(state);
        store.announce(Urgency::Awaited);
        Ok(ticket)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error_of(refused: Refused) -> io::Error {
    let kind = if refused == Refused::Full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
    io::Error::new(kind, refused)
}

/// An election of NATS takes five seconds.
const STABLE_TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::broker::Recovery;
    use crate::store::{Hooks, Options};

    /// The marks in the store in this directory, and the store.
    fn open(directory: &Path) -> (Arc<LoggedMarks>, Arc<Store>) {
        let marks = Arc::<LoggedMarks>::default();
        let told = Arc::clone(&marks);
        let hooks = Hooks {
            on_stable: Box::new(move |source, ticket| {
                assert_eq!(source, 7);
                told.persisted(ticket);
            }),
            ..Hooks::default()
        };
        let mut recovery = Recovery::default();
        let mut apply = |recovered: crate::store::Recovered<'_>| super::super::handle::apply(&mut recovery, &recovered);
        let (store, _) = Store::open(directory, &Options::default(), hooks, &mut apply).unwrap();
        let store = Arc::new(store);
        marks.begin(&store, 7, recovery.finish().bridge_marks);
        (marks, store)
    }

    #[tokio::test]
    async fn a_mark_is_in_the_log_when_it_is_written_and_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (marks, store) = open(directory.path());
        for (bridge, text) in [("a", Some("1")), ("b", Some("2")), ("a", Some("3")), ("b", None), ("c", None)] {
            marks.write(bridge, text.map(str::to_owned)).await.unwrap();
        }
        store.close();
        drop(store);
        assert!(marks.write("a", None).await.is_err(), "the store is gone");
        let (marks, store) = open(directory.path());
        assert_eq!(["a", "b", "c"].map(|bridge| marks.read(bridge)), [Some("3".to_owned()), None, None]);
        marks.write("a", None).await.unwrap();
        store.close();
        drop((marks, store));
        let (marks, _store) = open(directory.path());
        assert_eq!(marks.read("a"), None);
        assert!(marks.are_kept() && !LoggedMarks::default().are_kept());
    }
}
