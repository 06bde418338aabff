//! The cells of a cluster, as this node sees them. Without cells there are no series. The number of series is that of cells, and not of pairs of them.

use crate::admin::metric::{Metric, Source};
use crate::admin::node::CellFigures;
use crate::admin::snapshot::Snapshot;
use crate::cluster::{Role, Status};

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_cluster_cell_owned",
        labels: &["cell"],
        help: "1 if this node serves the clients of the cell, otherwise 0. Only with cluster.cells, as all that follows.",
        source: Source::Gauges(|all| of_cells(all, |cell| f64::from(u8::from(cell.role == Role::Owner)))),
    },
    Metric {
        name: "oncemq_cluster_cell_epoch",
        labels: &["cell"],
        help: "The number of the term of the cell's present owner, as this node knows it.",
        source: Source::Gauges(|all| of_cells(all, |cell| cell.epoch as f64)),
    },
    Metric {
        name: "oncemq_cluster_cell_unreplicated_entries",
        labels: &["cell"],
        help: "Entries of the log of a cell that this node serves which are not on the disks of a majority, as far as it knows.",
        source: Source::Gauges(|all| of_own(all, |cell| cell.sequence.saturating_sub(cell.replicated) as f64)),
    },
    Metric {
        name: "oncemq_cluster_cell_lag_entries",
        labels: &["cell"],
        help: "Entries of the log of a cell that this node serves which the node alive that follows least does not have on its disk.",
        source: Source::Gauges(|all| {
            of_own(all, |cell| {
                let alive = cell.members.iter().filter(|member| member.is_alive);
                alive.map(|member| cell.lag(member)).max().unwrap_or(0) as f64
            })
        }),
    },
    Metric {
        name: "oncemq_cluster_cell_accepts_clients",
        labels: &["cell"],
        help: "1 if clients can connect to a cell that this node serves, 0 while it does not know the filters of all other cells.",
        source: Source::Gauges(|all| of_servers(all, |cell| f64::from(u8::from(cell.accepts_clients)))),
    },
    Metric {
        name: "oncemq_cluster_cell_links_up",
        labels: &["cell"],
        help: "Other cells with which all connections of a cell that this node serves are open.",
        source: Source::Gauges(|all| {
            of_servers(all, |cell| cell.links.iter().filter(|link| link.open == [true; 3]).count() as f64)
        }),
    },
    Metric {
        name: "oncemq_cluster_cell_links_down",
        labels: &["cell"],
        help: "Other cells with which they are not.",
        source: Source::Gauges(|all| {
            of_servers(all, |cell| cell.links.iter().filter(|link| link.open != [true; 3]).count() as f64)
        }),
    },
    Metric {
        name: "oncemq_cluster_cell_waiting_messages",
        labels: &["cell"],
        help: "Messages of a cell that this node serves for all other cells, which these have not confirmed.",
        source: Source::Gauges(|all| {
            of_servers(all, |cell| cell.links.iter().map(|link| link.waiting.0).sum::<usize>() as f64)
        }),
    },
    Metric {
        name: "oncemq_cluster_cell_waiting_bytes",
        labels: &["cell"],
        help: "Bytes of these messages.",
        source: Source::Gauges(|all| {
            of_servers(all, |cell| cell.links.iter().map(|link| link.waiting.1).sum::<usize>() as f64)
        }),
    },
];

fn of_cells(all: &Snapshot, of: fn(&Status) -> f64) -> Vec<(String, f64)> {
    all.cells.iter().enumerate().map(|(cell, status)| (cell.to_string(), of(status))).collect()
}

/// The same of those that this node owns.
fn of_own(all: &Snapshot, of: fn(&Status) -> f64) -> Vec<(String, f64)> {
    let cells = all.cells.iter().enumerate().filter(|(_, status)| status.role == Role::Owner);
    cells.map(|(cell, status)| (cell.to_string(), of(status))).collect()
}

fn of_servers(all: &Snapshot, of: fn(&CellFigures) -> f64) -> Vec<(String, f64)> {
    all.served.iter().map(|cell| (cell.cell.0.to_string(), of(cell))).collect()
}
