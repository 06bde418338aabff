//! NATS JetStream as the engine of a cluster. No other module names the client library.
//!
//! The tail is a stream with a few copies, each on another server. Appends, the latest epoch entry, trimming and the state of the tail are the business of the
//! copy that leads. Entries are read from the copy that is nearest, which may be behind, or have lost some: that is noticed by who reads them.

mod api;
mod append;
mod bus;
mod connection;
mod credentials;
mod follow;
mod names;
mod read;
mod replies;
mod state;
mod terms;

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

use super::engine::{Beat, Condition, Engine, EngineError, Pending, Question, Tail};
use super::request::{Found, Reply, Request};
use crate::config::Cluster;
use append::{Expected, append};
pub use bus::NatsBus;
use connection::{Call, Connection};
use follow::{Came, Follow};
use names::Names;
use read::Batch;
use state::End;
pub use terms::CreateStream;
use terms::{Kind, Terms, id_of, new_id};

/// A node's access to the tail and to the other nodes.
#[derive(Debug, Clone)]
pub struct Nats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Connection,
    names: Names,
    /// What the tail must be.
    terms: Terms,
    id: u128,
    /// That of the tail of cell 0.
    first_id: u128,
    /// The number of reads that ask the copy that leads.
    careful: AtomicU32,
    /// The place of the last sign of life of this node.
    place: AtomicU64,
    end: End,
    /// How many signs of life of this node in a row were not taken.
    failures: AtomicU32,
    follow: Mutex<Option<Follow>>,
}

impl Nats {
    /// Connects to one of the servers, and looks at the streams, or makes them. The connection is made again whenever it ends.
    ///
    /// # Errors
    /// No server answers, or not as it must. The caller tries again later: nothing of it is permanent but settings that contradict each other.
    pub async fn connect(config: &Cluster, create: CreateStream) -> Result<Self, EngineError> {
        Self::connect_cell(config, 0, create).await
    }

    /// The same for a cell. The cluster must have been made with `cluster.cells` cells, which the tail of cell 0 says.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    pub async fn connect_cell(config: &Cluster, cell: u8, create: CreateStream) -> Result<Self, EngineError> {
        let connection = Connection::new(config).await?;
        let first = Terms::of_tail(config, &Names::of(config, 0)).ensure(&connection, create, new_id()?).await?;
        let first_id = id_of(&first).ok_or(EngineError::Malformed("a tail without its number"))?;
        let names = Names::of(config, cell);
        let terms = Terms::of_tail(config, &names);
        let new_id = new_id()?;
        let settings = terms.ensure(&connection, create, new_id).await?;
        let id = id_of(&settings).ok_or(EngineError::Malformed("a tail without its number"))?;
        let subjects = vec![format!("{}*", names.node_prefix)];
        let nodes = Terms { name: names.nodes.clone(), subjects, kind: Kind::Latest, ..terms };
        // It has nothing that can be lost.
        nodes.ensure(&connection, CreateStream::IfMissing, new_id).await?;
        let (careful, failures) = (AtomicU32::new(0), AtomicU32::new(0));
        let (place, end, follow) = (AtomicU64::new(0), End::default(), Mutex::new(None));
        Ok(Self(Arc::new(Shared { connection, names, terms, id, first_id, careful, place, end, failures, follow })))
    }
}

impl Nats {
    /// A random number that was made with the cluster: that of the tail of cell 0. All nodes know it, and clients don't.
    pub fn secret(&self) -> [u8; 16] {
        self.0.first_id.to_le_bytes()
    }
}

impl Shared {
    async fn perform(&self, request: Request) -> Reply {
        let is_append = matches!(request, Request::Append { .. } | Request::AppendEpoch { .. });
        let outcome = self.try_perform(request).await;
        if is_append {
            self.connection.set_trouble(outcome.as_ref().err().map(ToString::to_string));
        }
        match outcome {
            Ok(reply) => {
                match &reply {
                    Reply::Appended(position) => self.end.see(*position),
                    Reply::Entries { entries, .. } => self.end.see_entries(entries),
                    Reply::Refused | Reply::Unknown | Reply::Epoch(_) => {}
                }
                // There is a leader, and the nearest copy may not have what it knows.
                if reply == Reply::Refused {
                    self.careful.fetch_max(1, Ordering::Relaxed);
                }
                reply
            }
            Err(_) => {
                sleep(PAUSE_AFTER_FAILURE).await;
                Reply::Unknown
            }
        }
    }

    async fn try_perform(&self, request: Request) -> Result<Reply, EngineError> {
        let Self { connection, names, .. } = self;
        match request {
            Request::Append { expected, entry } => {
                append(connection, (&names.tail, &names.commits), Expected::End(expected), entry).await
            }
            Request::AppendEpoch { expected, entry } => {
                append(connection, (&names.tail, &names.epochs), Expected::OfSubject(expected), entry).await
            }
            Request::Read { after } => {
                let Batch { entries, is_end } = self.read(after).await?;
                if entries.is_empty() {
                    sleep(PAUSE_AT_THE_END).await;
                }
                Ok(Reply::Entries { entries, is_end })
            }
            Request::ReadEpoch => Ok(Reply::Epoch(read::last_of(connection, &names.tail, &names.epochs).await?)),
        }
    }

