//! The broker as a node of a cluster with several cells. For each cell, the process is what `clustered.rs` has for all clients: a standby, then perhaps the
//! owner. One more server, the front, has the listeners, for as long as the process runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::runtime::Builder;
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use oncemq::cluster::balance::{Share, next_shift};
use oncemq::cluster::node::{BrokerServer, Command, Identity, Node, Note, Promotion, StandbyServer};
use oncemq::cluster::{self, ClusterHandle, CreateStream, Engine, Nats, Status};
use oncemq::config::{Arguments, Loaded};
use oncemq::routing::CellId;
use oncemq::server::{
    self, CellTerms, Cells, Ended, PassedSockets, Reloader, Server, ServerError, Standby, Start, Stopper,
};
use oncemq::store::Home;

use crate::clustered::{Secret, make_private, stop_of, tunnels};
use crate::serving::run;

/// Runs until a signal ends it.
pub(crate) fn serve(loaded: Loaded, arguments: &Arguments, passed: PassedSockets) -> anyhow::Result<()> {
    let cells = Cells::new(loaded.config.cluster.cells);
    let secret = Secret::default();
    let nodes = (0..loaded.config.cluster.cells)
        .filter_map(|cell| u8::try_from(cell).ok())
        .map(|cell| start(&loaded, CellId(cell), &secret))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let handles: Vec<ClusterHandle> = nodes.iter().map(|(_, _, handle)| handle.clone()).collect();
    let (balanced, name) = (handles.clone(), loaded.config.cluster.node.clone().unwrap_or_default());
    let (tunnels, failure) = (tunnels(&loaded), Failure::default());
    let start = Start {
        passed,
        tunnels,
        standby: Some(Standby::new(None)),
        front_of: Some(Arc::clone(&cells)),
        ..Start::default()
    };
    let mut threads = Vec::new();
    let begin = |front: &Server| {
        let (of_balance, work) = (Arc::clone(&cells), cells.work());
        let balance = move || {
            balance(&name, &balanced, &of_balance);
            drop(work);
        };
        match thread::Builder::new().name("balance".to_owned()).spawn(balance) {
            Ok(thread) => threads.push(thread),
            Err(error) => failure.report(error.into(), &cells),
        }
        for (id, node, _) in nodes {
            let (arguments, front) = (arguments.clone(), front.reloader());
            let secret = Arc::clone(&secret);
            let cell = Cell { id, secret, node, cells: Arc::clone(&cells), arguments, front };
            match cell.start(&failure) {
                Ok(thread) => threads.push(thread),
                Err(error) => failure.report(error, &cells),
            }
        }
    };
    let ended = run(loaded, arguments, start, (handles, begin));
    let is_interrupted = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(ServerError::Interrupted));
    if !ended.as_ref().is_err_and(is_interrupted) {
        // The other nodes need not wait until this one counts as dead.
        cells.end();
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
    failure.take().map_or_else(|| ended.map(drop), Err)
}

/// Starts the node of a cell.
fn start(loaded: &Loaded, CellId(cell): CellId, secret: &Secret) -> anyhow::Result<(CellId, Node, ClusterHandle)> {
    let mut config = loaded.config.clone();
    config.server.data = CellTerms::data(&config.server.data, CellId(cell));
    let cluster = config.cluster.clone();
    let (node, advertise) = (cluster.node.clone().unwrap_or_default(), cluster.advertise.clone().unwrap_or_default());
    let directory = server::store_directory(&config.server.data);
    make_private(&directory).with_context(|| format!("{} cannot be created", directory.display()))?;
    let identity = Identity {
        cell: cell.into(),
        node: node.clone(),
        advertise: advertise.clone(),
        home: Home::Directory(directory),
        streams: server::stream_terms,
        options: server::store_options(&config),
        copies: cluster.copies,
    };
    let (handle, control) = ClusterHandle::new(Status::new(cluster.name.clone(), node, advertise));
    let secret = Arc::clone(secret);
    let connect = async move || {
        let connected = Nats::connect_cell(&cluster, cell, CreateStream::IfMissing).await;
        let connected = connected.inspect(|nats| _ = secret.set(nats.secret()));
        connected.map(|nats| Arc::new(nats) as Arc<dyn Engine>).map_err(|error| error.to_string())
    };
    let log = move |note, text: &str| server::log_cluster(note == Note::Trouble, &format!("cell {cell}: {text}"));
    let node = Node::start(identity, connect, control, log).context("the thread of the cluster cannot be started")?;
    Ok((CellId(cell), node, handle))
}

