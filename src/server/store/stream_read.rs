//! Reads streams for subscriptions, on a thread that may wait for the disk.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::broker::{ReadMessages, Shared, StreamChunk, StreamReadError, StreamRequest, StreamStart};
use crate::server::log::log_line;
use crate::server::shard::mailbox::{Mail, Mailbox};
use crate::server::store::handle::StoreHandle;
use crate::server::store::stream_progress::publish;
use crate::server::store::stream_readers::Readers;
use crate::store::{Shortage, Store, StreamReadError as Unread, StreamReader};

impl StoreHandle {
    /// Reads messages of a stream on a blocking thread. The shard gets [`Mail::StreamRead`].
    pub(in crate::server) fn read_stream(&self, request: StreamRequest, mailboxes: &Arc<[Mailbox]>) {
        let (store, readers) = (self.store().cloned(), Arc::clone(self.stream_readers()));
        self.read(mailboxes, move |_| Mail::StreamRead(read(store.as_deref(), &readers, request)));
    }

    /// Publishes which messages of the streams can be read.
    pub(in crate::server) fn publish_streams(&self, shared: &Shared, mailboxes: &[Mailbox]) {
        publish(shared, self.store().map(|store| &**store), mailboxes);
    }
}

/// Reads messages of a stream for an operator. The calling thread waits for the disk.
///
/// # Errors
///
/// See [`StreamReadError`].
pub(crate) fn read_for_operator(store: &Store, request: StreamRequest) -> Result<ReadMessages, StreamReadError> {
    read(Some(store), &Readers::default(), request).into_result()
}

/// Reads the next messages of a stream.
fn read(store: Option<&Store>, readers: &Readers, request: StreamRequest) -> Box<StreamChunk> {
    let StreamRequest { stream, from, bytes_max, .. } = request;
    let mut chunk = Box::new(request.answer());
    let sequence = if let StreamStart::Sequence(sequence) = from { sequence } else { 0 };
    // A reader that is kept does not know that its stream was removed.
    let store = store.filter(|store| store.stream_reader(stream.0).is_some());
    let Some((store, reader)) = store.and_then(|store| Some((store, readers.take(store, stream, sequence)?))) else {
        chunk.fail(StreamReadError::Gone);
        return chunk;
    };
    match fill((store, &reader), from, bytes_max, &mut chunk) {
        Ok(()) => readers.put(stream, chunk.next(), reader),
        Err(error) => {
            let (number, reason) = (stream.0, error.to_string());
            log_line!(StreamUnreadable { stream = number, reason = &*reason }, "stream {number}: it cannot be read now: {reason}");
            chunk.fail(StreamReadError::Temporary);
        }
    }
    chunk
}

/// Adds messages to the chunk until it is complete, or the stream has no more.
fn fill(
    (store, reader): (&Store, &StreamReader),
    from: StreamStart,
    bytes_max: usize,
    chunk: &mut StreamChunk,
) -> io::Result<()> {
    let mut oldest = reader.oldest();
    let mut next = match from {
        StreamStart::Earliest => oldest,
        StreamStart::Latest => reader.end(),
        StreamStart::Sequence(sequence) => sequence.max(oldest),
        StreamStart::Time(timestamp) => reader.sequence_at(timestamp)?,
    };
    let (mut wants_more, mut attempts) = (true, 0);
    // Each pass ends the loop, goes on in the stream, or is one of a bounded number of attempts.
    while wants_more {
        let read = reader.read(next, bytes_max, &mut |message| {
            wants_more = chunk.add(message.sequence, message.timestamp, message.body);
            if wants_more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let to = match read {
            Ok(to) => to,
            // Messages that were in the way of a read: those of the chunk are sent first.
            Err(_) if !chunk.is_empty() => break,
            Err(Unread::Trimmed { oldest: now }) => {
                oldest = now;
                now
            }
            Err(Unread::Lost { from, to }) => {
                wants_more = skip(chunk, next.min(from), to);
                to
            }
            Err(Unread::Io(error)) => {
                attempts += 1;
                let Some(to) = after_error((store, reader), next, attempts, error)? else { continue };
                wants_more = skip(chunk, next, to);
                to
            }
        };
        if to <= next {
            break;
        }
        (next, attempts) = (to, 0);
    }
    chunk.finish(next, oldest);
    Ok(())
}

/// Passes over messages that are damaged. Returns whether further ones are wanted.
fn skip(chunk: &mut StreamChunk, from: u64, to: u64) -> bool {
    let (stream, last) = (chunk.request().stream.0, to.saturating_sub(1).max(from));
    let reason = format!("the messages from {from} to {last} are damaged");
    log_line!(StreamUnreadable { stream, reason = &*reason }, "stream {stream}: {reason}");
    chunk.skip_unreadable(from..=last)
}

/// Where to go on after an error of the operating system, behind what cannot be read; `None`: at the same message, because it is tried again. An
/// error that is the want of a resource is returned: it says nothing about the message.
fn after_error(
    (store, reader): (&Store, &StreamReader),
    next: u64,
    attempts: u32,
    error: io::Error,
) -> io::Result<Option<u64>> {
    if Shortage::of(&error).is_some() || store.is_closing() {
        return Err(error);
    }
    if attempts < READ_ATTEMPTS_MAX {
        thread::sleep(READ_PAUSE);
        return Ok(None);
    }
    match reader.skip_unreadable(next) {
        Ok(to) if to > next => Ok(Some(to)),
        Ok(_) | Err(_) => Err(error),
    }
}

/// With [`READ_PAUSE`], half a second.
const READ_ATTEMPTS_MAX: u32 = 5;
const READ_PAUSE: Duration = Duration::from_millis(100);
