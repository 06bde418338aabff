//! What a process does around its node: standby, broker, standby. The broker appends numbers, and counts as served what is stable. All processes
//! run in one thread, with the clock of the test.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::ledger::{Appended, Ledger, note};
use super::service::{Connection, Service};
use super::wait;
use crate::cluster::engine::Engine;
use crate::cluster::node::{BrokerServer, COMMANDS_MAX, Command, End, Identity, Note, Promotion, StandbyServer};
use crate::cluster::place::Place;
use crate::cluster::{ClusterHandle, Command as Wish, Role, Status};
use crate::store::sim::{Loss, SimDisk};
use crate::store::{Committer, Disk as _, Home, Hooks, Options, Progress, Store};

/// Some nodes.
pub(super) struct Cluster {
    service: Arc<Service>,
    ledger: Ledger,
    /// How often an owner appends.
    pub(super) pace: Duration,
    disks: BTreeMap<String, SimDisk>,
    processes: BTreeMap<String, Process>,
}

struct Process {
    handle: ClusterHandle,
    ends: Rc<Cell<bool>>,
    stop: Rc<Stop>,
    task: JoinHandle<()>,
}

/// Stops a process: none of its tasks goes on.
#[derive(Default)]
struct Stop {
    is_stopped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Cluster {
    pub(super) fn new(service: &Arc<Service>) -> Self {
        let (disks, processes) = (BTreeMap::new(), BTreeMap::new());
        Self { service: Arc::clone(service), ledger: Ledger::default(), pace: PACE, disks, processes }
    }

    pub(super) fn start(service: &Arc<Service>, nodes: &[&str]) -> Self {
        let mut cluster = Self::new(service);
        nodes.iter().for_each(|node| cluster.add(node));
        cluster
    }

    /// The disk of a node: empty at first.
    fn disk(&mut self, node: &str) -> SimDisk {
        let seed = u64::from(node.as_bytes()[0]);
        self.disks.entry(node.to_owned()).or_insert_with(|| SimDisk::new(seed)).clone()
    }

    /// The node was a broker that ran alone, and has acknowledged some numbers.
    pub(super) fn ran_alone(&mut self, node: &str) {
        let (disk, appended) = (self.disk(node), Mutex::default());
        let opened = Store::open_on(Arc::new(disk), &options(), Hooks::default(), &mut |_| ());
        let (store, mut committer, _) = opened.unwrap();
        (0..50).for_each(|_| self.ledger.append(&store, &appended));
        assert_eq!(committer.commit(), Progress::Worked);
        self.ledger.acknowledge(0, &appended, u64::MAX);
    }

    /// The brokers append nothing any more, or again.
    pub(super) fn quiet(&self, is_quiet: bool) {
        self.ledger.quiet(is_quiet);
    }

    /// Whether a node has a log with a mark.
    pub(super) fn has_copy(&self, node: &str) -> bool {
        Home::Simulated(self.disks[node].clone()).is_copy() && !self.segments(node).is_empty()
    }

    /// The files of the log of a node, the oldest first.
    fn segments(&self, node: &str) -> Vec<String> {
        let mut files = self.disks[node].list().unwrap();
        files.retain(|file| file.ends_with(".seg") && !file.contains('/'));
        files.sort();
        files
    }

    /// Changes a bit of an entry in the newest segment of a node that has one.
    pub(super) fn rot(&self, node: &str) {
        let disk = &self.disks[node];
        let newest = self.segments(node).into_iter().rev().map(|name| (disk.bytes(&name).unwrap(), name));
        let (bytes, name) = newest.into_iter().find(|(bytes, _)| bytes[150..200] != [0; 50]).unwrap();
        disk.open(&name).unwrap().write_at(150, &[bytes[150] ^ 1]).unwrap();
    }

    /// What the node says is wrong.
    pub(super) fn troubles(&self, node: &str) -> String {
        self.processes[node].handle.status().troubles().collect::<Vec<_>>().join("; ")
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.ledger.acknowledged()
    }

    pub(super) fn add(&mut self, node: &str) {
        let disk = self.disk(node);
        let identity = Identity {
            streams: |_, _| None,
            cell: 0,
            node: node.to_owned(),
            advertise: format!("{node}:1883"),
            home: Home::Simulated(disk.clone()),
            options: options(),
            copies: 2,
        };
        let status = Status::new("oncemq".to_owned(), node.to_owned(), identity.advertise.clone());
        let (handle, control) = ClusterHandle::new(status);
        let (service, name) = (Arc::clone(&self.service), node.to_owned());
        let connect = async move || {
            let (service, node) = (Arc::clone(&service), name.clone());
            Ok(Arc::new(Connection { service, node }) as Arc<dyn Engine>)
        };
        let (service, name) = (Arc::clone(&self.service), node.to_owned());
        let log = Box::new(move |_: Note, text: &str| service.note(&format!("node {name}: {text}")));
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (sender, replications) = blocking::sync_channel(1);
        let (ends, stop) = (Rc::<Cell<bool>>::default(), Rc::<Stop>::default());
        let own = commands.clone();
        let broker = Broker {
            commands,
            replications,
            disk,
            ends: Rc::clone(&ends),
            ledger: self.ledger.clone(),
            pace: self.pace,
        };
        let stopped = Rc::clone(&stop);
        let task = spawn_local(stopped.run(async move {
            let tasks = LocalSet::new();
            let node = crate::cluster::node::run(identity, connect, (own, received, sender), control, log);
            tasks.run_until(async { tokio::join!(node, broker.run()) }).await;
        }));
        self.processes.insert(node.to_owned(), Process { handle, ends, stop, task });
    }

    /// The node that says that it serves, unless it is cut off and cannot know.
    pub(super) fn owner(&self) -> Option<String> {
        let owners = self.processes.iter().filter(|(_, process)| process.handle.role() == Role::Owner);
        owners.max_by_key(|(_, process)| process.handle.status().epoch).map(|(name, _)| name.clone())
    }

    /// Whether the broker of this node serves, as far as the node knows.
    pub(super) fn serves(&self, node: &str) -> bool {
        self.processes[node].handle.role() == Role::Owner
    }

    pub(super) fn epoch(&self) -> u64 {
        self.processes.values().map(|process| process.handle.status().epoch).max().unwrap_or(0)
    }

    pub(super) fn is_following(&self, node: &str) -> bool {
        let status = self.processes[node].handle.status();
        status.role == Role::Standby && status.sequence > 1
    }

    pub(super) async fn move_from(&self, node: &str) {
        while self.processes[node].handle.ask(Wish::Drain).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks a node for something, without waiting.
    pub(super) fn wish(&self, node: &str, wish: Wish) {
        let handle = self.processes[node].handle.clone();
        spawn_local(async move { drop(handle.ask(wish).await) });
    }

    /// An operator asks a node for something.
    pub(super) async fn ask(&self, node: &str, wish: Wish) -> Result<(), String> {
        self.processes[node].handle.ask(wish).await.map(drop).map_err(|error| error.to_string())
    }

    /// An operator asks a node to forget another one.
    pub(super) async fn forget(&self, node: &str, other: &str) -> Result<(), String> {
        self.ask(node, Wish::Forget { node: other.to_owned() }).await
    }

    pub(super) async fn wait_for_acknowledgements(&self, more: usize) {
        let before = self.acknowledged();
        wait("more is acknowledged", || self.acknowledged() >= before + more).await;
    }

    pub(super) fn runs(&self, node: &str) -> bool {
        self.processes.contains_key(node)
    }

    /// Ends a process as an operator does.
    pub(super) async fn end(&mut self, node: &str) {
        let process = self.processes.remove(node).unwrap();
        process.ends.set(true);
        process.task.await.unwrap();
    }

    /// A process stands still, or goes on.
    pub(super) fn stop(&self, node: &str, is_stopped: bool) {
        let stop = &self.processes[node].stop;
        stop.is_stopped.set(is_stopped);
        if let Some(waker) = stop.waker.take() {
            waker.wake();
        }
    }

    /// A process is killed, or its machine loses its power.
    pub(super) async fn crash(&mut self, node: &str, loss: Loss, seed: u64) {
        let process = self.processes.remove(node).unwrap();
        let left = self.disks[node].restart(seed, loss);
        self.disks.insert(node.to_owned(), left);
        process.task.abort();
        assert!(process.task.await.is_err_and(|error| error.is_cancelled()), "it has panicked");
    }

    /// Ends all nodes, and compares what they have.
    pub(super) async fn end_all(mut self) {
        wait("there is an owner", || self.owner().is_some()).await;
        let owner = self.owner().unwrap();
        let others: Vec<String> = self.processes.keys().filter(|node| **node != owner).cloned().collect();
        for node in others.iter().chain([&owner]) {
            self.end(node).await;
        }
        let (disk, mut found) = (self.disk(&owner), BTreeSet::new());
        let mut visit = |entry: crate::store::Recovered<'_>| note(&entry, &mut found);
        Store::open_on(Arc::new(disk), &options(), Hooks::default(), &mut visit).unwrap();
        self.ledger.check(&found);
    }
}

impl Stop {
    /// Runs a process while it is not stopped.
    async fn run(self: Rc<Self>, process: impl Future<Output = ()>) {
        let mut process = std::pin::pin!(process);
        std::future::poll_fn(|context| {
            if self.is_stopped.get() {
                self.waker.replace(Some(context.waker().clone()));
                return Poll::Pending;
            }
            process.as_mut().poll(context)
        })
        .await;
    }
}

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::default() }
}