/// Moves cells of this node to others, one at a time, until each has about the same number, and says which nodes are alive, for as long as the process runs.
fn balance(name: &str, handles: &[ClusterHandle], cells: &Cells) {
    let work = async {
        let mut looks = interval(LOOK_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let statuses: Vec<Status> = handles.iter().map(ClusterHandle::status).collect();
            let members = cluster::merged(&statuses).map(|all| all.members).unwrap_or_default();
            cells.set_nodes(&members.iter().filter(|node| node.is_alive).map(|node| &*node.node).collect::<Vec<_>>());
            let shares: Vec<Share> = statuses.iter().map(Share::of).collect();
            let Some(shift) = next_shift(&shares).filter(|shift| shift.from == name) else { continue };
            let Some(handle) = handles.get(shift.cell) else { continue };
            let moved = handle.ask(cluster::Command::Move { to: Some(shift.to.clone()) }).await;
            // Otherwise it is tried again, if it is still to be done.
            if moved.is_ok() {
                let text = format!("cell {} goes to {}, which owns fewer cells than this node", shift.cell, shift.to);
                server::log_cluster(false, &text);
            }
            sleep(MOVE_PAUSE).await;
        }
    };
    let Ok(runtime) = Builder::new_current_thread().enable_time().build() else { return };
    runtime.block_on(async {
        select! {
            () = cells.ended() => {}
            () = work => {}
        }
    });
}

/// What ends the process before a signal does.
#[derive(Debug, Clone, Default)]
struct Failure(Arc<Mutex<Option<anyhow::Error>>>);

impl Failure {
    /// The first one counts. All cells end, so that other nodes serve them.
    fn report(&self, error: anyhow::Error, cells: &Cells) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        cells.end();
    }

    fn take(&self) -> Option<anyhow::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A cell in this process.
struct Cell {
    id: CellId,
    secret: Secret,
    node: Node,
    cells: Arc<Cells>,
    arguments: Arguments,
    /// Has the configuration that is in force.
    front: Reloader,
}

impl Cell {
    fn start(self, failure: &Failure) -> anyhow::Result<thread::JoinHandle<()>> {
        let (failure, working) = (failure.clone(), self.cells.work());
        let cells = Arc::clone(&self.cells);
        let work = move || {
            let _until_its_end = working;
            if let Err(error) = self.run() {
                failure.report(error, &cells);
            }
        };
        let name = "cell".to_owned();
        thread::Builder::new().name(name).spawn(work).context("the thread of a cell cannot be started")
    }

    /// A standby, then the owner, then a standby again, until all servers are to end.
    fn run(self) -> anyhow::Result<()> {
        loop {
            if !self.stand_by()? {
                self.node.leave();
                return Ok(());
            }
            let promotion = self.node.promotion().ok_or_else(|| anyhow!("the thread of the cluster has ended"))?;
            match self.own(promotion) {
                Ok(Ended::Told { .. }) if !self.cells.has_to_end() => {}
                ended => {
                    self.node.leave();
                    return ended.map(drop);
                }
            }
            self.node.tell(Command::Stopped);
        }
    }

    /// Follows the log. Returns whether this node is the owner; otherwise all servers are to end.
    fn stand_by(&self) -> anyhow::Result<bool> {
        let (promote, promoted) = oneshot::channel();
        let (cells, id) = (Arc::clone(&self.cells), self.id);
        self.node.tell(Command::Standby(StandbyServer {
            announce: Box::new(move |owner| cells.served_by(id, owner.as_ref().map(|owner| owner.node.as_str()))),
            promote: Box::new(move || promote.send(()).unwrap_or_default()),
        }));
        Builder::new_current_thread().build()?.block_on(async {
            select! {
                biased;
                () = self.cells.ended() => Ok(false),
                promoted = promoted => {
                    promoted.map(|()| true).map_err(|_| anyhow!("the thread of the cluster has ended"))
                }
            }
        })
    }

    /// Serves the clients of the cell.
    fn own(&self, Promotion { epoch, replication }: Promotion) -> anyhow::Result<Ended> {
        // The node that served it before does not any more.
        self.cells.served_by(self.id, None);
        let reloads = self.cells.reloads();
        let (loaded, stopper) = (Loaded::clone(&self.front.in_force()), Stopper::default());
        // It was connected before it became the owner.
        let secret = self.secret.get().copied().unwrap_or_default();
        let cell = CellTerms { cell: self.id, epoch, secret, cells: Arc::clone(&self.cells), reloads };
        let stop = stop_of(stopper.clone());
        let start = Start {
            cell: Some(cell),
            stopper: Some(stopper),
            replication: Some((replication, secret)),
            ..Start::default()
        };
        let server = Server::start_with(loaded.config.clone(), start)?.reloading(self.arguments.clone(), loaded);
        if let Some(store) = server.store() {
            self.node.tell(Command::Serving(BrokerServer { store, stop }));
        }
        Ok(server.run()?)
    }
}

/// How often a node looks whether it is to give a cell to another one: the state of the nodes is about a second old.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How long it waits after that, so that clients come back, and the others know.
const MOVE_PAUSE: Duration = Duration::from_secs(5);
