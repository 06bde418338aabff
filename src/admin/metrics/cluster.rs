//! The node of a cluster, and what it knows of the others. Without a cluster there are no series.

use crate::admin::metric::{Combinations, Metric, Source};
use crate::admin::snapshot::Snapshot;
use crate::cluster::{Failover, Member, Role, Status};
use crate::histogram::LatencyHistogram;
use crate::server::TunnelFigures;

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_cluster_role",
        labels: &["role"],
        help: "1 for what this node of the cluster does: starting, standby, taking-over, owner (it serves the clients), fenced or stopped; 0 for the others.",
        source: Source::Gauges(roles),
    },
    Metric {
        name: "oncemq_cluster_drained",
        labels: &[],
        help: "1 while this node does not take over by itself because a person said so, otherwise 0.",
        source: Source::Gauges(|snapshot| of_node(snapshot, |status| f64::from(u8::from(status.is_drained)))),
    },
    Metric {
        name: "oncemq_cluster_epoch",
        labels: &[],
        help: "The number of the term of the present owner, as this node knows it.",
        source: Source::Gauges(|snapshot| of_broker(snapshot, |status| status.epoch as f64)),
    },
    Metric {
        name: "oncemq_cluster_position",
        labels: &[],
        help: "The position of the last entry of the stream that this node has.",
        source: Source::Gauges(|snapshot| of_broker(snapshot, |status| status.position as f64)),
    },
    Metric {
        name: "oncemq_cluster_log_sequence",
        labels: &[],
        help: "The sequence behind the last entry of the log of this node.",
        source: Source::Gauges(|snapshot| of_broker(snapshot, |status| status.sequence as f64)),
    },
    Metric {
        name: "oncemq_cluster_replicated_sequence",
        labels: &[],
        help: "The sequence below which all entries of the log are on the disks of a majority, as this node knows it.",
        source: Source::Gauges(|snapshot| of_broker(snapshot, |status| status.replicated as f64)),
    },
    Metric {
        name: "oncemq_cluster_tail_bytes",
        labels: &[],
        help: "Bytes in the stream of the cluster, once they are known.",
        source: Source::Gauges(|snapshot| {
            figure(snapshot.cluster.iter().filter_map(|status| status.tail_bytes).map(|bytes| bytes as f64))
        }),
    },
    Metric {
        name: "oncemq_cluster_engine_seconds",
        labels: &[],
        help: "Time from sending a commit to the stream to its acknowledgement by a majority.",
        source: Source::Histograms(engine_latency),
    },
    Metric {
        name: "oncemq_cluster_takeovers_total",
        labels: &[],
        help: "How often this node has taken over the clients.",
        source: Source::Outcomes(|snapshot| count(snapshot, |status| status.takeovers)),
    },
    Metric {
        name: "oncemq_cluster_fences_total",
        labels: &[],
        help: "How often another node has taken over the clients of this one, which did not give them up.",
        source: Source::Outcomes(|snapshot| count(snapshot, |status| status.fences)),
    },
    Metric {
        name: "oncemq_cluster_failover_seconds",
        labels: &[],
        help: "How long the last change of the owner took that this node has seen, from the decision until clients could connect.",
        source: Source::Gauges(|snapshot| {
            let seconds = |Failover { duration, .. }: &Failover| duration.as_secs_f64();
            figure(snapshot.cluster.iter().filter_map(|status| status.last_failover.as_ref()).map(seconds))
        }),
    },
    Metric {
        name: "oncemq_cluster_troubles",
        labels: &[],
        help: "What is wrong with the cluster, as this node sees it: the number of sentences in GET /api/v1/cluster.",
        source: Source::Gauges(|snapshot| of_node(snapshot, |status| status.troubles().len() as f64)),
    },
    Metric {
        name: "oncemq_cluster_member_alive",
        labels: &["node"],
        help: "1 if the other node counts as alive, otherwise 0.",
        source: Source::Gauges(|snapshot| of_members(snapshot, |_, member| f64::from(u8::from(member.is_alive)))),
    },
    Metric {
        name: "oncemq_cluster_member_able",
        labels: &["node"],
        help: "1 if the other node can take over, otherwise 0.",
        source: Source::Gauges(|snapshot| {
            of_members(snapshot, |_, member| f64::from(u8::from(member.is_able && member.is_alive)))
        }),
    },
    Metric {
        name: "oncemq_cluster_member_lag_entries",
        labels: &["node"],
        help: "Entries of the log of this node that the other does not have on its disk.",
        source: Source::Gauges(|snapshot| of_members(snapshot, |status, member| status.lag(member) as f64)),
    },
    Metric {
        name: "oncemq_cluster_member_silent_seconds",
        labels: &["node"],
        help: "Time since this node has heard of the other.",
        source: Source::Gauges(|snapshot| of_members(snapshot, |_, member| member.silence.as_secs_f64())),
    },
    Metric {
        name: "oncemq_cluster_tunnels",
        labels: &[],
        help: "Open tunnels: clients whose sockets are on this node and that another one serves, or the reverse. Only with cluster.front = \"tunnel\".",
        source: Source::Gauges(|snapshot| figure(snapshot.tunnels.iter().map(|tunnels| tunnels.open as f64))),
    },
    Metric {
        name: "oncemq_cluster_tunnels_opened_total",
        labels: &[],
        help: "Tunnels since this node has its role.",
        source: Source::Outcomes(|snapshot| of_tunnels(snapshot, |tunnels| tunnels.opened)),
    },
    Metric {
        name: "oncemq_cluster_links",
        labels: &[],
        help: "Links to other nodes that can carry tunnels.",
        source: Source::Gauges(|snapshot| figure(snapshot.tunnels.iter().map(|tunnels| tunnels.links as f64))),
    },
    Metric {
        name: "oncemq_cluster_links_direct",
        labels: &[],
        help: "Of these, links over a connection of both nodes (cluster.link_address). The others go through NATS.",
        source: Source::Gauges(|snapshot| figure(snapshot.tunnels.iter().map(|tunnels| tunnels.direct as f64))),
    },
    Metric {
        name: "oncemq_cluster_links_closed_total",
        labels: &[],
        help: "Links to other nodes that were closed, with all their tunnels, since this node has its role.",
        source: Source::Outcomes(|snapshot| of_tunnels(snapshot, |tunnels| tunnels.links_closed)),
    },
    Metric {
        name: "oncemq_cluster_tunnel_sent_bytes_total",
        labels: &[],
        help: "Bytes of clients that were sent to other nodes through tunnels, since this node has its role.",
        source: Source::Outcomes(|snapshot| of_tunnels(snapshot, |tunnels| tunnels.bytes_sent)),
    },
    Metric {
        name: "oncemq_cluster_tunnel_received_bytes_total",
        labels: &[],
        help: "Bytes of clients that came from other nodes through tunnels, since this node has its role.",
        source: Source::Outcomes(|snapshot| of_tunnels(snapshot, |tunnels| tunnels.bytes_received)),
    },
    Metric {
        name: "oncemq_cluster_tunnel_frames_total",
        labels: &[],
        help: "Frames that were sent to other nodes for tunnels, since this node has its role.",
        source: Source::Outcomes(|snapshot| of_tunnels(snapshot, |tunnels| tunnels.frames_sent)),
    },
];

