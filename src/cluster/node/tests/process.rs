//! What a process does around its node: standby, broker, standby. The broker appends numbers, and counts as served what is stable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use super::service::{Connection, Service};
use super::wait;
use crate::cluster::engine::Engine;
use crate::cluster::node::{BrokerServer, Command, End, Identity, Node, StandbyServer};
use crate::cluster::{ClusterHandle, Command as Wish, Role, Status};
use crate::store::{Entry, Hooks, Key, Level, Options, Recovered, Room, Store, check, is_copy};

/// Some nodes.
pub(super) struct Cluster {
    service: Arc<Service>,
    directory: TempDir,
    ledger: Arc<Mutex<Ledger>>,
    processes: BTreeMap<String, Process>,
}

struct Process {
    handle: ClusterHandle,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Numbers that were appended, and those that were acknowledged.
#[derive(Default)]
struct Ledger {
    last: u64,
    acknowledged: Vec<u64>,
    removed: BTreeSet<u64>,
    /// Nothing is appended.
    is_quiet: bool,
}

impl Cluster {
    pub(super) fn new(service: &Arc<Service>) -> Self {
        let (service, directory) = (Arc::clone(service), tempfile::tempdir().unwrap());
        Self { service, directory, ledger: Arc::default(), processes: BTreeMap::new() }
    }

    pub(super) fn start(service: &Arc<Service>, nodes: &[&str]) -> Self {
        let mut cluster = Self::new(service);
        nodes.iter().for_each(|node| cluster.add(node));
        cluster
    }

    /// The node was a broker that ran alone, and has acknowledged some numbers.
    pub(super) fn ran_alone(&self, node: &str) {
        let directory = self.directory.path().join(node);
        let (store, _) = Store::open(&directory, &options(), Hooks::default(), &mut |_| ()).unwrap();
        let (mine, mut live) = (Mutex::default(), VecDeque::new());
        (0..50).for_each(|_| append(&store, &self.ledger, (&mine, &mut live)));
        store.close();
        lock(&self.ledger).acknowledged.extend(live);
    }

    /// The brokers append nothing any more, or again.
    pub(super) fn quiet(&self, is_quiet: bool) {
        lock(&self.ledger).is_quiet = is_quiet;
    }

    /// Whether a node has a log with a mark.
    pub(super) fn has_copy(&self, node: &str) -> bool {
        is_copy(&self.directory.path().join(node)) && !self.segments(node).is_empty()
    }

    /// The files of the log of a node, the oldest first.
    fn segments(&self, node: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.directory.path().join(node)).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
        files.sort();
        files
    }

    /// Changes a bit of an entry in the newest segment of a node that has one.
    pub(super) fn rot(&self, node: &str) {
        let newest = self.segments(node).into_iter().rev().map(|path| (std::fs::read(&path).unwrap(), path));
        let (mut bytes, path) = newest.into_iter().find(|(bytes, _)| bytes[150..200] != [0; 50]).unwrap();
        bytes[150] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    /// What the node says is wrong.
    pub(super) fn troubles(&self, node: &str) -> String {
        self.processes[node].handle.status().troubles().collect::<Vec<_>>().join("; ")
    }

    pub(super) fn acknowledged(&self) -> usize {
        lock(&self.ledger).acknowledged.len()
    }

    pub(super) fn add(&mut self, node: &str) {
        let identity = Identity {
            node: node.to_owned(),
            advertise: format!("{node}:1883"),
            directory: self.directory.path().join(node),
            options: options(),
            copies: 3,
        };
        std::fs::create_dir_all(&identity.directory).unwrap();
        let status = Status::new("oncemq".to_owned(), node.to_owned(), identity.advertise.clone());
        let (handle, control) = ClusterHandle::new(status);
        let (service, name) = (Arc::clone(&self.service), node.to_owned());
        let connect = async move || {
            let (service, node) = (Arc::clone(&service), name.clone());
            Ok(Arc::new(Connection { service, node }) as Arc<dyn Engine>)
        };
        let name = node.to_owned();
        let log = move |_, text: &str| println!("node {name}: {text}");
        let node_thread = Node::start(identity.clone(), connect, control, log).unwrap();
        let (ends, ledger) = (Arc::<AtomicBool>::default(), Arc::clone(&self.ledger));
        let work = {
            let ends = Arc::clone(&ends);
            move || run(node_thread, &identity, &ends, &ledger)
        };
        let thread = Some(thread::spawn(work));
        self.processes.insert(node.to_owned(), Process { handle, ends, thread });
    }

    /// The node that says that it serves, unless it is cut off and cannot know.
    pub(super) fn owner(&self) -> Option<String> {
        let owners = self.processes.iter().filter(|(_, process)| process.handle.role() == Role::Owner);
        owners.max_by_key(|(_, process)| process.handle.status().epoch).map(|(name, _)| name.clone())
    }

    pub(super) fn is_following(&self, node: &str) -> bool {
        let status = self.processes[node].handle.status();
        status.role == Role::Standby && status.sequence > 1
    }

    pub(super) fn move_from(&self, node: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = &self.processes[node].handle;
        wait("it can be moved", || runtime.block_on(handle.ask(Wish::Drain)).is_ok());
    }

    /// An operator asks a node to forget another one.
    pub(super) fn forget(&self, node: &str, other: &str) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(self.processes[node].handle.ask(Wish::Forget { node: other.to_owned() }));
        asked.map(drop).map_err(|error| error.to_string())
    }