    async fn read(&self, after: u64) -> Result<Batch, EngineError> {
        if self.is_careful() {
            self.careful.fetch_sub(1, Ordering::Relaxed);
            read::from_leader(&self.connection, &self.names.tail, after).await
        } else {
            read::direct(&self.connection, &self.names.tail, after).await
        }
    }

    fn is_careful(&self) -> bool {
        self.careful.load(Ordering::Relaxed) > 0
    }

    /// Entries from the consumer, which is made anew if it stands elsewhere. In each second without entries, and if there is no consumer, another
    /// copy is asked: a consumer whose server stands still says nothing.
    async fn follow(&self, after: u64) -> Result<Vec<Found>, EngineError> {
        let mut place = self.follow.lock().await;
        let mut follow = place.take();
        if let Some(other) = follow.take_if(|follow| follow.position() != after || self.is_careful()) {
            other.end(&self.connection).await;
        }
        if self.is_careful() {
            return self.read_at_the_end(after).await;
        }
        let follow = match follow {
            Some(follow) => Ok(follow),
            None => Follow::begin(&self.connection, &self.names.tail, after).await,
        };
        // There is none while the servers elect a leader.
        let Ok(mut follow) = follow else { return self.read_at_the_end(after).await };
        match follow.next(&self.connection).await? {
            Came::Entries(entries) => {
                *place = Some(follow);
                Ok(entries)
            }
            came @ (Came::Nothing | Came::Broken) => {
                let entries = self.read(after).await?.entries;
                if came == Came::Nothing && entries.is_empty() {
                    *place = Some(follow);
                } else {
                    follow.end(&self.connection).await;
                }
                Ok(entries)
            }
        }
    }

    async fn read_at_the_end(&self, after: u64) -> Result<Vec<Found>, EngineError> {
        let entries = self.read(after).await?.entries;
        if entries.is_empty() {
            sleep(PAUSE_WITHOUT_CONSUMER).await;
        }
        Ok(entries)
    }

    async fn tail(&self) -> Result<Tail, EngineError> {
        let seen = self.end.seen();
        let tail = state::tail(&self.connection, &self.terms, self.id).await?;
        if self.end.is_doubtful(tail.last, seen).await { Err(EngineError::Stale) } else { Ok(tail) }
    }

    async fn trim(&self, below: u64) -> Result<(), EngineError> {
        let below = below.min(self.tail().await?.last);
        if below <= 1 {
            return Ok(());
        }
        let request = json!({ "filter": self.names.commits, "seq": below });
        api::ask(&self.connection, &format!("STREAM.PURGE.{}", self.names.tail), request).await.map(drop)
    }

    async fn move_leader(&self) -> Result<(), EngineError> {
        self.careful.store(CAREFUL_READS, Ordering::Relaxed);
        let operation = format!("STREAM.LEADER.STEPDOWN.{}", self.names.tail);
        api::ask(&self.connection, &operation, Value::Null).await.map(drop)
    }

    /// The server may answer, and not reach the others: then one of those may have what this one lacks.
    async fn raise(&self, beat: Bytes) -> Result<u64, EngineError> {
        let outcome = self.try_raise(beat).await;
        if outcome.is_ok() {
            self.failures.store(0, Ordering::Relaxed);
        } else if self.failures.fetch_add(1, Ordering::Relaxed) % FAILURES_MAX == FAILURES_MAX - 1 {
            self.connection.reconnect().await;
        }
        outcome
    }

    async fn try_raise(&self, beat: Bytes) -> Result<u64, EngineError> {
        let subject = format!("{}{}", self.names.node_prefix, self.names.node);
        match append(&self.connection, (&self.names.nodes, &subject), Expected::Anything, beat).await? {
            Reply::Appended(place) => {
                self.place.fetch_max(place, Ordering::Relaxed);
                Ok(place)
            }
            Reply::Refused | Reply::Unknown | Reply::Entries { .. } | Reply::Epoch(_) => {
                Err(EngineError::Malformed("a refusal without a reason"))
            }
        }
    }

    async fn beats(&self) -> Result<Vec<Beat>, EngineError> {
        let filter = format!("{}*", self.names.node_prefix);
        let own = self.place.load(Ordering::Relaxed);
        for _ in 0..STALE_READS_MAX {
            let stored = read::latest(&self.connection, &self.names.nodes, &filter).await?;
            let beats: Vec<Beat> = stored
                .into_iter()
                .filter_map(|stored| {
                    let node = stored.subject.strip_prefix(&self.names.node_prefix)?.to_owned();
                    Some(Beat { node, place: stored.found.position, bytes: stored.found.bytes })
                })
                .collect();
            let is_own = |beat: &&Beat| beat.node == self.names.node;
            if own == 0 || beats.iter().find(is_own).is_some_and(|beat| beat.place >= own) {
                return Ok(beats);
            }
            sleep(PAUSE_AFTER_STALE).await;
        }
        Err(EngineError::Stale)
    }

