//! The streams of a store, by their numbers.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;

use super::Store;
use super::backlog::timestamp;
use super::keeper::StreamKeeper;
use super::keys::{Key, NUMBERED};
use super::shared::Shared;
use super::shortage::Shortage;
use super::stream::{Retention, StreamLog, StreamMessage, StreamOpened, StreamOptions, StreamReader};
use super::stream_files::{OpenStream, group_of};
use super::timing::wall_time;

/// What was done when a stream was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamRecovered {
    /// What was found in its files.
    pub opened: StreamOpened,
    /// Messages that the log had and the files of the stream had not.
    pub rewritten: u64,
    /// Sequences whose messages are lost, because both were damaged.
    pub lost: u64,
}

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
        if let Some(stream) = streams.logs().get_mut(&group) {
            stream.retention = retention;
            return Ok(StreamRecovered::default());
        }
        let options = StreamOptions::new(number).fitting(self.shared.segment_bytes, retention.max_bytes);
        let disk = (streams.disk)(number)?;
        let (mut log, opened) = StreamLog::open(Arc::clone(&disk), &options)?;
        let mut recovered = StreamRecovered { opened, ..StreamRecovered::default() };
        // What the limits had removed within a segment is there again.
        match log.retain(&retention, wall_time()) {
            Err(error) if Shortage::of(&error).is_none() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.rewrite(group, &mut log, &mut recovered)?;
        let synced = log.sync()?;
        self.shared.release_numbered(group, synced);
        self.shared.pending.set_next_number(group, log.next());
        streams.add_reader(group, log.reader());
        streams.logs().insert(group, OpenStream { disk, log, retention });
        self.start_keeper()?;
        Ok(recovered)
    }

    /// Writes the messages to a stream that only the log has.
    fn rewrite(&self, group: u64, log: &mut StreamLog, recovered: &mut StreamRecovered) -> io::Result<()> {
        let ids = self.shared.log().index.ids(group, NUMBERED);
        let ids: Vec<u64> = ids.into_iter().filter(|id| *id >= log.next()).collect();
        for ids in ids.chunks(REWRITTEN_MAX) {
            let mut messages: Vec<(u64, u64, Vec<u8>)> = Vec::new();
            for id in ids {
                let key = Key { group, kind: NUMBERED, id: *id };
                let read = self.read_key(key, |found| Ok((timestamp(found.part), found.body()?.to_vec())));
                match read {
                    Ok(Some((timestamp, body))) => messages.push((*id, timestamp, body)),
                    Ok(None) => {}
                    // Damaged: the message is lost.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                    Err(error) => return Err(error),
                }
            }
            for run in messages.chunk_by(|one, next| one.0 + 1 == next.0) {
                let first = run.first().map_or(log.next(), |message| message.0);
                recovered.lost += first - log.next();
                log.skip_to(first)?;
                let run: Vec<_> = run
                    .iter()
                    .map(|(sequence, timestamp, body)| StreamMessage {
                        sequence: *sequence,
                        timestamp: *timestamp,
                        body,
                    })
                    .collect();
                log.append(&run)?;
                recovered.rewritten += run.len() as u64;
            }
        }
        // The messages of damaged entries at the end are lost, but not their numbers.
        if let Some(last) = ids.last().filter(|last| **last >= log.next()) {
            recovered.lost += last + 1 - log.next();
            log.skip_to(last + 1)?;
        }
        Ok(())
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
        if !self.has_threads {
            return Ok(());
        }
        let Some(keeper) = self.take_keeper() else { return Ok(()) };
        let thread = thread::Builder::new().name("streams".to_owned()).spawn(move || keeper.run())?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

impl Shared {
    /// Lets the log forget the messages of a stream below a sequence, which are in the files of the stream, but for the last one: so a start knows
    /// which number was given last, whatever became of the files.
    pub(super) fn release_numbered(self: &Arc<Self>, group: u64, below: u64) {
        let below = below.saturating_sub(1);
        while self.log().index.forget_numbered(group, below, FORGOTTEN_MAX) {}
    }
}

/// Messages that are read at once when a stream is opened.
const REWRITTEN_MAX: usize = 1_000;

/// Keys that are forgotten while the index is locked: about a tenth of a millisecond.
const FORGOTTEN_MAX: usize = 2_000;
