//! `oncemq store split`: makes the logs of the cells of a cluster of the log of one broker.

use anyhow::Context as _;

use oncemq::broker::{CellContents, SplitTerms};
use oncemq::config::{self, DataArguments};
use oncemq::server::{SplitReport, SplitRequest, split_store, store_directory, store_options};

use super::error::StoreError;
use crate::output::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The number of cells, as `cluster.cells` will have it. It cannot be changed later
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=256))]
    cells: u16,
    /// This node was the owner of its cluster last, and all nodes are stopped
    #[arg(long)]
    last_owner: bool,
    /// Give up receipts that are open: they are not published
    #[arg(long)]
    drop_receipts: bool,
    #[command(flatten)]
    data: DataArguments,
}

pub(super) fn run(Arguments { cells, last_owner, drop_receipts, data }: Arguments) -> anyhow::Result<()> {
    let config = config::load(&data.into())?.config;
    let directory = config.server.data.clone();
    let request = SplitRequest {
        data: directory.clone(),
        terms: SplitTerms { cells, drops_receipts: drop_receipts },
        is_last_owner: last_owner,
        options: store_options(&config),
    };
    let failed = || format!("the log in {} is not split", store_directory(&directory).display());
    let SplitReport { cells: made, retained, kept } =
        split_store(&request).map_err(StoreError::from).with_context(failed)?;
    for (cell, CellContents { sessions, queued }) in made.iter().enumerate() {
        print(&format!("cell {cell}: {sessions} sessions with {queued} messages, {retained} retained messages"))?;
    }
    print(&format!(
        "{} has the logs of {cells} cells: start the node with cluster.cells = {cells}",
        directory.display()
    ))?;
    print(&format!("the log before is kept in {}: remove it when the cells serve", kept.display()))
}
