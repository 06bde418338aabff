//! Removes a stream for ever.
//!
//! The file `removed` in its directory decides: once that is stable, the stream is gone, whatever becomes of the rest. The next start removes
//! what a crash has left. The directory stays, with nothing else in it, so that its number is not given again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{fs, io};

use super::Store;
use super::disk::{Disk, LOCK, QUARANTINE};
use super::stream::{NAME, decode_name};
use super::stream_directories::{STREAMS, numbers_in};
use super::stream_files::group_of;

impl Store {
    /// Removes a stream, open or not, with its messages. [`stream_names`](Self::stream_names) has its number still, which must not be used again. The
    /// caller removes what else it knows of it. Reads that have begun end with an error, or with what they have.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ResourceBusy`]: a backup is running. Otherwise the operating system returned an error. The stream is as it was.
    pub fn remove_stream(&self, number: u32) -> io::Result<()> {
        let group = group_of(number);
        let files = &self.shared.streams;
        let _opening = files.opening();
        let mut logs = files.logs();
        if files.pins.load(Ordering::SeqCst) > 0 {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let disk = match logs.get(&group) {
            Some(stream) => Arc::clone(&stream.disk),
            None => (files.directories.disk)(number)?,
        };
        mark_removed(&*disk)?;
        logs.remove(&group);
        files.remove_reader(group);
        drop(logs);
        // What was appended before, and is committed later, is not live.
        self.shared.forget_stream(group);
        let _ = remove_files(&*disk);
        disk.release();
        Ok(())
    }

    /// Whether a stream was removed, although its caller may know of it still.
    ///
    /// # Errors
    ///
    /// Its directory can't be opened.
    pub fn is_stream_removed(&self, number: u32) -> io::Result<bool> {
        let _opening = self.shared.streams.opening();
        is_removed(&*(self.shared.streams.directories.disk)(number)?)
    }
}

fn mark_removed(disk: &dyn Disk) -> io::Result<()> {
    disk.create(REMOVED)?.sync()?;
    disk.sync_names()
}

/// The owner of a replicated log has removed a stream: removes it from this directory, too.
pub(super) fn end_stream(disk: &dyn Disk) -> io::Result<()> {
    mark_removed(disk)?;
    // If that fails, they do no harm.
    let _ = remove_files(disk);
    disk.release();
    Ok(())
}

pub(super) fn is_removed(disk: &dyn Disk) -> io::Result<bool> {
    match disk.open(REMOVED) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        opened => opened.map(|_| true),
    }
}

/// The names of the streams in the directory of a store, without those that were removed; for a stream without a name, its number. The store need not be open.
///
/// # Errors
/// The directory can't be read.
pub fn streams_in(directory: &Path) -> io::Result<Vec<String>> {
    let streams = directory.join(STREAMS);
    let mut names = Vec::new();
    for number in numbers_in(&streams)? {
        let stream = streams.join(number.to_string());
        if !stream.join(REMOVED).try_exists()? {
            let name = fs::read(stream.join(NAME)).ok().and_then(|bytes| decode_name(number, &bytes));
            names.push(name.unwrap_or_else(|| number.to_string()));
        }
    }
    Ok(names)
}

/// Removes what a removed stream has left.
pub(super) fn remove_files(disk: &dyn Disk) -> io::Result<()> {
    for name in disk.list()?.iter().filter(|name| ![REMOVED, LOCK].contains(&name.as_str())) {
        match QUARANTINE.strip_suffix('/') {
            // It is a directory, and its files are for inspection.
            Some(quarantine) if name == quarantine => {}
            _ => disk.remove(name)?,
        }
    }
    disk.sync_names()
}

/// The file that says that a stream was removed.
pub(super) const REMOVED: &str = "removed";
