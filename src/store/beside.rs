//! A copy of a log beside the log that it is to replace.
//!
//! The files of the copy have the suffix `.incoming`, and the log stays as it is until the copy is whole. Then the file `incoming` says that the copy
//! counts: the log is removed. The file becomes `incoming.moving`: the files of the copy get the names of the log. What a crash leaves is finished by
//! [`settle`]: forward if one of the two files is there, otherwise backward. Until then, the recovery of a store refuses the directory.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::format::segment_number;
use super::mark;
use super::spares;
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

/// Finishes what a crash has interrupted: a copy that counts replaces the log, and what is there of another one is removed.
pub(super) fn settle(disk: &dyn Disk) -> io::Result<()> {
    if is_unsettled(disk)? {
        // A process that was killed may not have synced the name.
        disk.sync_names()?;
    }
    if is_there(disk, WHOLE)? {
        disk.list()?.iter().filter(|name| is_of_log(name)).try_for_each(|name| disk.remove(name))?;
        disk.sync_names()?;
        disk.rename(WHOLE, MOVING)?;
        disk.sync_names()?;
    }
    let names = disk.list()?;
    let files = names.iter().filter_map(|name| Some((name, name.strip_suffix(SUFFIX)?)));
    if is_there(disk, MOVING)? {
        files.into_iter().try_for_each(|(name, in_log)| disk.rename(name, in_log))?;
        disk.sync_names()?;
        disk.remove(MOVING)?;
        disk.sync_names()?;
    } else {
        files.into_iter().try_for_each(|(name, _)| disk.remove(name))?;
    }
    Ok(())
}

/// Replaces the log by the files beside it, which must be synced, with their names: by nothing if there are none.
pub(super) fn replace(disk: &dyn Disk) -> io::Result<()> {
    disk.create(WHOLE)?.sync()?;
    disk.sync_names()?;
    settle(disk)
}

/// Whether a copy is replacing the log.
pub(super) fn is_unsettled(disk: &dyn Disk) -> io::Result<bool> {
    Ok(is_there(disk, WHOLE)? || is_there(disk, MOVING)?)
}

/// The bytes of the log, with its spare files.
pub(super) fn log_bytes(disk: &dyn Disk) -> io::Result<u64> {
    disk.list()?.iter().filter(|name| is_of_log(name)).map(|name| disk.open(name)?.size()).sum()
}

fn is_of_log(name: &str) -> bool {
    segment_number(name).is_some() || name.ends_with(spares::SUFFIX) || [NEW, mark::NAME, mark::NEW].contains(&name)
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
