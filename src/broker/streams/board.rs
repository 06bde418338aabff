//! Which messages of each stream can be read, and which shards wait for further ones.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::broker::streams::number::StreamNumber;
use crate::routing::ShardId;

/// The readable part of each stream. The thread that appends to the streams writes it, and all shards read it.
///
/// A shard that has all messages of a stream registers, and then compares the end again. The writer changes the end, and then looks who has
/// registered. So a shard either sees the new end or is woken. It is woken once, until it registers again.
#[derive(Debug, Default)]
pub(in crate::broker) struct StreamBoard {
    streams: RwLock<BTreeMap<StreamNumber, Arc<Progress>>>,
    shards: usize,
}

#[derive(Debug)]
struct Progress {
    oldest: AtomicU64,
    end: AtomicU64,
    /// By shard number: whether it waits.
    waiting: Box<[AtomicBool]>,
}

impl StreamBoard {
    pub(in crate::broker) fn new(shards: usize) -> Self {
        Self { streams: RwLock::default(), shards }
    }

    /// The messages `range` of a stream can be read now. Calls `wake` for each shard that waits for more than there were.
    pub(in crate::broker) fn advance(
        &self,
        stream: StreamNumber,
        Range { start, end }: Range<u64>,
        mut wake: impl FnMut(ShardId),
    ) {
        let progress = self.progress(stream);
        progress.oldest.fetch_max(start, Ordering::SeqCst);
        if progress.end.fetch_max(end, Ordering::SeqCst) >= end {
            return;
        }
        for (shard, waiting) in (0..).zip(&progress.waiting) {
            if waiting.swap(false, Ordering::SeqCst) {
                wake(ShardId(shard));
            }
        }
    }

    /// The messages of a stream that can be read.
    pub(in crate::broker) fn range(&self, stream: StreamNumber) -> Range<u64> {
        let progress = self.progress(stream);
        // The end first: what is trimmed meanwhile was before it.
        let end = progress.end.load(Ordering::SeqCst);
        progress.oldest.load(Ordering::SeqCst).min(end)..end
    }

    /// Registers a shard that has all messages of a stream before `next`. Returns whether it must wait: otherwise there are more already.
    pub(in crate::broker) fn await_more(&self, shard: ShardId, stream: StreamNumber, next: u64) -> bool {
        let progress = self.progress(stream);
        let Some(waiting) = progress.waiting.get(usize::from(shard.0)) else { return false };
        waiting.store(true, Ordering::SeqCst);
        progress.end.load(Ordering::SeqCst) <= next
    }

    /// Whether a shard waits for further messages of a stream.
    pub(in crate::broker) fn is_awaited(&self, stream: StreamNumber) -> bool {
        self.progress(stream).waiting.iter().any(|waiting| waiting.load(Ordering::SeqCst))
    }

    fn progress(&self, stream: StreamNumber) -> Arc<Progress> {
        let known = self.streams.read().unwrap_or_else(PoisonError::into_inner).get(&stream).map(Arc::clone);
        known.unwrap_or_else(|| {
            let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(streams.entry(stream).or_insert_with(|| Arc::new(Progress::new(self.shards))))
        })
    }
}

impl Progress {
    fn new(shards: usize) -> Self {
        let (oldest, end) = (AtomicU64::new(FIRST), AtomicU64::new(FIRST));
        Self { oldest, end, waiting: (0..shards).map(|_| AtomicBool::new(false)).collect() }
    }
}

/// The sequence of the first message of a stream.
pub(in crate::broker) const FIRST: u64 = 1;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const STREAM: StreamNumber = StreamNumber(7);

    fn woken(board: &StreamBoard, range: Range<u64>) -> Vec<u16> {
        let mut woken = Vec::new();
        board.advance(STREAM, range, |shard| woken.push(shard.0));
        woken
    }

    #[test]
    fn a_waiting_shard_is_woken_once_by_further_messages() {
        let board = StreamBoard::new(3);
        assert_eq!(board.range(STREAM), 1..1);
        assert!(board.await_more(ShardId(2), STREAM, 1));
        assert!(board.await_more(ShardId(0), STREAM, 1));
        assert!(board.is_awaited(STREAM) && !board.is_awaited(StreamNumber(8)));
        assert_eq!(woken(&board, 1..1), [] as [u16; 0]);
        assert_eq!(woken(&board, 1..4), [0, 2]);
        assert!(!board.is_awaited(STREAM));
        assert_eq!(woken(&board, 3..5), [] as [u16; 0]);
        assert_eq!(board.range(STREAM), 3..5);
        assert!(!board.await_more(ShardId(1), STREAM, 4));
        assert!(board.await_more(ShardId(1), STREAM, 5));
        assert_eq!(woken(&board, 4..5), [1; 0], "trimming is no news");
        assert_eq!(woken(&board, 4..6), [1]);
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        let board = Arc::new(StreamBoard::new(1));
        let (sender, mail) = std::sync::mpsc::channel();
        let writer = {
            let board = Arc::clone(&board);
            thread::spawn(move || {
                for end in 2..=20_000 {
                    board.advance(STREAM, 1..end, |_| sender.send(()).unwrap());
                }
            })
        };
        let mut next = 1;
        while next < 20_000 {
            next = board.range(STREAM).end;
            if next < 20_000 && board.await_more(ShardId(0), STREAM, next) {
                mail.recv().expect("the writer has ended without waking the shard");
            }
        }
        writer.join().unwrap();
    }
}
