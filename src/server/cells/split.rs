//! `oncemq store split`: makes the logs of the cells of a cluster of the log of a broker that has run without cells.
//!
//! The new logs are written to a directory beside those of the broker. One rename makes them the logs of the cells, when all of them are complete, synced and
//! read back. The log before is kept, under another name. So whatever ends the process, there is the log before as a whole, or there are all new ones.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::super::store::fetch::keys;
use super::super::store::handle::record_keys;
use super::super::store::options::store_directory;
use super::directory::{CellsError, cells_of, write_number};
use super::terms::{CELLS_DIRECTORY, CellTerms};
use crate::broker::{CellContents, Recovery, Split, SplitError, SplitTerms};
use crate::routing::CellId;
use crate::store::{self, LiveLog, NewLog, OpenError, Options, give_to_owner_of};

/// What is to be split, and how.
#[derive(Debug, Clone)]
pub struct SplitRequest {
    /// The data directory.
    pub data: PathBuf,
    /// The number of cells, and what becomes of receipts.
    pub terms: SplitTerms,
    /// Whether the caller says that a copy of the log of a cluster is that of the node that was its owner last.
    pub is_last_owner: bool,
    /// How the stores of the cells are opened.
    pub options: Options,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitReport {
    /// The logs of the cells; none if an earlier call had made them, and ended before it had given the log before its name.
    pub cells: Vec<CellContents>,
    /// The number of retained messages, which each cell has.
    pub retained: usize,
    /// Where the log before is.
    pub kept: PathBuf,
}

/// Why a log was not split. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SplitFailure {
    /// There are logs of cells.
    #[error(transparent)]
    Cells(#[from] CellsError),
    /// It was split before.
    #[error("the data directory has the logs of {0} cells")]
    IsSplit(u16),
    /// It is a copy of the log of a cluster, up to this entry.
    #[error(
        "it is a copy of the log of a cluster, up to entry {0}: only that of the node that was the owner last has all messages. If it is this one, and all nodes are stopped, say so with --last-owner"
    )]
    Copy(u64),
    /// The log has something that no cell can have.
    #[error(transparent)]
    Unfit(#[from] SplitError),
    /// There is no room for the new logs.
    #[error("the logs of the cells need up to {needed} bytes, and the data directory has {free} free")]
    NoRoom {
        /// How much they need.
        needed: u64,
        /// How much there is.
        free: u64,
    },
    /// The log cannot be opened, or a new one cannot be made.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A file or a directory cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A new log does not have what was written to it.
    #[error("{} does not have what was written to it", .0.display())]
    Differs(PathBuf),
}

/// Makes the logs of the cells, and keeps the log before.
///
/// # Errors
/// Nothing was changed, or only the name of the log before is to be changed still, which another call does.
pub fn split_store(request: &SplitRequest) -> Result<SplitReport, SplitFailure> {
    split(request, &mut || ())
}

