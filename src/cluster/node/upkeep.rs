use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::cluster::engine::{EngineError, Pending, Tail};
use crate::store::Mark;

/// What an owner does beside the replication: one of each at a time, and nothing waits for it.
#[derive(Default)]
pub(super) struct Upkeep {
    pub(super) marking: Option<(Instant, JoinHandle<Marked>)>,
    pub(super) looking: Option<Pending<Result<Tail, EngineError>>>,
    /// The position that was replicated when it began: entries that came in since may be missing in its answer.
    pub(super) looked_from: u64,
    pub(super) trimming: Option<Pending<Result<(), EngineError>>>,
    /// The mark that was written last, and how often: a store frees space when it has a mark twice.
    pub(super) marked: Option<(Mark, u8)>,
    /// When the stream was looked at.
    pub(super) looked: Option<Instant>,
    /// The state of the stream then: its bytes, and the most that it may have.
    pub(super) tail: (u64, Option<u64>),
    /// Bytes shipped since.
    pub(super) shipped: u64,
}

/// Whether the mark was written: the log below it may not be stable here yet.
type Marked = io::Result<(bool, Mark)>;

/// Something that was done.
pub(super) enum Done {
    Marked(Result<Marked, JoinError>),
    Looked(Result<Tail, EngineError>),
    Trimmed(Result<(), EngineError>),
}

impl Upkeep {
    /// Waits for the next one that is done; for ever, if nothing is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Done {
        std::future::poll_fn(|context| {
            if let Some((_, marking)) = &mut self.marking
                && let Poll::Ready(done) = Pin::new(marking).poll(context)
            {
                self.marking = None;
                return Poll::Ready(Done::Marked(done));
            }
            if let Some(looking) = &mut self.looking
                && let Poll::Ready(done) = looking.as_mut().poll(context)
            {
                self.looking = None;
                return Poll::Ready(Done::Looked(done));
            }
            if let Some(trimming) = &mut self.trimming
                && let Poll::Ready(done) = trimming.as_mut().poll(context)
            {
                self.trimming = None;
                return Poll::Ready(Done::Trimmed(done));
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the stream takes more, besides the entry of another owner and its first commit.
    pub(super) fn has_room(&self) -> bool {
        let (bytes, max) = self.tail;
        max.is_none_or(|max| bytes + self.shipped < max - max / RESERVED_SHARE)
    }

    /// How long the disk has not answered.
    pub(super) fn disk_silence(&self) -> Duration {
        self.marking.as_ref().map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }
}

/// This part of the stream is left for the entries of the next owners, and for commits that are under way.
const RESERVED_SHARE: u64 = 16;
