use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::closed::Closed;

/// One end of a pipe within this process. What one end writes, the other one reads. Each direction holds at most [`LOCAL_BYTES`].
#[derive(Debug)]
pub(super) struct LocalEnd {
    /// What this end writes.
    to: Arc<Mutex<Direction>>,
    /// What the other end writes.
    from: Arc<Mutex<Direction>>,
}

#[derive(Debug, Default)]
struct Direction {
    bytes: BytesMut,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The writer writes no more.
    is_finished: bool,
    is_writer_gone: bool,
    is_reader_gone: bool,
}

impl LocalEnd {
    /// Both ends of a pipe.
    pub(super) fn pair() -> [Self; 2] {
        let [one, other] = [(); 2].map(|()| Arc::new(Mutex::new(Direction::default())));
        [Self { to: Arc::clone(&one), from: Arc::clone(&other) }, Self { to: other, from: one }]
    }

    pub(super) fn is_read_closed(&self, cx: &Context<'_>) -> bool {
        let mut from = lock(&self.from);
        let is_over = from.is_finished || from.is_writer_gone;
        if !is_over {
            from.reader = Some(cx.waker().clone());
        }
        is_over
    }

    /// `Some`: the other end is gone.
    pub(super) fn closed(&self) -> Option<Closed> {
        lock(&self.from).is_writer_gone.then_some(Closed::ByOther(None))
    }

    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<Closed> {
        let mut from = lock(&self.from);
        if from.is_writer_gone {
            return Poll::Ready(Closed::ByOther(None));
        }
        if !from.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            from.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for room, and says how much there is; 0: the other end is gone.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<usize> {
        let mut to = lock(&self.to);
        match LOCAL_BYTES.saturating_sub(to.bytes.len()) {
            _ if to.is_reader_gone => Poll::Ready(0),
            0 => {
                to.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }

    pub(super) fn poll_read(&self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut from = lock(&self.from);
        let length = from.bytes.len().min(buffer.remaining());
        if length == 0 {
            if from.is_finished || from.is_writer_gone {
                return Poll::Ready(Ok(()));
            }
            from.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buffer.put_slice(from.bytes.get(..length).unwrap_or_default());
        from.bytes.advance(length);
        if from.bytes.is_empty() {
            // An idle pipe has no memory for bytes.
            from.bytes = BytesMut::new();
        }
        // One that waits is woken when it can write much at a time.
        let writer = if from.bytes.len() <= LOCAL_BYTES / 2 { from.writer.take() } else { None };
        drop(from);
        wake(writer);
        Poll::Ready(Ok(()))
    }

    /// Writes what there is room for of these slices, in their order.
    pub(super) fn poll_write<'a>(
        &self,
        cx: &Context<'_>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        let mut to = lock(&self.to);
        if to.is_reader_gone || to.is_finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let before = to.bytes.len();
        let mut is_empty = true;
        for slice in slices {
            is_empty &= slice.is_empty();
            let room = LOCAL_BYTES.saturating_sub(to.bytes.len());
            let taken = slice.get(..room.min(slice.len())).unwrap_or_default();
            to.bytes.extend_from_slice(taken);
            if taken.len() < slice.len() {
                break;
            }
        }
        let written = to.bytes.len() - before;
        if written == 0 && !is_empty {
            to.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let reader = to.reader.take();
        drop(to);
        wake(reader);
        Poll::Ready(Ok(written))
    }

    /// This end writes no more.
    pub(super) fn finish(&self) {
        let mut to = lock(&self.to);
        to.is_finished = true;
        let reader = to.reader.take();
        drop(to);
        wake(reader);
    }
}

impl Drop for LocalEnd {
    fn drop(&mut self) {
        let mut to = lock(&self.to);
        (to.is_writer_gone, to.writer) = (true, None);
        let reader = to.reader.take();
        drop(to);
        let mut from = lock(&self.from);
        (from.is_reader_gone, from.reader, from.bytes) = (true, None, BytesMut::new());
        let writer = from.writer.take();
        drop(from);
        wake(reader);
        wake(writer);
    }
}

fn lock(direction: &Mutex<Direction>) -> MutexGuard<'_, Direction> {
    direction.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The most bytes that wait for the reader: a few turns of a connection, so that both ends work at the same time.
const LOCAL_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::stream::TunnelStream;
    use super::*;

    #[tokio::test]
    async fn what_one_end_writes_is_what_the_other_reads_both_ways_with_a_bound() {
        let [mut one, mut other] = TunnelStream::local();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let (to, from) = (bytes.clone(), bytes.clone());
        let writing = tokio::spawn(async move {
            one.write_all(&to).await.unwrap();
            one.shutdown().await.unwrap();
            let mut back = Vec::new();
            one.read_to_end(&mut back).await.unwrap();
            back
        });
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.unwrap();
        assert!(received == bytes);
        other.write_all(&from).await.unwrap();
        drop(other);
        assert!(writing.await.unwrap() == bytes, "what was written before the end is read");

        let [one, mut other] = TunnelStream::local();
        assert_eq!(std::future::poll_fn(|cx| other.poll_room(cx)).await, LOCAL_BYTES);
        other.write_all(&vec![0; LOCAL_BYTES]).await.unwrap();
        assert!(
            std::future::poll_fn(|cx| Poll::Ready(one.closed().is_none() && other.poll_room(cx).is_pending())).await
        );
        drop(one);
        assert_eq!(other.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(other.closed(), Some(Closed::ByOther(None)));
    }
}
