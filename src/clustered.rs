//! The broker as a node of a cluster: a standby, then perhaps the owner, then a standby again, in one process.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, anyhow};

use oncemq::cluster::node::{BrokerServer, Command, End, Identity, Node, Note, Promotion, StandbyServer, Stop};
use oncemq::cluster::{Bus, ClusterHandle, CreateStream, DirectBus, Engine, Nats, NatsBus, Status};
use oncemq::config::{Arguments, Loaded};
use oncemq::server::{self, CarriedBans, Connecting, Ended, PassedSockets, Standby, Start, Stopper, TunnelBus, Why};
use oncemq::store::{Home, Replication};

use crate::serving::run;

/// Runs until a signal ends it.
pub(crate) fn serve(mut loaded: Loaded, arguments: &Arguments, mut passed: PassedSockets) -> anyhow::Result<()> {
    let secret = Secret::default();
    let (node, handle) = start(&loaded, &secret)?;
    let mut bans = CarriedBans::default();
    loop {
        let standby = run_standby(&node, (loaded, arguments), (passed, bans), &handle);
        (passed, loaded, bans) = match standby {
            Ok(Ended::Told { sockets, loaded, bans, .. }) => (sockets, *loaded, bans),
            ended => return leave(node, ended),
        };
        let Promotion { replication, .. } =
            node.promotion().ok_or_else(|| anyhow!("the thread of the cluster has ended"))?;
        // It was connected before it became the owner.
        let replication = (replication, secret.get().copied().unwrap_or_default());
        let owner = run_owner(&node, (loaded, arguments), (passed, bans), (&handle, replication));
        (passed, loaded, bans) = match owner {
            Ok(Ended::Told { sockets, loaded, bans, .. }) => (sockets, *loaded, bans),
            ended => return leave(node, ended),
        };
        node.tell(Command::Stopped);
    }
}

/// What all nodes of a cluster know, and clients don't; once this one is connected.
pub(crate) type Secret = Arc<OnceLock<[u8; 16]>>;

fn start(loaded: &Loaded, secret: &Secret) -> anyhow::Result<(Node, ClusterHandle)> {
    let config = &loaded.config;
    let cluster = config.cluster.clone();
    let (node, advertise) = (cluster.node.clone().unwrap_or_default(), cluster.advertise.clone().unwrap_or_default());
    let directory = server::store_directory(&config.server.data);
    make_private(&directory).with_context(|| format!("{} cannot be created", directory.display()))?;
    let identity = Identity {
        cell: 0,
        node: node.clone(),
        advertise: advertise.clone(),
        home: Home::Directory(directory),
        streams: server::stream_terms,
        options: server::store_options(config),
        copies: cluster.copies,
    };
    let (handle, control) = ClusterHandle::new(Status::new(cluster.name.clone(), node, advertise));
    let secret = Arc::clone(secret);
    let connect = async move || {
        let connected = Nats::connect(&cluster, CreateStream::IfMissing).await;
        let connected = connected.inspect(|nats| _ = secret.set(nats.secret()));
        connected.map(|nats| Arc::new(nats) as Arc<dyn Engine>).map_err(|error| error.to_string())
    };
    let log = |note, text: &str| server::log_cluster(note == Note::Trouble, text);
    let node = Node::start(identity, connect, control, log).context("the thread of the cluster cannot be started")?;
    Ok((node, handle))
}

/// Makes a directory that only the user of the process may read, if it is not there.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// What carries the clients of other nodes, if they are to be passed.
pub(crate) fn tunnels(loaded: &Loaded) -> Option<TunnelBus> {
    let cluster = loaded.config.cluster.clone();
    let connect = move || -> Connecting {
        let cluster = cluster.clone();
        Box::pin(async move {
            let service = NatsBus::connect(&cluster).await.map_err(|error| error.to_string())?;
            let bus = DirectBus::new(Arc::new(service), cluster.link_address, cluster.announced_link_address()).await;
            let bus = bus.map_err(|error| format!("cannot listen at cluster.link_address: {error}"))?;
            Ok(Arc::new(bus) as Arc<dyn Bus>)
        })
    };
    loaded.config.cluster.passes_clients().then(|| TunnelBus { connect: Box::new(connect) })
}

fn run_standby(
    node: &Node,
    (loaded, arguments): (Loaded, &Arguments),
    (passed, bans): (PassedSockets, CarriedBans),
    handle: &ClusterHandle,
) -> anyhow::Result<Ended> {
    let (standby, stopper) = (Standby::new(None), Stopper::default());
    let (referred, promoted) = (Arc::clone(&standby), stopper.clone());
    node.tell(Command::Standby(StandbyServer {
        announce: Box::new(move |owner| {
            referred.set_owner(owner.as_ref().and_then(|owner| owner.advertise.as_deref()));
            referred.set_node(owner.as_ref().map(|owner| owner.node.as_str()));
        }),
        promote: Box::new(move || promoted.stop(Why::Promoted)),
    }));
    let tunnels = tunnels(&loaded);
    let start = Start { passed, bans, standby: Some(standby), stopper: Some(stopper), tunnels, ..Start::default() };
    run(loaded, arguments, start, (vec![handle.clone()], |_| ()))
}

fn run_owner(
    node: &Node,
    (loaded, arguments): (Loaded, &Arguments),
    (passed, bans): (PassedSockets, CarriedBans),
    (handle, replication): (&ClusterHandle, (Replication, [u8; 16])),
) -> anyhow::Result<Ended> {
    let stopper = Stopper::default();
    let stop = stop_of(stopper.clone());
    let (tunnels, replication) = (tunnels(&loaded), Some(replication));
    let start = Start { passed, bans, stopper: Some(stopper), replication, tunnels, ..Start::default() };
    let serving = |server: &server::Server| {
        if let Some(store) = server.store() {
            node.tell(Command::Serving(BrokerServer { store, stop }));
        }
    };
    run(loaded, arguments, start, (vec![handle.clone()], serving))
}

/// What ends a broker for its node.
pub(crate) fn stop_of(stopper: Stopper) -> Stop {
    Arc::new(move |end| {
        stopper.stop(match end {
            End::Fenced(reason) => Why::Fenced { reason, owner: None },
            End::HandsOver(owner) => Why::Moved { owner },
        });
    })
}

/// The process ends: the other nodes need not wait until this one counts as dead.
fn leave(node: Node, ended: anyhow::Result<Ended>) -> anyhow::Result<()> {
    node.leave();
    ended.map(drop)
}
