//! `oncemq store`: checks, summarizes, backs up, restores, upgrades and splits a broker's store.

mod adopt;
mod backup_request;
mod directory;
mod error;
mod split;
mod tables;
mod upgrade;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use oncemq::config::{self, DataArguments};
use oncemq::server::{inspect_store, store_directory};
use oncemq::store::{self, OpenError};

pub(crate) use error::StoreError;
use error::{in_use, require_undamaged};

use crate::output::print;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read the whole store, verify every checksum, and list damaged regions
    Check(Inspect),
    /// Summarize the contents: sessions, retained messages, and queued messages by client
    Stats {
        #[command(flatten)]
        look: Inspect,
        /// Print JSON, with all clients
        #[arg(long)]
        json: bool,
    },
    /// Copy the store to a new or empty directory; works while the broker runs
    Backup {
        /// The copy's directory
        destination: PathBuf,
        #[command(flatten)]
        data: DataArguments,
    },
    /// Create the store from a backup; the broker must be stopped and have no store
    Restore {
        /// The backup's directory
        source: PathBuf,
        #[command(flatten)]
        data: DataArguments,
    },
    /// Make this copy of the log of a cluster the one with which a new stream begins, because the old stream is lost; the broker must be stopped
    Adopt(adopt::Arguments),
    /// Rewrite all parts of the store that have an older format; the broker must be stopped
    Upgrade(upgrade::Arguments),
    /// Divide the store among the cells of a cluster, and keep it as it was beside them; the broker must be stopped
    Split(split::Arguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Use this backup instead of the broker's store
    backup: Option<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
}

pub(crate) fn run(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Check(look) => check(&look.directory()?),
        StoreCommand::Stats { look, json } => {
            let (_, recovered) = inspect_store(&look.directory()?).map_err(in_use)?;
            print(&if json { tables::json(&recovered) } else { tables::text(&recovered) })
        }
        StoreCommand::Backup { destination, data } => backup(&destination, data),
        StoreCommand::Restore { source, data } => restore(&source, data),
        StoreCommand::Adopt(arguments) => adopt::run(arguments),
        StoreCommand::Upgrade(arguments) => upgrade::run(arguments),
        StoreCommand::Split(arguments) => split::run(arguments),
    }
}

impl Inspect {
    fn directory(self) -> anyhow::Result<PathBuf> {
        match self.backup {
            Some(backup) => Ok(backup),
            None => Ok(store_directory(&config::load(&self.data.into())?.config.server.data)),
        }
    }
}

fn check(directory: &Path) -> anyhow::Result<()> {
    let report = store::check_all(directory).map_err(in_use)?;
    print(&tables::report(&report))?;
    Ok(require_undamaged(directory, &report)?)
}

fn backup(destination: &Path, data: DataArguments) -> anyhow::Result<()> {
    let config = config::load(&data.into())?.config;
    directory::require_empty(destination)?;
    let report = match directory::copy(&store_directory(&config.server.data), destination) {
        Err(StoreError::Open(OpenError::Locked { process, .. })) => {
            let no_backup = |cause: String| StoreError::NoBackup { process: process.clone(), cause };
            let staged = backup_request::send(&config.admin, &process).map_err(no_backup)?;
            directory::require_parent(&staged, &config.server.data.join("backups")).map_err(no_backup)?;
            let moved = directory::rename(&staged, destination).or_else(|_| {
                // The destination is on another file system, or renaming is not permitted.
                directory::copy(&staged, destination)?;
                let left = std::fs::remove_dir_all(&staged);
                left.map_err(|error| StoreError::Open(error.into()))
            });
            moved.with_context(|| format!("the backup remains in {}", staged.display()))?;
            store::check_all(destination).map_err(StoreError::Open)?
        }
        copied => copied.with_context(|| format!("cannot copy to {}", destination.display()))?,
    };
    print(&format!("{} holds {} entries in {} segments", destination.display(), report.entries, report.segments))?;
    Ok(require_undamaged(destination, &report)?)
}

fn restore(source: &Path, data: DataArguments) -> anyhow::Result<()> {
    let directory = store_directory(&config::load(&data.into())?.config.server.data);
    match store::check(&directory, &mut |_| {}) {
        Err(OpenError::NoStore { .. }) => directory::require_empty(&directory)?,
        Err(error @ OpenError::Locked { .. }) => Err(StoreError::Open(error))?,
        Ok(_) | Err(_) => Err(StoreError::NotEmpty(directory.clone()))?,
    }
    let failed = || format!("cannot copy {} to {}", source.display(), directory.display());
    let report = directory::copy(source, &directory).with_context(failed)?;
    print(&format!("{} holds {} entries in {} segments", directory.display(), report.entries, report.segments))
}
