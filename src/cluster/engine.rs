//! What a cluster asks of the service that keeps its tail, and through which its nodes speak.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;

use super::request::{Found, Reply, Request};

/// An answer that comes later. It borrows nothing, and goes on only while it is awaited.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The service that keeps the tail of the log, and passes messages between nodes. All of its calls need a runtime of tokio, and all
/// answers have a limit of time.
pub trait Engine: Send + Sync + 'static {
    /// Performs a request of a state machine. What has to be sent is put in line before this returns, so the requests of one caller reach the
    /// service in the order of the calls, also when they are awaited together or later.
    ///
    /// There is no error: what fails is [`Reply::Unknown`], some time later, so that a machine that asks again at once does not spin;
    /// [`condition`](Self::condition) says why.
    fn perform(&self, request: Request) -> Pending<Reply>;

    /// Entries of all kinds behind this position, in order, without gaps but those of the stream: at most 256, about 4 MiB. Waits about a second for the first of
    /// them; none: nothing came. An error comes after a pause. It is cheapest if `after` is the last position that it returned, and no other call waits. It may pass over what the
    /// stream has lost, which a [`Reader`](super::Reader) notices.
    fn follow(&self, after: u64) -> Pending<Result<Vec<Found>, EngineError>>;

    /// Removes commits below this position. Epoch entries and the last entry stay, and so do the positions of what is left.
    fn trim(&self, below: u64) -> Pending<Result<(), EngineError>>;

    /// The state of the tail. Fails with [`EngineError::Terms`] if its settings were changed so that it does not keep what it acknowledges, and with
    /// [`EngineError::Replaced`] if the stream was removed and created again.
    fn tail(&self) -> Pending<Result<Tail, EngineError>>;

    /// Makes another copy of the tail the one that answers, and reads from that one for a while: for a gap, or an entry that can't be read.
    fn move_leader(&self) -> Pending<Result<(), EngineError>>;

    /// Replaces the sign of life of this node. Returns its place among those of all nodes, on which a majority agrees: they rise.
    fn raise(&self, beat: Bytes) -> Pending<Result<u64, EngineError>>;

    /// The latest sign of life of each node, not older than the last place that [`raise`](Self::raise) returned.
    fn beats(&self) -> Pending<Result<Vec<Beat>, EngineError>>;

    /// Removes the sign of life of a node.
    fn forget(&self, node: &str) -> Pending<Result<(), EngineError>>;

    /// Asks another node, which has five seconds. Question and answer have at most [`entry_bytes_max`](Self::entry_bytes_max) bytes.
    fn ask(&self, node: &str, question: Bytes) -> Pending<Result<Bytes, EngineError>>;

    /// The questions of others for this node, until the receiver is dropped. Beyond 64 that wait, questions are dropped.
    fn questions(&self) -> Pending<Result<mpsc::Receiver<Question>, EngineError>>;

    /// A random number that was made with the tail: with another one, the positions of the one before mean nothing here. [`tail`](Self::tail)
    /// notices if it changes meanwhile.
    fn cluster_id(&self) -> u128;

    /// The most bytes that an entry can have.
    fn entry_bytes_max(&self) -> usize;

    /// How it is.
    fn condition(&self) -> Condition;
}

/// The state of the tail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// Bytes of its entries, as the service counts them.
    pub bytes: u64,
    /// The most bytes it may have; `None`: there is no limit.
    pub bytes_max: Option<u64>,
    /// The position of the first entry.
    pub first: u64,
    /// The position of the last entry.
    pub last: u64,
    /// The server whose copy answers, if there is one.
    pub leader: Option<String>,
    /// The servers with the other copies.
    pub others: Vec<TailCopy>,
}

/// A copy of the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailCopy {
    /// The server.
    pub server: String,
    /// Whether it has all that the leader has, and is reached by it.
    pub is_current: bool,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The node.
    pub node: String,
    /// Its place among the signs of all nodes.
    pub place: u64,
    /// What the node said.
    pub bytes: Bytes,
}

/// A question of another node.
pub struct Question {
    /// What it asks.
    pub bytes: Bytes,
    answer: Box<dyn FnOnce(Bytes) -> Pending<()> + Send>,
}

/// How an engine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// The server that it is connected to; `None`: it is not, and tries to be.
    pub server: Option<String>,
    /// Why the last append was not carried out, if it was neither acknowledged nor refused for its position.
    pub trouble: Option<String>,
}

/// Why an engine did not do something.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// There is no connection.
    #[error("there is no connection to NATS: {0}")]
    Unreachable(String),
    /// There was no answer in time.
    #[error("NATS did not answer in time: {0}")]
    TimedOut(&'static str),
    /// There is no receiver for the request: the stream has no leader at the moment, or the node does not run.
    #[error("nobody answers to {0}")]
    Unattended(String),
    /// NATS answered with an error.
    #[error("NATS refused it: {text} ({code})")]
    Refused {
        /// NATS's number for it.
        code: u64,
        /// What it said.
        text: String,
    },
    /// The stream is not there, and may not be made.
    #[error("there is no stream {0}")]
    NoStream(String),
    /// A stream is there that can't keep what this broker promises.
    #[error("the stream {stream} can't be used: {fault}")]
    Terms {
        /// Its name.
        stream: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The server is too old.
    #[error("nats-server must be {required} or later, and is {found}")]
    Version {
        /// What it is.
        found: String,
        /// What it must be.
        required: &'static str,
    },
    /// A file with certificates or credentials can't be used.
    #[error("{0}")]
    Files(String),
    /// The answer makes no sense.
    #[error("NATS answered with something else than expected: {0}")]
    Malformed(&'static str),
    /// Another tail is in the place of the one that it was: positions in it mean something else.
    #[error("the stream was removed and made again: its positions mean nothing any more")]
    Replaced,
    /// Only copies answered that are behind.
    #[error("the copy that answers is behind")]
    Stale,
}

impl Question {
    /// A question whose answer goes where `answer` sends it.
    pub fn new(bytes: Bytes, answer: impl FnOnce(Bytes) -> Pending<()> + Send + 'static) -> Self {
        Self { bytes, answer: Box::new(answer) }
    }

    /// Answers.
    pub async fn answer(self, bytes: Bytes) {
        (self.answer)(bytes).await;
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Question").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}
