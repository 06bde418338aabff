use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep};

use super::clock::now;
use super::view::View;
use crate::cluster::copying::{Answer, Begun, CHUNK_BYTES, Question, encode_answer};
use crate::cluster::engine::Engine;
use crate::store::Snapshot;

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
                    question = questions.recv() => match question {
                        Some(question) => {
                            let answer = copies.answer(&view, &question.bytes).await;
                            question.answer(encode_answer(&answer)).await;
                        }
                        None => break,
                    },
                    _ = ticks.tick() => copies.copies.retain(|_, (_, used)| used.elapsed() < IDLE_MAX),
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
                let (snapshot, used) = self.copies.get_mut(&copy).ok_or("this copy has ended")?;
                *used = now();
                let snapshot = Arc::clone(snapshot);
                let length = usize::try_from(bytes.min(CHUNK_BYTES)).unwrap_or(0);
                let read = spawn_blocking(move || snapshot.read(segment, offset, length)).await;
                let read = read.map_err(std::io::Error::other).flatten();
                read.map(Bytes::from).map_err(|error| format!("segment {segment} cannot be read: {error}"))
            }
            Question::End { copy } => {
                self.copies.remove(&copy);
                Ok(Bytes::new())
            }
        }
    }

    async fn begin(&mut self, view: &View) -> Answer {
        if self.copies.len() >= COPIES_MAX {
            return Err("other nodes copy already: try again later".to_owned());
        }
        let store = view.state.borrow().store.clone().ok_or("it does not serve")?;
        let snapshot = spawn_blocking(move || store.snapshot()).await.map_err(std::io::Error::other).flatten();
        let snapshot = snapshot.map_err(|error| format!("its log cannot be copied: {error}"))?;
        self.last += 1;
        let mark = snapshot.mark();
        let (sequence, state) = (mark.sequence, mark.state.clone());
        let begun = Begun { copy: self.last, sequence, state, files: snapshot.files().to_vec() };
        self.copies.insert(self.last, (Arc::new(snapshot), now()));
        serde_json::to_vec(&begun).map(Bytes::from).map_err(|error| error.to_string())
    }
}

/// Copies at a time. They keep the owner from reclaiming space.
const COPIES_MAX: usize = 2;
/// A copy of which nothing is read for so long has ended.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long to wait before questions are listened to again.
const AGAIN: Duration = Duration::from_secs(1);
