//! The state machines of a cluster, driven with a real engine.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use nats_servers::Servers;
use oncemq::cluster::{
    Commit, CreateStream, Engine as _, EngineError, Nats, Pending, Reader, Replicator, Reply, Request, Step, Takeover,
};
use oncemq::config::Cluster;
use tokio::time::{sleep, timeout};

pub(crate) const CELL: u16 = 0;

/// The settings of a node.
pub(crate) fn config(node: &str, urls: &[String]) -> Cluster {
    let tail_copies = if urls.len() == 1 { 1 } else { 3 };
    Cluster {
        node: Some(node.to_owned()),
        nats: urls.to_vec(),
        advertise: Some("127.0.0.1:1883".to_owned()),
        tail_copies,
        ..Cluster::default()
    }
}

/// Connects as a node does: it tries again until it can.
pub(crate) async fn connect(config: &Cluster) -> Nats {
    let attempts = async {
        loop {
            match Nats::connect(config, CreateStream::IfMissing).await {
                Ok(nats) => return nats,
                Err(error) => println!("{error}"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, attempts).await.expect("a connection")
}

/// A node that is connected to the cluster.
pub(crate) async fn node(servers: &Servers, name: &str) -> Nats {
    connect(&config(name, &servers.urls())).await
}

/// The bytes of a commit.
pub(crate) fn batch(number: u64, bytes: usize) -> Bytes {
    let mut batch = number.to_le_bytes().to_vec();
    batch.resize(bytes.max(8), u8::try_from(number % 251).unwrap());
    batch.into()
}

/// Becomes the owner, and returns the epoch and where the log stands; `None`: a rival was faster.
pub(crate) async fn take_over(nats: &Nats, node: &str, reader: Reader) -> Option<(u64, Reader, Vec<Commit>)> {
    let mut takeover = Takeover::new(CELL, node.to_owned(), rand(node), reader);
    let mut commits = Vec::new();
    loop {
        for (name, request) in takeover.take_requests() {
            let reply = nats.perform(request).await;
            commits.extend(takeover.reply(name, reply));
        }
        if let Some(epoch) = takeover.epoch() {
            return Some((epoch, takeover.reader(), commits));
        }
        if let Some(lost) = takeover.lost() {
            println!("{node} lost: {lost:?}");
            return None;
        }
    }
}

fn rand(node: &str) -> u128 {
    let seed = node.bytes().fold(7_u128, |sum, byte| sum * 257 + u128::from(byte));
    seed << 32 | u128::from(std::process::id())
}

/// An owner that ships commits.
pub(crate) struct Owner {
    nats: Nats,
    pub(crate) replicator: Replicator,
    under_way: FuturesUnordered<Pending<(u64, Reply)>>,
    /// The log sequence of the next commit.
    sequence: u64,
}

impl Owner {
    pub(crate) fn new(nats: Nats, epoch: u64, reader: Reader, window: usize) -> Self {
        let replicator = Replicator::new(CELL, epoch, reader, window);
        Self { nats, replicator, under_way: FuturesUnordered::new(), sequence: reader.next }
    }

    pub(crate) fn ship(&mut self, bytes: usize) {
        let number = self.replicator.next_number();
        self.replicator.ship((self.sequence, 1), (0, 1), batch(number, bytes));
        self.sequence += 1;
        self.perform();
    }

    fn perform(&mut self) {
        for (name, request) in self.replicator.take_requests() {
            let reply = self.nats.perform(request);
            self.under_way.push(Box::pin(async move { (name, reply.await) }));
        }
    }

    /// Waits for one reply.
    pub(crate) async fn turn(&mut self) {
        if let Some((name, reply)) = self.under_way.next().await {
            self.replicator.reply(name, reply);
        }
        self.perform();
    }

    /// Ships commits of this size up to this number, and waits until all are replicated or it has ended.
    pub(crate) async fn ship_up_to(&mut self, last: u64, bytes: usize, ahead: u64) {
        let work = async {
            while self.replicator.replicated() < last && self.replicator.fault().is_none() {
                let limit = last.min(self.replicator.replicated() + ahead);
                while self.replicator.next_number() <= limit {
                    self.ship(bytes);
                }
                self.turn().await;
            }
        };
        timeout(PATIENCE, work).await.expect("commits are replicated");
    }
}

/// Reads the log from its beginning up to the end that the engine knows: the numbers of commits, and the position of the last entry.
pub(crate) async fn read_log(nats: &Nats, from: Reader) -> (Vec<Commit>, Reader) {
    let (mut reader, mut commits) = (from, Vec::new());
    loop {
        let Reply::Entries { entries, is_end } = nats.perform(Request::Read { after: reader.position }).await else {
            continue;
        };
        for found in &entries {
            match reader.step(CELL, found).unwrap() {
                Step::Commit(commit) => commits.push(commit),
                Step::Epoch(_) | Step::LeftOut => {}
            }
        }
        if is_end {
            return (commits, reader);
        }
    }
}

/// Reads the log from its beginning up to this position at least.
pub(crate) async fn read_log_up_to(nats: &Nats, position: u64) -> Vec<Commit> {
    let work = async {
        let (mut commits, mut reader) = (Vec::new(), Reader::new());
        while reader.position < position {
            let (more, next) = read_log(nats, reader).await;
            commits.extend(more);
            reader = next;
        }
        commits
    };
    timeout(PATIENCE, work).await.expect("the log is read")
}

/// Repeats what can fail while servers elect a leader.
pub(crate) async fn until_done<T>(mut attempt: impl FnMut() -> Pending<Result<T, EngineError>>) -> T {
    let attempts = async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => println!("{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, attempts).await.expect("it is done")
}

/// The server whose copy of the tail leads, when there is one.
pub(crate) async fn leader(nats: &Nats, servers: &Servers) -> usize {
    let attempts = async {
        loop {
            if let Ok(tail) = nats.tail().await
                && let Some(leader) = tail.leader
            {
                return servers.index_of(&leader);
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, attempts).await.expect("a leader")
}

/// Elections of JetStream take up to ten seconds, and many tests share few cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