    pub(super) fn wait_for_acknowledgements(&self, more: usize) {
        let before = self.acknowledged();
        wait("more is acknowledged", || self.acknowledged() >= before + more);
    }

    pub(super) fn stop(&mut self, node: &str) {
        let mut process = self.processes.remove(node).unwrap();
        process.ends.store(true, Ordering::SeqCst);
        process.thread.take().unwrap().join().unwrap();
    }

    /// Ends all nodes, and compares what they have.
    pub(super) fn end(mut self) {
        let owner = self.owner().unwrap();
        let others: Vec<String> = self.processes.keys().filter(|node| **node != owner).cloned().collect();
        others.iter().for_each(|node| self.stop(node));
        self.stop(&owner);
        let mut found = BTreeSet::new();
        check(&self.directory.path().join(&owner), &mut |entry| note(&entry, &mut found)).unwrap();
        assert_eq!(lock(&self.ledger).owed().difference(&found).next(), None, "acknowledged, and not in the last log");
    }
}

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::default() }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(node: Node, identity: &Identity, ends: &AtomicBool, ledger: &Arc<Mutex<Ledger>>) {
    loop {
        let (promote, promoted) = mpsc::channel();
        let promote = Box::new(move || promote.send(()).unwrap_or_default());
        node.tell(Command::Standby(StandbyServer { announce: Box::new(|_| ()), promote }));
        while promoted.recv_timeout(Duration::from_millis(5)).is_err() {
            if ends.load(Ordering::SeqCst) {
                return node.leave();
            }
        }
        if serve(&node, identity, ends, ledger) {
            return node.leave();
        }
        node.tell(Command::Stopped);
    }
}

/// Serves until the node is not the owner any more. Returns whether the process is to end.
fn serve(node: &Node, identity: &Identity, ends: &AtomicBool, ledger: &Arc<Mutex<Ledger>>) -> bool {
    let owed = lock(ledger).owed();
    let (of_stable, mine) = (Arc::clone(ledger), Arc::<Mutex<VecDeque<u64>>>::default());
    let appended = Arc::clone(&mine);
    let hooks = Hooks {
        on_stable: Box::new(move |_, ticket| {
            let mine = &mut *appended.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(number) = mine.pop_front_if(|number| *number <= ticket) {
                lock(&of_stable).acknowledged.push(number);
            }
        }),
        replication: node.replication(),
        ..Hooks::default()
    };
    let mut found = BTreeSet::new();
    let opened = Store::open(&identity.directory, &identity.options, hooks, &mut |entry| {
        note(&entry, &mut found);
    });
    let (store, _) = opened.unwrap();
    assert_eq!(
        owed.difference(&found).next(),
        None,
        "acknowledged before, and not in the log of node {}",
        identity.node
    );
    let (stop, stopped) = mpsc::channel();
    let store = Arc::new(store);
    let server =
        BrokerServer { store: Arc::clone(&store), stop: Arc::new(move |end| stop.send(end).unwrap_or_default()) };
    node.tell(Command::Serving(server));
    let mut live = VecDeque::new();
    loop {
        match stopped.try_recv() {
            Ok(End::Fenced(_)) => return false,
            Ok(End::HandsOver(_)) => {
                store.close();
                return false;
            }
            Err(_) if ends.load(Ordering::SeqCst) => {
                store.close();
                return true;
            }
            Err(_) => append(&store, ledger, (&mine, &mut live)),
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// Appends the next number, and removes one that was appended long ago.
fn append(store: &Store, ledger: &Mutex<Ledger>, (mine, live): (&Mutex<VecDeque<u64>>, &mut VecDeque<u64>)) {
    let number = {
        let ledger = &mut *lock(ledger);
        if ledger.is_quiet {
            return;
        }
        ledger.last += 1;
        if live.len() > LIVE_MAX {
            ledger.removed.extend(live.front());
        }
        ledger.last
    };
    let removed: Vec<Key> = (live.len() > LIVE_MAX).then(|| live.pop_front()).flatten().map(key).into_iter().collect();
    live.push_back(number);
    mine.lock().unwrap_or_else(PoisonError::into_inner).push_back(number);
    let body = vec![7; 100];
    let entry = Entry {
        body: &body,
        puts: &[key(number)],
        parts: &[],
        deletes: &removed,
        ends: None,
        level: Level::PowerLoss,
        room: Room::Ordinary,
    };
    let _ = store.append(0, number, &entry); // a fenced store accepts nothing
}

fn note(entry: &Recovered<'_>, found: &mut BTreeSet<u64>) {
    found.extend(entry.puts.iter().map(|key| key.id));
    for key in entry.deletes {
        found.remove(&key.id);
    }
}

const fn key(number: u64) -> Key {
    Key { group: 0, kind: 0, id: number }
}

impl Ledger {
    /// What a log must have.
    fn owed(&self) -> BTreeSet<u64> {
        self.acknowledged.iter().copied().filter(|number| !self.removed.contains(number)).collect()
    }
}

/// Small, so that space is reclaimed.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Numbers of one owner that are not removed.
const LIVE_MAX: usize = 100;
