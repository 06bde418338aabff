//! `oncemq store adopt`: makes a copy of a cluster's log the one with which a new stream begins.

use anyhow::bail;

use oncemq::config::{self, DataArguments};
use oncemq::server::store_directory;
use oncemq::store;

use super::error::{in_use, require_undamaged};
use crate::output::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Do it: what other nodes have beyond this copy is lost. Without this, the command only says what the copy has
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    data: DataArguments,
}

pub(super) fn run(Arguments { accept_loss, data }: Arguments) -> anyhow::Result<()> {
    let directory = store_directory(&config::load(&data.into())?.config.server.data);
    let place = directory.display();
    if !store::is_copy(&directory) {
        bail!(
            "the store in {place} is not a copy of the log of a cluster, or was made the beginning of a new one before"
        );
    }
    let report = store::check(&directory, &mut |_| {}).map_err(in_use)?;
    let (last, keys, segments) = (report.next.saturating_sub(1), report.keys, report.segments);
    print(&format!("{place} has the log up to entry {last}, with {keys} live keys in {segments} segments"))?;
    require_undamaged(&directory, &report)?;
    if !accept_loss {
        return print(
            "nothing was changed: with --accept-loss, the next start of this node begins a new stream with it",
        );
    }
    store::forget_mark(&directory).map_err(in_use)?;
    print(
        "the next start of this node begins a new stream with it, if the old one is gone: move the copies of the other nodes away first",
    )
}
