//! A copy of a log beside the log that it is to replace.
//!
//! The files of the copy have the suffix `.incoming`, those of its streams in the directories of the streams, and the log stays as it is until the copy
//! is whole. Then the file `incoming` says that the copy counts: the log is removed, and what the streams have. The file becomes `incoming.moving`: the files of the copy get the names of the log. What a crash leaves is finished by
//! [`settle`]: forward if one of the two files is there, otherwise backward. Until then, the recovery of a store refuses the directory.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, LOCK, QUARANTINE};
use super::format::segment_number;
use super::mark;
use super::spares;
use super::stream_directories::StreamDirectories;
use super::writer::NEW;

/// The files of the copy, under the names that they will have.
pub(super) struct Beside(pub(super) Arc<dyn Disk>);

impl Disk for Beside {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(&beside(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(&beside(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.0.list()?.into_iter();
        Ok(names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(&beside(from), &beside(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(&beside(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn salt(&self) -> io::Result<u64> {
        self.0.salt()
    }
}

/// Finishes what a crash has interrupted: a copy that counts replaces the log and its streams, and what is there of another one is removed.
pub(super) fn settle(disk: &dyn Disk, streams: &StreamDirectories) -> io::Result<()> {
    if is_unsettled(disk)? {
        // A process that was killed may not have synced the name.
        disk.sync_names()?;
    }
    if is_there(disk, WHOLE)? {
        disk.list()?.iter().filter(|name| is_of_log(name)).try_for_each(|name| disk.remove(name))?;
        in_each(streams, |disk| {
            disk.list()?.iter().filter(|name| is_of_stream(name)).try_for_each(|name| disk.remove(name))
        })?;
        disk.sync_names()?;
        disk.rename(WHOLE, MOVING)?;
        disk.sync_names()?;
    }
    if is_there(disk, MOVING)? {
        in_each(streams, |disk| each_beside(disk, |name, in_log| disk.rename(name, in_log)))?;
        each_beside(disk, |name, in_log| disk.rename(name, in_log))?;
        disk.sync_names()?;
        disk.remove(MOVING)?;
        disk.sync_names()?;
    } else {
        in_each(streams, |disk| each_beside(disk, |name, _| disk.remove(name)))?;
        each_beside(disk, |name, _| disk.remove(name))?;
    }
    Ok(())
}

/// Passes the name of each file of the copy, with the one that it will have.
fn each_beside(disk: &dyn Disk, mut change: impl FnMut(&str, &str) -> io::Result<()>) -> io::Result<()> {
    let names = disk.list()?;
    names
        .iter()
        .filter_map(|name| Some((name, name.strip_suffix(SUFFIX)?)))
        .try_for_each(|(name, its)| change(name, its))
}

/// Changes names in the directories of all streams.
fn in_each(streams: &StreamDirectories, change: impl Fn(&dyn Disk) -> io::Result<()>) -> io::Result<()> {
    for number in (streams.numbers)()? {
        let disk = (streams.disk)(number)?;
        change(&*disk)?;
        disk.sync_names()?;
        disk.release();
    }
    Ok(())
}

/// Replaces the log and its streams by the files beside them, which must be synced, with their names: by nothing if there are none.
pub(super) fn replace(disk: &dyn Disk, streams: &StreamDirectories) -> io::Result<()> {
    disk.create(WHOLE)?.sync()?;
    disk.sync_names()?;
    settle(disk, streams)
}

/// Whether a copy is replacing the log.
pub(super) fn is_unsettled(disk: &dyn Disk) -> io::Result<bool> {
    Ok(is_there(disk, WHOLE)? || is_there(disk, MOVING)?)
}

/// The bytes of the log, with its spare files and its streams.
pub(super) fn log_bytes(disk: &dyn Disk, streams: &StreamDirectories) -> io::Result<u64> {
    let of = |disk: &dyn Disk, is_of: fn(&str) -> bool| -> io::Result<u64> {
        disk.list()?.iter().filter(|name| is_of(name)).map(|name| disk.open(name)?.size()).sum()
    };
    let mut bytes = of(disk, is_of_log)?;
    for number in (streams.numbers)()? {
        let disk = (streams.disk)(number)?;
        bytes += of(&*disk, is_of_stream)?;
        disk.release();
    }
    Ok(bytes)
}

fn is_of_log(name: &str) -> bool {
    segment_number(name).is_some() || name.ends_with(spares::SUFFIX) || [NEW, mark::NAME, mark::NEW].contains(&name)
}

/// A file of a stream, and not of its copy.
fn is_of_stream(name: &str) -> bool {
    let is_aside = QUARANTINE.strip_suffix('/').is_some_and(|aside| name.starts_with(aside));
    !is_aside && name != LOCK && !name.ends_with(SUFFIX)
}

fn is_there(disk: &dyn Disk, name: &str) -> io::Result<bool> {
    match disk.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        opened => opened.map(|_| true),
    }
}

fn beside(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// What follows the names of the copy's files.
const SUFFIX: &str = ".incoming";
/// The copy counts, and the log is being removed.
const WHOLE: &str = "incoming";
/// The log is removed, and the files of the copy are getting its names.
const MOVING: &str = "incoming.moving";