fn roles(snapshot: &Snapshot) -> Vec<(String, f64)> {
    let of = |status: &Status| {
        let present = status.role;
        Role::ALL.map(|role| (role.name().to_owned(), f64::from(u8::from(role == present))))
    };
    snapshot.cluster.iter().flat_map(of).collect()
}

fn of_node(snapshot: &Snapshot, of: fn(&Status) -> f64) -> Vec<(String, f64)> {
    figure(snapshot.cluster.iter().map(of))
}

/// What each cell has for itself, if there are several.
fn of_broker(snapshot: &Snapshot, of: fn(&Status) -> f64) -> Vec<(String, f64)> {
    if snapshot.cells.is_empty() { of_node(snapshot, of) } else { Vec::new() }
}

fn figure(figures: impl Iterator<Item = f64>) -> Vec<(String, f64)> {
    figures.map(|figure| (String::new(), figure)).collect()
}

fn of_members(snapshot: &Snapshot, of: fn(&Status, &Member) -> f64) -> Vec<(String, f64)> {
    let members = snapshot.cluster.iter().flat_map(|status| status.members.iter().map(move |member| (status, member)));
    members.map(|(status, member)| (member.node.clone(), of(status, member))).collect()
}

fn count(snapshot: &Snapshot, of: fn(&Status) -> u64) -> Combinations {
    snapshot.cluster.iter().map(|status| (Vec::new(), of(status))).collect()
}

fn of_tunnels(snapshot: &Snapshot, of: fn(&TunnelFigures) -> u64) -> Combinations {
    snapshot.tunnels.iter().map(|tunnels| (Vec::new(), of(tunnels))).collect()
}

fn engine_latency(snapshot: &Snapshot) -> Vec<(String, LatencyHistogram)> {
    snapshot.cluster.iter().map(|status| (String::new(), status.engine_latency)).collect()
}