/// The same. `step` is called before each change of the disk.
fn split(request: &SplitRequest, step: &mut dyn FnMut()) -> Result<SplitReport, SplitFailure> {
    let SplitRequest { data, terms, .. } = request;
    let log = store_directory(data);
    if let Some(cells) = cells_of(data)? {
        if cells != terms.cells || !log.exists() {
            return Err(SplitFailure::IsSplit(cells));
        }
        let kept = keep(data, &log, step)?;
        return Ok(SplitReport { cells: Vec::new(), retained: 0, kept });
    }
    let from = LiveLog::open(&log)?;
    if store::is_copy(&log) && !request.is_last_owner {
        return Err(SplitFailure::Copy(from.report().next.saturating_sub(1)));
    }
    let streams = store::streams_in(&log)?;
    if !streams.is_empty() {
        return Err(SplitError::Streams(streams.join(", ")).into());
    }
    let (mut recovery, mut needed) = (Recovery::default(), 0);
    from.read(&mut |body, puts, parts| {
        let puts = record_keys(puts);
        needed += Split::bytes_max(terms.cells, body, &puts, parts);
        recovery.apply(body, (&puts, parts), &[], None);
        Ok::<_, io::Error>(())
    })?;
    let split = Split::new(recovery.finish(), *terms)?;
    step();
    let unfinished = data.join(UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    require_room(data, needed + u64::from(terms.cells) * (request.options.segment_bytes + FILES_BYTES))?;
    let written = write(&split, &from, (&unfinished, request), step);
    written.and_then(|()| finish(data, &unfinished, step)).inspect_err(|_| {
        // The error of the split is returned, so an error of the cleanup is ignored: the next call removes what is left.
        let _ = fs::remove_dir_all(&unfinished);
    })?;
    let kept = keep(data, &log, step)?;
    Ok(SplitReport { cells: split.contents().to_vec(), retained: split.retained(), kept })
}

/// Writes the logs of all cells to a new directory.
fn write(
    split: &Split,
    from: &LiveLog,
    (unfinished, request): (&Path, &SplitRequest),
    step: &mut dyn FnMut(),
) -> Result<(), SplitFailure> {
    let cells = request.terms.cells;
    let mut logs = Vec::with_capacity(cells.into());
    for cell in (0..=u8::MAX).take(cells.into()).map(CellId) {
        step();
        let directory = store_directory(&CellTerms::within(unfinished, cell));
        logs.push(Written { log: NewLog::create(&directory, &request.options)?, directory, keys: 0 });
    }
    let mut pending = 0;
    from.read::<SplitFailure>(&mut |body, puts, parts| {
        split.divide::<SplitFailure>(body, (&record_keys(puts), parts), &mut |CellId(cell), body, puts, parts| {
            let Some(to) = logs.get_mut(usize::from(cell)) else { return Ok(()) };
            to.keys += puts.len() as u64;
            let parts_len: usize = parts.iter().map(|part| part.len()).sum();
            pending += body.len() + parts_len + puts.len() * size_of::<store::Key>();
            Ok(to.log.append(body, &keys(puts), parts)?)
        })?;
        if pending >= PENDING_BYTES_MAX {
            step();
            pending = 0;
            logs.iter_mut().try_for_each(|to| to.log.commit())?;
        }
        Ok(())
    })?;
    for Written { mut log, directory, keys } in logs {
        step();
        log.commit()?;
        drop(log);
        let report = store::check(&directory, &mut |_| ())?;
        if report.keys != keys || !report.damages.is_empty() {
            return Err(SplitFailure::Differs(directory));
        }
    }
    step();
    Ok(write_number(unfinished, cells)?)
}

/// Makes the new logs those of the broker.
fn finish(data: &Path, unfinished: &Path, step: &mut dyn FnMut()) -> Result<(), SplitFailure> {
    give_to_owner_of(data, unfinished)?;
    step();
    fs::rename(unfinished, data.join(CELLS_DIRECTORY))?;
    Ok(File::open(data)?.sync_all()?)
}

/// Gives the log before its name, so that nobody takes it for that of the broker.
fn keep(data: &Path, log: &Path, step: &mut dyn FnMut()) -> io::Result<PathBuf> {
    step();
    let kept = data.join(KEPT);
    fs::rename(log, &kept)?;
    File::open(data)?.sync_all()?;
    Ok(kept)
}

/// A log that is written.
struct Written {
    log: NewLog,
    directory: PathBuf,
    /// The number of its keys.
    keys: u64,
}

fn require_room(data: &Path, needed: u64) -> Result<(), SplitFailure> {
    let found = rustix::fs::statvfs(data).map_err(io::Error::from)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    // A file system without a size, such as a tmpfs without a limit, has 0 blocks.
    if found.f_blocks > 0 && free < needed {
        return Err(SplitFailure::NoRoom { needed, free });
    }
    Ok(())
}

/// The directory with the logs of the cells until they are complete.
const UNFINISHED: &str = "cells.new";
/// The log before.
const KEPT: &str = "log.before-split";
/// What waits in memory for a commit of all cells.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// More than the files of a log take beside its entries and its reserve.
const FILES_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests;
