//! Takes over the state of mosquitto: reads the file in which it saves its state, and writes a new data directory that the broker recovers as
//! its own.
//!
//! The file is read twice. The first reading checks all of it and collects what fits memory: a few dozen bytes for each message and for each
//! place in a queue, but no payload. The second reading takes one message after the other and writes its record, which names all its
//! receivers.

mod chunks;
mod contents;
mod error;
mod fields;
mod mosquitto_db;
mod options;
mod plan;
mod report;
mod source;
#[cfg(feature = "mosquitto-sqlite")]
mod sqlite;
mod subscriptions;
mod target;
mod user_names;
mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::time::UNIX_EPOCH;

pub use error::{Fault, ImportError};
pub use options::{Options, Users};
pub use report::{EXAMPLES_MAX, Remark, RemarkKind, Report};

use contents::Contents;
use mosquitto_db::MosquittoDb;
use source::Source;
use target::Target;
use write::Writer;

use crate::timestamp::WallTime;

/// Writes the state that mosquitto saved in `file` to the data directory `data`, which must not exist or be empty. When it returns, everything
/// is synced. The file is a mosquitto.db, or, with the feature `mosquitto-sqlite`, the database of the plugin persist-sqlite.
///
/// # Errors
/// Whatever the error, the data directory is as it was before.
pub fn mosquitto_db(file: &Path, data: &Path, options: &Options) -> Result<Report, ImportError> {
    read(file, Some(data), options)
}

/// Says what [`mosquitto_db`] would do, and writes nothing.
///
/// # Errors
/// Those of the file.
pub fn examine_mosquitto_db(file: &Path, options: &Options) -> Result<Report, ImportError> {
    read(file, None, options)
}

fn read(file: &Path, data: Option<&Path>, options: &Options) -> Result<Report, ImportError> {
    let (opened, options) = open(file, options)?;
    match MosquittoDb::open(opened) {
        Ok((mut source, contents)) => take_over(&mut source, &contents, (file, data), &options),
        #[cfg(feature = "mosquitto-sqlite")]
        Err(Fault::Sqlite) => {
            let (mut source, contents) = sqlite::SqliteStore::open(file).map_err(|fault| fault.of(file))?;
            take_over(&mut source, &contents, (file, data), &options)
        }
        Err(fault) => Err(fault.of(file)),
    }
}

/// The same for bytes from anywhere. `file` is their name in errors.
///
/// # Errors
/// Those of the bytes.
pub fn examine(bytes: impl Read + Seek, file: &Path, options: &Options) -> Result<Report, ImportError> {
    let (mut source, contents) = MosquittoDb::open(bytes).map_err(|fault| fault.of(file))?;
    take_over(&mut source, &contents, (file, None), options)
}

/// Opens the file, and notes when it was written.
fn open(file: &Path, options: &Options) -> Result<(File, Options), ImportError> {
    let failed = |source| ImportError::Read { file: file.to_owned(), source };
    let opened = File::open(file).map_err(failed)?;
    let written = opened.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
    let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written = WallTime(u64::try_from(written.as_millis()).unwrap_or(u64::MAX));
    Ok((opened, Options { saved_at: options.saved_at.or(Some(written)), ..options.clone() }))
}

fn take_over(
    source: &mut impl Source,
    contents: &Contents,
    (file, data): (&Path, Option<&Path>),
    options: &Options,
) -> Result<Report, ImportError> {
    let mut report = Report { format: contents.format.clone(), ..Report::default() };
    let plan = plan::plan(contents, options, &mut report).map_err(|fault| fault.of(file))?;
    let mut target = data.map(Target::create).transpose()?;
    let mut writer = Writer { contents, options, file, target: target.as_mut(), report: &mut report };
    writer.write(&plan, source)?;
    if let Some(target) = target {
        target.finish()?;
    }
    Ok(report)
}
