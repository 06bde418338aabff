//! `oncemq store upgrade`: which formats the store has, and rewrites older ones.

use std::path::Path;

use oncemq::config::{self, DataArguments};
use oncemq::server::{inspect_store, store_directory, upgrade_store};
use oncemq::store::{self, FormatUse, Formats, OpenError};

use super::error::{StoreError, in_use, require_undamaged};
use super::tables;
use crate::output::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only say which formats there are and what would be rewritten; works while the broker runs
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    data: DataArguments,
}

pub(super) fn run(Arguments { dry_run, data }: Arguments) -> anyhow::Result<()> {
    let directory = store_directory(&config::load(&data.into())?.config.server.data);
    let formats = store::formats(&directory)?;
    print(&tables::formats(&formats))?;
    if let Some((name, version)) = formats.newer {
        return Err(StoreError::Open(OpenError::Newer { name, version }).into());
    }
    if dry_run { would_rewrite(&directory, &formats) } else { rewrite(&directory, &formats) }
}

/// Reads the whole store, unless a broker has it open.
fn would_rewrite(directory: &Path, formats: &Formats) -> anyhow::Result<()> {
    print(&match formats.older() {
        FormatUse { segments: 0, .. } => "nothing to rewrite".to_owned(),
        FormatUse { segments, bytes } => format!("would rewrite {segments} segments ({bytes} bytes)"),
    })?;
    match inspect_store(directory) {
        Err(OpenError::Locked { process, .. }) => print(&format!(
            "process {process} has the store open, so its contents were not read; it must be stopped for an upgrade"
        )),
        Err(error) => Err(StoreError::Open(error).into()),
        Ok((report, recovered)) => {
            require_undamaged(directory, &report)?;
            require_known(&recovered.unknown_kinds)?;
            print(&format!("this version reads all {} entries", report.entries))
        }
    }
}

fn rewrite(directory: &Path, formats: &Formats) -> anyhow::Result<()> {
    let FormatUse { segments, bytes } = formats.older();
    if segments == 0 {
        return print("nothing to rewrite");
    }
    require_known(&inspect_store(directory).map_err(in_use)?.1.unknown_kinds)?;
    let mut rewritten = 0;
    let report = upgrade_store(directory, &mut |name| {
        rewritten += 1;
        // Standard output may be closed: the store is upgraded without it.
        let _ = print(&format!("rewrote {name} ({rewritten} of {segments})"));
    })
    .map_err(in_use)?;
    print(&format!(
        "rewrote {segments} segments ({bytes} bytes) in format {}; the store has {} entries in {} segments, and is synced",
        formats.current, report.entries, report.segments
    ))
}

fn require_known(unknown_kinds: &[u8]) -> Result<(), StoreError> {
    match unknown_kinds {
        [] => Ok(()),
        kinds => Err(StoreError::UnknownRecords(kinds.to_vec())),
    }
}
