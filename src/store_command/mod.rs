//! `oncemq store`: looks at a broker's store, copies it, and makes one out of a copy.

mod ask;
mod error;
mod place;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use oncemq::config::{self, DataArguments};
use oncemq::server::{inspect_store, store_directory};
use oncemq::store::{self, OpenError, Report};

pub(crate) use error::StoreError;

use crate::output::say;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read all of it, test every checksum, and tell what is damaged
    Check(Look),
    /// Tell what is in it: sessions, retained messages, and queued messages by client
    Stats {
        #[command(flatten)]
        look: Look,
        /// As JSON, with all clients
        #[arg(long)]
        json: bool,
    },
    /// Copy it to a directory that is empty or not there, also while the broker runs
    Backup {
        /// The copy's directory
        destination: PathBuf,
        #[command(flatten)]
        data: DataArguments,
    },
    /// Make it out of a backup; the broker must not run, and have no store yet
    Restore {
        /// The backup's directory
        source: PathBuf,
        #[command(flatten)]
        data: DataArguments,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Look {
    /// Look at this backup instead of the broker's store
    backup: Option<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
}

pub(crate) fn run(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Check(look) => check(&look.directory()?),
        StoreCommand::Stats { look, json } => {
            let (_, recovered) = inspect_store(&look.directory()?).map_err(in_use)?;
            say(&if json { tables::json(&recovered) } else { tables::text(&recovered) })
        }
        StoreCommand::Backup { destination, data } => backup(&destination, data),
        StoreCommand::Restore { source, data } => restore(&source, data),
    }
}

impl Look {
    fn directory(self) -> anyhow::Result<PathBuf> {
        match self.backup {
            Some(backup) => Ok(backup),
            None => Ok(store_directory(&config::load(&self.data.into())?.config.server.data)),
        }
    }
}

fn check(directory: &Path) -> anyhow::Result<()> {
    let report = store::check(directory, &mut |_| {}).map_err(in_use)?;
    say(&tables::report(&report))?;
    Ok(sound(directory, &report)?)
}

fn backup(destination: &Path, data: DataArguments) -> anyhow::Result<()> {
    let config = config::load(&data.into())?.config;
    place::require_empty(destination)?;
    let report = match place::copy(&store_directory(&config.server.data), destination) {
        Err(StoreError::Open(OpenError::Locked { process, .. })) => {
            let no_backup = |cause: String| StoreError::NoBackup { process: process.clone(), cause };
            let made = ask::backup(&config.admin, &process).map_err(no_backup)?;
            place::require_parent(&made, &config.server.data.join("backups")).map_err(no_backup)?;
            let moved = place::rename(&made, destination).or_else(|_| {
                // On another file system, or beyond our rights.
                place::copy(&made, destination)?;
                let left = std::fs::remove_dir_all(&made);
                left.map_err(|error| StoreError::Open(error.into()))
            });
            moved.with_context(|| format!("the backup stays in {}", made.display()))?;
            store::check(destination, &mut |_| {}).map_err(StoreError::Open)?
        }
        copied => copied.with_context(|| format!("cannot copy to {}", destination.display()))?,
    };
    say(&format!("{} holds {} entries in {} segments", destination.display(), report.entries, report.segments))?;
    Ok(sound(destination, &report)?)
}

fn restore(source: &Path, data: DataArguments) -> anyhow::Result<()> {
    let directory = store_directory(&config::load(&data.into())?.config.server.data);
    match store::check(&directory, &mut |_| {}) {
        Err(OpenError::NoStore { .. }) => place::require_empty(&directory)?,
        Err(error @ OpenError::Locked { .. }) => Err(StoreError::Open(error))?,
        Ok(_) | Err(_) => Err(StoreError::NotEmpty(directory.clone()))?,
    }
    let failed = || format!("cannot copy {} to {}", source.display(), directory.display());
    let report = place::copy(source, &directory).with_context(failed)?;
    say(&format!("{} holds {} entries in {} segments", directory.display(), report.entries, report.segments))
}

fn in_use(error: OpenError) -> StoreError {
    if matches!(error, OpenError::Locked { .. }) { StoreError::InUse(error) } else { StoreError::Open(error) }
}

fn sound(directory: &Path, report: &Report) -> Result<(), StoreError> {
    match report.damages.len() {
        0 => Ok(()),
        count => Err(StoreError::Damaged { directory: directory.to_owned(), count }),
    }
}