    async fn forget(&self, node: &str) -> Result<(), EngineError> {
        let request = json!({ "filter": format!("{}{node}", self.names.node_prefix) });
        api::ask(&self.connection, &format!("STREAM.PURGE.{}", self.names.nodes), request).await.map(drop)
    }

    async fn ask(&self, node: &str, question: Bytes) -> Result<Bytes, EngineError> {
        let subject = format!("{}{node}", self.names.ask_prefix);
        let call = Call { subject, headers: None, payload: question, limit: ANSWER_LIMIT, what: "a question" };
        Ok(self.connection.request(call).await?.payload)
    }
}

impl Engine for Nats {
    fn perform(&self, request: Request) -> Pending<Reply> {
        let shared = Arc::clone(&self.0);
        let mut answer: Pending<Reply> = Box::pin(async move { shared.perform(request).await });
        // It is put in line by the first poll, which must not be put off because others have done much.
        match tokio::task::unconstrained(&mut answer).now_or_never() {
            Some(reply) => Box::pin(ready(reply)),
            None => answer,
        }
    }

    fn follow(&self, after: u64) -> Pending<Result<Vec<Found>, EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let outcome = shared.follow(after).await;
            match &outcome {
                Ok(entries) => shared.end.see_entries(entries),
                Err(_) => sleep(PAUSE_AFTER_FAILURE).await,
            }
            outcome
        })
    }

    fn trim(&self, below: u64) -> Pending<Result<(), EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.trim(below).await })
    }

    fn tail(&self) -> Pending<Result<Tail, EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.tail().await })
    }

    fn move_leader(&self) -> Pending<Result<(), EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.move_leader().await })
    }

    fn raise(&self, beat: Bytes) -> Pending<Result<u64, EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.raise(beat).await })
    }

    fn beats(&self) -> Pending<Result<Vec<Beat>, EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.beats().await })
    }

    fn forget(&self, node: &str) -> Pending<Result<(), EngineError>> {
        let (shared, node) = (Arc::clone(&self.0), node.to_owned());
        Box::pin(async move { shared.forget(&node).await })
    }

    fn ask(&self, node: &str, question: Bytes) -> Pending<Result<Bytes, EngineError>> {
        let (shared, node) = (Arc::clone(&self.0), node.to_owned());
        Box::pin(async move { shared.ask(&node, question).await })
    }

    fn questions(&self) -> Pending<Result<mpsc::Receiver<Question>, EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let subject = format!("{}{}", shared.names.ask_prefix, shared.names.node);
            let mut subscriber = shared.connection.subscribe(subject).await?;
            let (sender, receiver) = mpsc::channel(QUESTIONS_MAX);
            tokio::spawn(async move {
                loop {
                    let message = tokio::select! {
                        message = subscriber.next() => message,
                        () = sender.closed() => return,
                    };
                    let Some(message) = message else { return };
                    let Some(reply) = message.reply else { continue };
                    let of_answer = Arc::clone(&shared);
                    let question = Question::new(message.payload, move |bytes| {
                        Box::pin(async move {
                            // The other node asks again, or somebody else.
                            drop(of_answer.connection.publish(&reply, None, None, bytes).await);
                        })
                    });
                    // Who finds no room waits for its limit of time, and asks again.
                    drop(sender.try_send(question));
                }
            });
            Ok(receiver)
        })
    }

    fn cluster_id(&self) -> u128 {
        self.0.id
    }

    fn entry_bytes_max(&self) -> usize {
        self.0.connection.message_bytes_max().saturating_sub(HEADER_BYTES)
    }

    fn condition(&self) -> Condition {
        self.0.connection.condition()
    }
}

/// A machine that asks again at once is answered again after it.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
const PAUSE_AT_THE_END: Duration = Duration::from_millis(5);
const PAUSE_WITHOUT_CONSUMER: Duration = Duration::from_millis(200);
const PAUSE_AFTER_STALE: Duration = Duration::from_millis(20);
/// Together about as long as signs of life of a node may be apart.
const STALE_READS_MAX: u32 = 50;
/// About as many as pass the place that could not be read.
const CAREFUL_READS: u32 = 64;
/// The number of consecutive beats that fail before the node connects to another server. With the time limit of each beat, this takes longer than an
/// election.
const FAILURES_MAX: u32 = 4;
const QUESTIONS_MAX: usize = 64;
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// More than the headers of an append need.
const HEADER_BYTES: usize = 256;
