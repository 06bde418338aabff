use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::clock::now;
use super::heartbeat::beat_once;
use super::ownership::Ownership;
use super::upkeep::Done;
use crate::cluster::engine::{Engine, EngineError, Tail};
use crate::cluster::place::Place;
use crate::store::Mark;

impl Ownership<'_> {
    /// Begins what is due.
    pub(super) fn begin_upkeep(&mut self, engine: &dyn Engine) {
        let upkeep = &mut self.upkeep;
        let is_marked = upkeep.marked.as_ref().is_some_and(|(mark, times)| *mark == self.mark && *times > 1);
        if let Some((store, _)) = self.broker.as_ref().filter(|_| !is_marked && upkeep.marking.is_none()) {
            let (store, mark) = (Arc::clone(store), self.mark.clone());
            let work = move || store.write_mark(&mark).map(|written| (written, mark));
            upkeep.marking = Some((now(), spawn_blocking(work)));
        }
        let is_due = upkeep.looked.is_none_or(|looked| looked.elapsed() >= LOOK_PERIOD)
            || upkeep.shipped >= LOOK_BYTES
            || !upkeep.has_room();
        if is_due && upkeep.looking.is_none() && upkeep.trimming.is_none() {
            upkeep.looking = Some(engine.tail());
        }
    }

    pub(super) fn done(&mut self, engine: &dyn Engine, done: Done) {
        match done {
            Done::Marked(Ok(Ok((true, mark)))) => self.has_marked(mark),
            Done::Marked(Ok(Ok((false, _))) | Err(_)) => {}
            Done::Marked(Ok(Err(error))) => {
                self.view.trouble(Some(&format!("the mark of the log cannot be written: {error}")));
            }
            Done::Looked(Ok(tail)) => self.looked(engine, &tail),
            Done::Looked(Err(error @ (EngineError::Replaced | EngineError::Terms { .. }))) => {
                self.broken = Some(error.to_string());
            }
            // Nobody answers now.
            Done::Looked(Err(_)) | Done::Trimmed(Ok(())) => {}
            Done::Trimmed(Err(error)) => self.view.warn(&format!("the stream cannot be trimmed: {error}")),
        }
    }

    fn has_marked(&mut self, mark: Mark) {
        let position = Place::decode(&mark.state).map_or(0, |place| place.reader.position);
        self.view.says(|beat| (beat.position, beat.sequence) = (position, mark.sequence));
        let times = self.upkeep.marked.take().map_or(0, |(before, times)| if before == mark { times } else { 0 });
        self.upkeep.marked = Some((mark, times + 1));
    }

    fn looked(&mut self, engine: &dyn Engine, tail: &Tail) {
        self.view.status(|status| status.tail_bytes = Some(tail.bytes));
        let reached = self.replicator.reader().position;
        if tail.last < reached {
            self.broken = Some(format!(
                "the stream ends at position {}, and had acknowledged {reached}: it has lost entries. See \"oncemq store adopt\"",
                tail.last
            ));
            return;
        }
        self.upkeep.looked = Some(now());
        self.upkeep.tail = (tail.bytes, tail.bytes_max);
        self.upkeep.shipped = 0;
        let below = self.trimmable(tail);
        if below > 0 {
            self.upkeep.trimming = Some(engine.trim(below));
        }
        let trouble = "the stream is full, and nothing is acknowledged: no other node has a copy of what it has";
        self.view.trouble((!self.upkeep.has_room()).then_some(trouble));
    }

    /// The position below which the stream is not needed: what is there is on the disks of the owner and of another node. While the stream is
    /// small, it keeps what nodes that are behind need: those that are alive, and, while it is smaller still, those that are away.
    fn trimmable(&self, tail: &Tail) -> u64 {
        let own = self.view.state.borrow().beat.position;
        if self.view.identity.copies == 1 {
            return own;
        }
        let most = tail.bytes_max.unwrap_or(TAIL_BYTES_MAX);
        let members = self.view.members.borrow();
        let me = &self.view.identity.node;
        let others = members.nodes().filter(|(name, _, _)| name != me);
        let others: Vec<(u64, bool)> = others.map(|(name, beat, _)| (beat.position, members.is_dead(name))).collect();
        let positions = || others.iter().map(|(position, _)| *position);
        let kept = if tail.bytes > most / 2 {
            positions().max()
        } else if tail.bytes > most / 4 {
            // One that has no copy yet fetches it now.
            others.iter().filter(|(_, is_dead)| !is_dead).map(|(position, _)| *position).min().or(positions().max())
        } else {
            positions().min()
        };
        kept.unwrap_or(0).min(own)
    }

    /// Tells the others that this node is not the owner any more, and why: they need not wait until it counts as dead.
    pub(super) async fn hand_over(&mut self, engine: &dyn Engine, to: &str) {
        if let Some((store, _)) = self.broker.take() {
            let mark = self.mark.clone();
            let close = move || {
                if store.has_ended() {
                    let _ = store.write_mark(&mark); // the next start reads from an older one
                    // A copy that another node makes may hold the directory.
                    store.release();
                } else {
                    store.fence("the broker has ended");
                }
            };
            let _ = timeout(CLOSE_TIMEOUT, spawn_blocking(close)).await; // the disk may never answer
        }
        // Otherwise it would be the one with the furthest copy.
        self.view.says(|beat| (beat.hands_over_to, beat.is_candidate) = (Some(to.to_owned()), false));
        self.view.state.borrow_mut().handed_over = Some(now());
        beat_once(engine, self.view).await;
        self.view.log("handed over: other nodes may take over now");
    }
}

/// How often the stream is looked at, and trimmed.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// After how many bytes that is done earlier.
const LOOK_BYTES: u64 = 64 << 20;
/// The size of the stream, if it says none.
const TAIL_BYTES_MAX: u64 = 1 << 30;
/// How long an owner waits for its disk at its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
