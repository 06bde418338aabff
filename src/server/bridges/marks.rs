//! What a bridge still has to do for the Sessions of both brokers. It is in a file of the data directory, so that neither a restart nor a reload
//! forgets it; a broker that stores nothing has it in memory. In a cluster it is in the log, so that the next owner knows it.
//!
//! Each part of a mark is durable before what makes it necessary can happen, and is taken away when it is done and before a message passes. So it
//! may say too much for a moment, never too little. A bridge without a mark has nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::error::BridgeError;
use super::files::{replace, sync};
use crate::server::store::marks::LoggedMarks;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Mark {
    /// The Session here is new, so the Packet Identifiers of an earlier one must be released at the other broker. Set before the Session is made.
    pub(super) release_there: bool,
    /// The Session at the other broker may be new; then the Packet Identifiers of an earlier one must be released here. Set before CONNECT.
    pub(super) release_here: bool,
    /// Filters here whose retained messages the other broker has not been sent. Set before they are subscribed to.
    pub(super) owed: BTreeSet<String>,
}

/// The mark of one bridge.
#[derive(Debug)]
pub(super) struct Marks {
    mark: Mark,
    place: Place,
}

/// Where the marks of all bridges are.
#[derive(Debug, Clone)]
pub(super) enum MarkStore {
    /// In this data directory.
    Files(PathBuf),
    /// In memory, by the names of the bridges. It grows by names in the configuration alone.
    Memory(Arc<Mutex<BTreeMap<String, Mark>>>),
    /// In the log of the broker.
    Log(Arc<LoggedMarks>),
}

#[derive(Debug, Clone)]
struct Place {
    store: MarkStore,
    /// Letters, digits, `-` and `_`, at most 64: a name for a file.
    name: String,
}

impl MarkStore {
    /// `data` is `None` for a broker that stores nothing.
    pub(super) fn new(data: Option<&Path>) -> Self {
        data.map_or_else(|| Self::Memory(Arc::default()), |data| Self::Files(data.to_owned()))
    }
}

impl Marks {
    /// Reads the mark of the bridge with this name. If it can't be read, everything is to be done for the filters of `out`, because that loses
    /// nothing; the error says why.
    pub(super) fn read(store: MarkStore, name: &str, out: impl Iterator<Item = String>) -> (Self, Option<BridgeError>) {
        let place = Place { store, name: name.to_owned() };
        match place.read() {
            Ok(mark) => (Self { mark, place }, None),
            Err(source) => {
                let mark = Mark { release_there: true, release_here: true, owed: out.collect() };
                let error = BridgeError::Mark { path: place.path(), source };
                (Self { mark, place }, Some(error))
            }
        }
    }

    pub(super) const fn get(&self) -> &Mark {
        &self.mark
    }

    /// Changes the mark. It is durable when this returns.
    ///
    /// # Errors
    /// It can't be written. Then the mark has not changed, or only in the file or the log.
    pub(super) async fn change(&mut self, change: impl FnOnce(&mut Mark)) -> Result<(), BridgeError> {
        let mut changed = self.mark.clone();
        change(&mut changed);
        if changed == self.mark {
            return Ok(());
        }
        let written = self.place.write(&changed).await;
        written.map_err(|source| BridgeError::Mark { path: self.place.path(), source })?;
        self.mark = changed;
        Ok(())
    }
}

impl Mark {
    /// `None`: nothing is to be done.
    fn to_text(&self) -> io::Result<Option<String>> {
        let text = (*self != Self::default()).then(|| serde_json::to_string(self)).transpose();
        text.map_err(io::Error::other)
    }

