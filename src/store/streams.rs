//! The streams of a store, by their numbers.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use super::Store;
use super::keeper::StreamKeeper;
use super::removal::{is_removed, remove_files};
use super::rewrite::{StreamRecovered, rewrite};
use super::shortage::Shortage;
use super::stream::{Retention, StreamKey, StreamLog, StreamOptions, StreamReader, read_name, write_name};
use super::stream_files::{OpenStream, group_of};
use super::timing::wall_time;

impl Store {
    /// Opens a stream, creating it if it does not exist, or changes which of its messages are kept. From now on, entries can have puts in its
    /// group, which is 2^63 plus its number: messages whose part begins with their timestamp in milliseconds since the Unix epoch.
    ///
    /// Messages that are in the log only, because a crash came before the sync of the stream, are written to it.
    ///
    /// # Errors
    ///
    /// Its files can't be opened, read or written. Without a store that writes, [`io::ErrorKind::Unsupported`].
    pub fn open_stream(&self, number: u32, retention: Retention) -> io::Result<StreamRecovered> {
        let group = group_of(number);
        let streams = &self.shared.streams;
        let _opening = streams.opening();
        let options = StreamOptions::new(number).fitting(self.shared.segment_bytes, retention.max_bytes);
        if let Some(stream) = streams.logs().get_mut(&group) {
            stream.retention = retention;
            stream.log.set_segment_bytes(options.segment_bytes);
        }
        if streams.reader(group).is_some() {
            self.start_keeper()?;
            return Ok(StreamRecovered::default());
        }
        let disk = (streams.directories.disk)(number)?;
        let (mut log, opened) = StreamLog::open(Arc::clone(&disk), &options)?;
        let mut recovered = StreamRecovered { opened, ..StreamRecovered::default() };
        // What the limits had removed within a segment is there again.
        match log.retain(&retention, wall_time()) {
            Err(error) if Shortage::of(&error).is_none() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let shortage = match rewrite(&*self.shared, (group, u64::MAX), &mut log, &mut recovered) {
            Ok(()) => None,
            Err(error) => Some(Shortage::of(&error).ok_or(error)?),
        };
        let synced = log.sync()?;
        self.shared.release_numbered(group, synced);
        let next = log.next().max(self.shared.last_numbered(group).map_or(0, |last| last + 1));
        if let Some(shortage) = shortage {
            recovered.lost += self.shared.lost_from(group, log.next())?;
            streams.set_shortage(Some(shortage));
        } else {
            // The limits apply to what was written now, too.
            log.retain(&retention, wall_time()).or_else(|error| Shortage::of(&error).map(|_| 0).ok_or(error))?;
        }
        self.shared.pending.set_next_number(group, next);
        streams.add_reader(group, log.reader());
        let behind = shortage.map(|_| next);
        streams.logs().insert(group, OpenStream { disk, log, retention, behind, key: None });
        if shortage.is_some() {
            // Only now: what catches up looks for the streams that are behind.
            streams.has_behind.store(true, Ordering::SeqCst);
        }
        self.start_keeper()?;
        Ok(recovered)
    }

    /// From now on, only the last message of each key is kept in the complete segments of an open stream, as far as they were compacted. `None`: all
    /// messages are kept.
    pub fn set_stream_key(&self, number: u32, key: Option<Arc<StreamKey>>) {
        if let Some(stream) = self.shared.streams.logs().get_mut(&group_of(number)) {
            stream.key = key;
        }
    }

    /// Writes the name of an open stream into its directory, so that [`stream_names`](Self::stream_names) finds it.
    ///
    /// # Errors
    ///
    /// The file can't be written; [`io::ErrorKind::NotFound`]: the stream is not open.
    pub fn name_stream(&self, number: u32, name: &str) -> io::Result<()> {
        let disk = self.shared.streams.logs().get(&group_of(number)).map(|stream| Arc::clone(&stream.disk));
        write_name(&*disk.ok_or(io::ErrorKind::NotFound)?, number, name)
    }

    /// The streams that have a directory, with their names as far as these are known, except for those in `known`, which may be open.
    ///
    /// # Errors
    ///
    /// A directory can't be read.
    pub fn stream_names(&self, known: &BTreeSet<u32>) -> io::Result<Vec<(u32, Option<String>)>> {
        let directories = &self.shared.streams.directories;
        let others = (directories.numbers)()?.into_iter().filter(|number| !known.contains(number));
        let named = |number| {
            let _opening = self.shared.streams.opening();
            // It may be open: a change that failed has opened it.
            let disk = match self.shared.streams.open_disk(number) {
                Some(disk) => disk,
                None => (directories.disk)(number)?,
            };
            if is_removed(&*disk)? {
                // Copies of its messages that were retained or queued still have its numbers.
                self.shared.forget_stream(group_of(number));
                // A crash came before its files were removed. If that fails again, they do no harm.
                let _ = remove_files(&*disk);
            }
            Ok((number, read_name(&*disk, number)?))
        };
        others.map(named).collect()
    }

    /// A reader of an open stream.
    pub fn stream_reader(&self, number: u32) -> Option<StreamReader> {
        self.shared.streams.reader(group_of(number))
    }

    /// Removes the messages of a stream below a sequence. Returns the oldest sequence that is kept; `None`: there is no such stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ResourceBusy`]: a backup is running. Otherwise the operating system returned an error.
    pub fn trim_stream(&self, number: u32, below: u64) -> io::Result<Option<u64>> {
        let mut logs = self.shared.streams.logs();
        let Some(stream) = logs.get_mut(&(group_of(number))) else { return Ok(None) };
        if self.shared.streams.pins.load(Ordering::SeqCst) > 0 {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        stream.log.trim_below(below)?;
        Ok(Some(stream.log.reader().oldest()))
    }

    /// What writes to the streams, for a caller that has called [`open_on`](Store::open_on) and calls its steps; `None`: the caller has it.
    pub fn take_keeper(&self) -> Option<StreamKeeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn start_keeper(&self) -> io::Result<()> {
        self.start_keeper_with(|run| thread::Builder::new().name("streams".to_owned()).spawn(run))
    }

    /// Starts the thread that writes to the streams, unless it runs. After an error, the next call tries again.
    pub(super) fn start_keeper_with(
        &self,
        spawn: impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>,
    ) -> io::Result<()> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has_threads || keeper.is_none() {
            return Ok(());
        }
        let (to_thread, given) = mpsc::sync_channel::<StreamKeeper>(1);
        let thread = spawn(Box::new(move || given.into_iter().for_each(StreamKeeper::run)))?;
        if let Some(keeper) = keeper.take() {
            // The thread waits for it.
            let _ = to_thread.send(keeper);
        }
        drop(keeper);
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}
