//! What the API says about a cluster, a node and a cell.

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::time::rfc_3339;
use crate::broker::CellLink;
use crate::cluster::balance::Share;
use crate::cluster::{Failover, Member, Owner, Status};
use crate::routing::CellId;
use crate::server::{Cells, TunnelFigures};
use crate::timestamp::WallTime;

/// The cluster, as this node sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Cluster)]
pub(super) struct ClusterJson {
    /// The name of the cluster.
    cluster: String,
    /// The name of this node.
    node: String,
    /// The address of this node that clients are referred to.
    advertise: String,
    /// starting, standby, taking-over, owner, fenced or stopped.
    role: &'static str,
    /// Whether this node does not take over by itself, because a person said so.
    drained: bool,
    /// The number of the term of the present owner; 0: there has been none.
    epoch: u64,
    /// Who serves the clients; `null`: not known.
    owner: Option<OwnerJson>,
    /// The position of the last entry of the stream that this node has.
    position: u64,
    /// The sequence behind the last entry of the log of this node.
    sequence: u64,
    /// All entries below this sequence are on the disks of a majority.
    replicated: u64,
    /// Bytes in the stream; `null`: not known.
    tail_bytes: Option<u64>,
    /// The other nodes.
    pub(super) members: Vec<MemberJson>,
    /// The cells over which the clients are spread; empty: one node serves all of them. If there are some, `owner`, `epoch` and the sequences of each are here
    /// alone.
    pub(super) cells: Vec<CellJson>,
    engine_latency: EngineLatencyJson,
    /// How often this node has taken over since its start.
    takeovers: u64,
    /// How often this node was fenced since its start.
    fences: u64,
    /// The last change of the owner that this node has seen; `null`: none since its start.
    last_failover: Option<FailoverJson>,
    /// What is wrong, for people; empty if nothing is.
    pub(super) troubles: Vec<String>,
    /// Clients whose sockets are on another node than the one that serves them; `null`: `cluster.front` is not "tunnel".
    pub(super) tunnels: Option<TunnelsJson>,
}

/// The tunnels of this node: of clients whose sockets are here, or that it serves.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterTunnels)]
pub(super) struct TunnelsJson {
    /// Open tunnels.
    open: u64,
    /// Tunnels since the node has its role, as all that follows.
    opened: u64,
    /// Links to other nodes that can carry tunnels.
    links: u64,
    /// Of these, links over a connection of both nodes (`cluster.link_address`), and not through NATS.
    links_direct: u64,
    /// Links that were closed, with all their tunnels.
    links_closed: u64,
    /// Bytes of clients that were sent to other nodes.
    bytes_sent: u64,
    /// Bytes of clients that came from other nodes.
    bytes_received: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClusterOwner)]
struct OwnerJson {
    node: String,
    /// The address that clients are referred to; `null`: not known.
    advertise: Option<String>,
}

/// Another node.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterMember)]
pub(super) struct MemberJson {
    node: String,
    advertise: String,
    /// As it said last; `null`: it has said nothing yet.
    role: Option<&'static str>,
    /// Whether it can take over.
    able: bool,
    /// Whether it counts as alive.
    alive: bool,
    /// The position of the last entry of the stream that it has.
    position: u64,
    /// The entries below this sequence are on its disk.
    sequence: u64,
    /// The entries of the log of this node that it does not have on its disk.
    lag: u64,
    /// The time since it was heard of.
    silent_seconds: f64,
}

impl From<TunnelFigures> for TunnelsJson {
    fn from(figures: TunnelFigures) -> Self {
        let TunnelFigures { open, opened, links, direct, links_closed, bytes_sent, bytes_received, .. } = figures;
        Self { open, opened, links, links_direct: direct, links_closed, bytes_sent, bytes_received }
    }
}

/// How long the engine took to acknowledge commits since the start of the node.
#[derive(Serialize, ToSchema)]
#[schema(as = EngineLatency)]
struct EngineLatencyJson {
    commits: u64,
    /// `null`: there was none.
    mean_seconds: Option<f64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Failover)]
struct FailoverJson {
    /// RFC 3339, UTC.
    at: String,
    /// The epoch that began.
    epoch: u64,
    /// The new owner.
    node: String,
    cause: String,
    /// From the decision until clients could connect.
    seconds: f64,
}