    fn of_text(text: &[u8]) -> io::Result<Self> {
        serde_json::from_slice(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Place {
    /// Where the mark is, for people.
    fn path(&self) -> PathBuf {
        let data = if let MarkStore::Files(data) = &self.store { data.as_path() } else { Path::new("") };
        path_of(data, &self.name)
    }

    fn read(&self) -> io::Result<Mark> {
        let data = match &self.store {
            MarkStore::Files(data) => data,
            MarkStore::Memory(marks) => {
                let marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
                return Ok(marks.get(&self.name).cloned().unwrap_or_default());
            }
            MarkStore::Log(marks) => {
                let text = marks.read(&self.name);
                return text.map_or_else(|| Ok(Mark::default()), |text| Mark::of_text(text.as_bytes()));
            }
        };
        let mut text = Vec::new();
        match File::open(path_of(data, &self.name)) {
            Ok(file) => file.take(MARK_BYTES_MAX).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Mark::default()),
            Err(error) => return Err(error),
        };
        Mark::of_text(&text)
    }

    async fn write(&self, mark: &Mark) -> io::Result<()> {
        let (name, text) = (self.name.clone(), mark.to_text()?);
        match &self.store {
            MarkStore::Files(data) => {
                let data = data.clone();
                let written = spawn_blocking(move || write_file(&data, &name, text.as_deref())).await;
                written.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            MarkStore::Memory(marks) => {
                let mut marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
                marks.insert(name, mark.clone());
                Ok(())
            }
            MarkStore::Log(marks) => marks.write(&name, text).await,
        }
    }
}

fn path_of(data: &Path, name: &str) -> PathBuf {
    data.join(DIRECTORY).join(name)
}

/// Writes or removes the file of a mark.
fn write_file(data: &Path, name: &str, text: Option<&str>) -> io::Result<()> {
    let (directory, path) = (data.join(DIRECTORY), path_of(data, name));
    let Some(text) = text else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync(&directory)),
        };
    };
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        // One that exists may be that of a process which was killed before it was synced.
        Ok(()) | Err(_) => sync(data)?,
    }
    replace(&path, text)
}

const DIRECTORY: &str = "bridges";
/// More than the Topic Filters of a bridge have.
const MARK_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::runtime::Builder;

    use super::*;

    fn change(marks: &mut Marks, change: impl FnOnce(&mut Mark)) -> Result<(), BridgeError> {
        Builder::new_current_thread().build().unwrap().block_on(marks.change(change))
    }

    #[test]
    fn a_mark_outlives_its_bridge_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bridges/b");
        for store in [MarkStore::new(Some(directory.path())), MarkStore::new(None)] {
            let read = |name| Marks::read(store.clone(), name, ["a/#".to_owned()].into_iter()).0;
            let is_file = matches!(store, MarkStore::Files(_));
            let mut marks = read("b");
            assert_eq!(*marks.get(), Mark::default());
            change(&mut marks, |mark| mark.release_there = true).unwrap();
            change(&mut marks, |mark| mark.owed = BTreeSet::from(["x\n\"/#".to_owned()])).unwrap();
            let expected = Mark { release_there: true, release_here: false, owed: ["x\n\"/#".to_owned()].into() };
            assert_eq!((read("b").get(), read("c").get()), (&expected, &Mark::default()));
            assert_eq!(path.exists(), is_file);
            if is_file {
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            }
            change(&mut marks, |mark| *mark = Mark::default()).unwrap();
            assert_eq!(*read("b").get(), Mark::default());
            assert!(!path.exists());
        }
    }

    #[test]
    fn of_a_damaged_mark_everything_is_done_and_one_that_cannot_be_written_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bridges/b");
        fs::create_dir(directory.path().join("bridges")).unwrap();
        let all = Mark { release_there: true, release_here: true, owed: ["a/#".to_owned()].into() };
        for text in ["", "{\"release_there\":tr", "{\"release_there\":true,\"later\":1}", "\0\0"] {
            fs::write(&path, text).unwrap();
            let store = MarkStore::new(Some(directory.path()));
            let (mut marks, error) = Marks::read(store, "b", ["a/#".to_owned()].into_iter());
            assert!(error.unwrap().to_string().contains("bridges/b"));
            assert_eq!(*marks.get(), all, "{text:?}");
            change(&mut marks, |mark| *mark = Mark::default()).unwrap();
            assert!(!path.exists());
        }
        let gone = directory.path().join("gone");
        let (mut marks, _) = Marks::read(MarkStore::new(Some(&gone)), "b", std::iter::empty());
        change(&mut marks, |mark| mark.release_here = true).unwrap_err();
        assert!(!marks.get().release_here);
    }
}