/// The broker of a process.
struct Broker {
    commands: mpsc::Sender<Command>,
    replications: blocking::Receiver<Promotion>,
    disk: SimDisk,
    ends: Rc<Cell<bool>>,
    ledger: Ledger,
    pace: Duration,
}

impl Broker {
    /// Runs until the process is to end.
    async fn run(self) {
        loop {
            let (promote, promoted) = oneshot::channel();
            let promote = Box::new(move || promote.send(()).unwrap_or_default());
            let standby = StandbyServer { announce: Box::new(|_| ()), promote };
            self.tell(Command::Standby(standby)).await;
            let has_ended = async {
                while !self.ends.get() {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            let ends = tokio::select! {
                biased;
                Ok(()) = promoted => self.serve().await,
                () = has_ended => true,
            };
            if ends {
                let (answer, answered) = oneshot::channel();
                self.tell(Command::Leave(answer)).await;
                let _ = timeout(LEAVE_TIMEOUT, answered).await;
                return;
            }
            self.tell(Command::Stopped).await;
        }
    }

    async fn tell(&self, command: Command) {
        assert!(self.commands.send(command).await.is_ok(), "the node has ended");
    }

    /// Serves until the node is not the owner any more. Returns whether the process is to end.
    async fn serve(&self) -> bool {
        let Promotion { epoch, replication } = self.replications.try_recv().unwrap();
        assert_eq!(Place::decode(&replication.mark.state).unwrap().reader.epoch, epoch);
        let (ledger, appended) = (self.ledger.clone(), Arc::<Mutex<Appended>>::default());
        let waiting = Arc::clone(&appended);
        let hooks = Hooks {
            on_stable: Box::new(move |_, ticket| ledger.acknowledge(epoch, &waiting, ticket)),
            replication: Some(replication),
            ..Hooks::default()
        };
        let mut found = BTreeSet::new();
        let mut visit = |entry: crate::store::Recovered<'_>| note(&entry, &mut found);
        let opened = Store::open_on(Arc::new(self.disk.clone()), &options(), hooks, &mut visit);
        let (store, mut committer, _) = opened.unwrap();
        self.ledger.opened(epoch, found);
        let (stop, stopped) = blocking::channel();
        let store = Arc::new(store);
        let stop = Arc::new(move |end| stop.send(end).unwrap_or_default());
        self.tell(Command::Serving(BrokerServer { store: Arc::clone(&store), stop })).await;
        let mut ends = false;
        while !ends {
            match stopped.try_recv() {
                Ok(End::Fenced(_)) => return false,
                Ok(End::HandsOver(_)) => break,
                Err(_) => ends = self.ends.get(),
            }
            self.ledger.append(&store, &appended);
            commit_all(&mut committer);
            sleep(self.pace).await;
        }
        store.begin_close();
        commit_all(&mut committer);
        while store.waits_for_majority() && !matches!(stopped.try_recv(), Ok(End::Fenced(_))) {
            sleep(Duration::from_millis(1)).await;
        }
        ends
    }
}

/// Commits what was appended, unless a majority has too little.
fn commit_all(committer: &mut Committer) {
    while committer.commit() == Progress::Worked {}
}

/// Small, so that space is reclaimed.
const SEGMENT_BYTES: u64 = 16 << 10;
const PACE: Duration = Duration::from_millis(5);
const LEAVE_TIMEOUT: Duration = Duration::from_secs(15);