/// A cell of the cluster, as this node sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterCell)]
pub(super) struct CellJson {
    cell: usize,
    /// The node that serves its clients; `null`: not known, or it changes just now.
    owner: Option<String>,
    /// What this node is for it: starting, standby, taking-over, owner, fenced or stopped.
    role: &'static str,
    /// The number of the term of its present owner; 0: there has been none.
    epoch: u64,
    /// The nodes that are alive with a copy of its log that can be continued, the owner included.
    copies: usize,
    /// The sequence behind the last entry of the log of this node.
    sequence: u64,
    /// All entries below this sequence are on the disks of a majority, as this node knows it.
    replicated: u64,
    /// The entries of the log of this node that the other node alive which follows least has not on its disk.
    lag: u64,
    /// Bytes in its stream; `null`: not known.
    tail_bytes: Option<u64>,
    /// What is wrong, for people; empty if nothing is.
    troubles: Vec<String>,
    /// Whether its clients can connect; `null`: this node does not serve it. It waits until it knows the filters of all other cells.
    accepts_clients: Option<bool>,
    /// How many other cells it is connected with by all three connections; `null`: this node does not serve it.
    links_up: Option<usize>,
    /// Messages for other cells that these have not confirmed, and their bytes; `null`: this node does not serve it.
    waiting_messages: Option<usize>,
    waiting_bytes: Option<usize>,
    /// The connections with each other cell; empty: this node does not serve it.
    links: Vec<CellLinkJson>,
}

/// The connections between the server of a cell and that of another one.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterCellLink)]
pub(super) struct CellLinkJson {
    /// The other cell.
    cell: u8,
    /// Whether the connection is open over which messages go to the other cell.
    out: bool,
    /// The same for those that come from there.
    #[serde(rename = "in")]
    into: bool,
    /// The same for what each wants.
    control: bool,
    /// Messages for the other cell that it has not confirmed.
    waiting_messages: usize,
    waiting_bytes: usize,
}

impl CellLinkJson {
    const fn is_up(&self) -> bool {
        self.out && self.into && self.control
    }
}

impl From<CellLink> for CellLinkJson {
    fn from(
        CellLink { cell, open: [out, into, control], waiting: (waiting_messages, waiting_bytes) }: CellLink,
    ) -> Self {
        Self { cell: cell.0, out, into, control, waiting_messages, waiting_bytes }
    }
}

impl CellJson {
    /// Adds what the server of the cell says, if it is one of these.
    pub(super) fn with_links(self, here: Option<&Cells>) -> Self {
        let number = u8::try_from(self.cell).map(CellId);
        let Some((here, server)) = here.zip(number.ok()).and_then(|(here, cell)| Some((here, here.server(cell)?)))
        else {
            return self;
        };
        let links: Vec<CellLinkJson> = server.shared.cell_links().into_iter().map(CellLinkJson::from).collect();
        Self {
            accepts_clients: Some(here.accepts_clients(server.cell)),
            links_up: Some(links.iter().filter(|link| link.is_up()).count()),
            waiting_messages: Some(links.iter().map(|link| link.waiting_messages).sum()),
            waiting_bytes: Some(links.iter().map(|link| link.waiting_bytes).sum()),
            links,
            ..self
        }
    }

    pub(super) fn new(cell: usize, status: &Status) -> Self {
        let Share { owner, able } = Share::of(status);
        Self {
            cell,
            copies: able.len() + usize::from(owner.is_some()),
            owner,
            role: status.role.name(),
            epoch: status.epoch,
            sequence: status.sequence,
            replicated: status.replicated,
            lag: status
                .members
                .iter()
                .filter(|member| member.is_alive)
                .map(|member| status.lag(member))
                .max()
                .unwrap_or(0),
            tail_bytes: status.tail_bytes,
            troubles: status.troubles().map(str::to_owned).collect(),
            accepts_clients: None,
            links_up: None,
            waiting_messages: None,
            waiting_bytes: None,
            links: Vec::new(),
        }
    }
}

impl From<Status> for ClusterJson {
    fn from(status: Status) -> Self {
        let commits = status.engine_latency.count();
        let mean_seconds = (commits > 0).then(|| status.engine_latency.sum.as_secs_f64() / commits as f64);
        Self {
            tunnels: None,
            cells: Vec::new(),
            members: status.members.iter().map(|member| MemberJson::new(member, status.lag(member))).collect(),
            troubles: status.troubles().map(str::to_owned).collect(),
            engine_latency: EngineLatencyJson { commits, mean_seconds },
            role: status.role.name(),
            drained: status.is_drained,
            epoch: status.epoch,
            owner: status.owner.map(|Owner { node, advertise }| OwnerJson { node, advertise }),
            position: status.position,
            sequence: status.sequence,
            replicated: status.replicated,
            tail_bytes: status.tail_bytes,
            takeovers: status.takeovers,
            fences: status.fences,
            last_failover: status.last_failover.map(FailoverJson::from),
            cluster: status.cluster,
            node: status.node,
            advertise: status.advertise,
        }
    }
}

impl MemberJson {
    pub(super) fn new(member: &Member, lag: u64) -> Self {
        Self {
            node: member.node.clone(),
            advertise: member.advertise.clone(),
            role: member.role.map(|role| role.name()),
            able: member.is_able,
            alive: member.is_alive,
            position: member.position,
            sequence: member.sequence,
            lag,
            silent_seconds: member.silence.as_secs_f64(),
        }
    }
}

impl From<Failover> for FailoverJson {
    fn from(Failover { at, epoch, node, cause, duration }: Failover) -> Self {
        Self { at: rfc_3339(WallTime(at)), epoch, node, cause, seconds: duration.as_secs_f64() }
    }
}
