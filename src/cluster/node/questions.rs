use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep, timeout};

use super::clock::now;
use super::view::View;
use crate::cluster::copying::{Answer, Begun, CHUNK_BYTES, Denied, Question, encode_answer};
use crate::cluster::engine::Engine;
use crate::store::{Shortage, Snapshot};

/// The copies that other nodes make.
#[derive(Default)]
struct Copies {
    last: u64,
    copies: BTreeMap<u64, (Arc<Snapshot>, Instant)>,
}

/// Answers the questions of nodes that copy the log of this one.
pub(super) async fn answer(engine: Arc<dyn Engine>, view: Rc<View>) {
    loop {
        let mut copies = Copies::default();
        if let Ok(mut questions) = engine.questions().await {
            let mut ticks = interval(IDLE_MAX / 6);
            loop {
                tokio::select! {
                    biased;
                    _ = ticks.tick() => copies.copies.retain(|_, (_, used)| used.elapsed() < IDLE_MAX),
                    question = questions.recv() => match question {
                        Some(question) => {
                            let answer = copies.answer(&view, &question.bytes).await;
                            question.answer(encode_answer(&answer)).await;
                        }
                        None => break,
                    },
                }
            }
        }
        sleep(AGAIN).await;
    }
}

impl Copies {
    async fn answer(&mut self, view: &View, question: &Bytes) -> Answer {
        match Question::decode(question)? {
            Question::Begin => self.begin(view).await,
            Question::Read { copy, segment, offset, bytes } => {
                let length = usize::try_from(bytes.min(CHUNK_BYTES)).unwrap_or(0);
                let read = self.work(view, (copy, segment), move |copy| copy.read(segment, offset, length)).await?;
                Ok(Bytes::from(read))
            }
            Question::ReadStream { copy, stream, file, offset, bytes } => {
                let length = usize::try_from(bytes.min(CHUNK_BYTES)).unwrap_or(0);
                let snapshot = self.snapshot(copy)?;
                let named = format!("file {file} of stream {stream}");
                let read = spawn_blocking(move || snapshot.read_stream(stream, &file, offset, length)).await;
                // A damaged one is found by who reads its messages.
                let read = read.map_err(io::Error::other).flatten();
                Ok(read.map_err(|error| format!("{named} cannot be read: {error}"))?.into())
            }
            Question::Verify { copy, segment } => {
                self.work(view, (copy, segment), move |copy| copy.verify(segment)).await.map(|()| Bytes::new())
            }
            Question::End { copy } => {
                self.copies.remove(&copy);
                Ok(Bytes::new())
            }
        }
    }

    /// Reads a segment in another thread. If it is damaged, operators are told.
    async fn work<T: Send + 'static>(
        &mut self,
        view: &View,
        (copy, segment): (u64, u32),
        read: impl FnOnce(&Snapshot) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Denied> {
        let snapshot = self.snapshot(copy)?;
        let read = spawn_blocking(move || read(&snapshot)).await.map_err(io::Error::other).flatten();
        read.map_err(|error| {
            let reason = format!("segment {segment} cannot be read: {error}");
            // The store was closed, there is no such segment, or no file can be opened.
            let is_gone = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::NotFound);
            if is_gone || Shortage::of(&error).is_some() {
                return Denied::Refused(reason);
            }
            view.damaged(segment, &error);
            Denied::Damaged(reason)
        })
    }

    /// That of this copy, which is not idle.
    fn snapshot(&mut self, copy: u64) -> Result<Arc<Snapshot>, Denied> {
        let (snapshot, used) = self.copies.get_mut(&copy).ok_or("this copy has ended")?;
        *used = now();
        Ok(Arc::clone(snapshot))
    }

    async fn begin(&mut self, view: &View) -> Answer {
        if self.copies.len() >= COPIES_MAX {
            return Err("other nodes copy already: try again later".into());
        }
        let store = view.state.borrow().store.clone();
        let snapshot = match store {
            Some(store) => spawn_blocking(move || store.snapshot()).await.map_err(io::Error::other).flatten(),
            None => {
                let (wanted, snapshot) = oneshot::channel();
                view.state.borrow_mut().wanted = Some(wanted);
                let snapshot = timeout(SNAPSHOT_TIMEOUT, snapshot).await;
                snapshot.ok().and_then(Result::ok).ok_or("it has no copy that is open")?
            }
        };
        let snapshot = snapshot.map_err(|error| format!("its log cannot be copied: {error}"))?;
        self.last += 1;
        let mark = snapshot.mark();
        let (sequence, state) = (mark.sequence, mark.state.clone());
        let streams = snapshot.stream_files().iter().map(|file| (file.stream, file.name.clone(), file.bytes)).collect();
        let begun = Begun { copy: self.last, sequence, state, files: snapshot.files().to_vec(), streams };
        self.copies.insert(self.last, (Arc::new(snapshot), now()));
        serde_json::to_vec(&begun).map(Bytes::from).map_err(|error| error.to_string().into())
    }
}

/// Copies at a time. They keep this node from reclaiming space.
const COPIES_MAX: usize = 2;
/// How long a standby may take to answer, which does that between two reads of the stream.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);
/// A copy of which nothing is read for so long has ended.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long to wait before questions are listened to again.
const AGAIN: Duration = Duration::from_secs(1);
