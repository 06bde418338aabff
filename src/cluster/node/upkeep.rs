use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::clock::now;
use super::heartbeat::beat_once;
use super::ownership::Ownership;
use crate::cluster::engine::{Engine, EngineError};
use crate::cluster::place::Place;

impl Ownership<'_> {
    /// Makes the place stable up to which all is replicated.
    pub(super) async fn write_mark(&mut self) {
        let Some((store, _)) = self.broker.as_ref().filter(|_| self.marked.as_ref() != Some(&self.mark)) else {
            return;
        };
        let (store, mark) = (Arc::clone(store), self.mark.clone());
        match spawn_blocking(move || store.write_mark(&mark).map(|written| (written, mark))).await {
            Ok(Ok((true, mark))) => {
                let position = Place::decode(&mark.state).map_or(0, |place| place.reader.position);
                self.view.says(|beat| (beat.position, beat.sequence) = (position, mark.sequence));
                self.marked = Some(mark);
            }
            Ok(Ok((false, _))) => {}
            Ok(Err(error)) => self.view.trouble(Some(&format!("the mark of the log cannot be written: {error}"))),
            Err(_) => {}
        }
    }

    /// Trims what is on the disks of the owner and of another node.
    pub(super) async fn trim(&mut self, engine: &dyn Engine) {
        if self.trimmed.elapsed() < TRIM_PERIOD && self.untrimmed < TRIM_BYTES {
            return;
        }
        let own = self.view.state.borrow().beat.position;
        let me = &self.view.identity.node;
        let copies: Vec<u64> = {
            let members = self.view.members.borrow();
            members.nodes().filter(|(name, _, _)| name != me).map(|(_, beat, _)| beat.position).collect()
        };
        let bytes = match engine.tail().await {
            Ok(tail) => {
                self.view.status(|status| status.tail_bytes = Some(tail.bytes));
                tail.bytes
            }
            Err(error @ (EngineError::Replaced | EngineError::Terms { .. })) => {
                self.broken = Some(error.to_string());
                return;
            }
            // Nobody answers now.
            Err(_) => 0,
        };
        // While the stream is small, a node that is away finds what it missed when it comes back.
        let positions = copies.iter().copied().filter(|position| *position > 0);
        let kept = match self.view.identity.copies {
            1 => Some(own),
            _ if bytes > TAIL_BYTES => positions.max(),
            _ => positions.min(),
        };
        if kept.is_none() && bytes > TAIL_BYTES {
            let text = "the stream cannot be trimmed, because no other node has a copy of the log: it takes no more when it has 1 GiB";
            self.view.trouble(Some(text));
        }
        self.trimmed = now();
        self.untrimmed = 0;
        let below = kept.unwrap_or(0).min(own);
        if below > 0
            && let Err(error) = engine.trim(below).await
        {
            self.view.warn(&format!("the stream cannot be trimmed: {error}"));
        }
    }

    /// Tells the others that this node is not the owner any more, and why: they need not wait until it counts as dead.
    pub(super) async fn hand_over(&mut self, engine: &dyn Engine, to: &str) {
        self.write_mark().await;
        if let Some((store, _)) = self.broker.take() {
            // A copy that another node makes may hold it.
            let _ = spawn_blocking(move || store.release()).await;
        }
        // Otherwise it would be the one with the furthest copy.
        self.view.says(|beat| (beat.hands_over_to, beat.is_candidate) = (Some(to.to_owned()), false));
        self.view.state.borrow_mut().handed_over = Some(now());
        beat_once(engine, self.view).await;
        self.view.log("handed over: other nodes may take over now");
    }
}

/// How often the stream is trimmed.
const TRIM_PERIOD: Duration = Duration::from_secs(10);
/// After how many bytes it is trimmed earlier.
const TRIM_BYTES: u64 = 64 << 20;
/// Above this size, it keeps only what is not on the disk of the owner and of one more node.
const TAIL_BYTES: u64 = 512 << 20;
