use std::cmp::Reverse;
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
        self.notice_stall(engine);
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
            upkeep.looked_from = self.replicator.reader().position;
            upkeep.looking = Some(engine.tail());
        }
    }

    /// An owner whose commits the stream does not take would keep what clients and shards append in memory without end.
    fn notice_stall(&mut self, engine: &dyn Engine) {
        if self.under_way.is_empty() && self.queue.is_empty() {
            self.progressed = now();
        } else if self.progressed.elapsed() > STALL_MAX {
            let why = engine.condition().trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            self.broken = Some(format!("the stream has taken nothing for {} seconds{why}", STALL_MAX.as_secs()));
        }
    }

    /// Looks at the stream before the first commit. Returns why it cannot be used.
    pub(super) async fn look_first(&mut self, engine: &dyn Engine) -> Option<String> {
        match engine.tail().await {
            Ok(tail) => {
                self.upkeep.tail = (tail.bytes, tail.bytes_max);
                lost_end(&tail, self.replicator.reader().position)
            }
            Err(error @ (EngineError::Replaced | EngineError::Terms { .. })) => Some(error.to_string()),
            // Nothing is known of it yet.
            Err(_) => None,
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
            // It is tried again.
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
        if let Some(lost) = lost_end(tail, self.upkeep.looked_from) {
            self.broken = Some(lost);
            return;
        }
        self.upkeep.looked = Some(now());
        self.upkeep.tail = (tail.bytes, tail.bytes_max);
        self.upkeep.shipped = 0;
        let below = self.trimmable(tail);
        if below > 0 {
            self.view.says(|beat| beat.trimmed = beat.trimmed.max(below));
            self.upkeep.trimming = Some(engine.trim(below));
        }
        let copies = self.view.identity.copies;
        let nodes =
            1 + self.view.members.borrow().nodes().filter(|(name, _, _)| *name != self.view.identity.node).count();
        let trouble = if !self.upkeep.has_room() {
            Some(format!(
                "the stream is full, and nothing is acknowledged: fewer than {copies} nodes (cluster.copies) have what it has"
            ))
        } else if nodes < usize::from(copies) && tail.bytes > tail.bytes_max.unwrap_or(TAIL_BYTES_MAX) / 4 {
            Some(format!(
                "the stream is not trimmed: {copies} nodes must have a copy (cluster.copies), and there are {nodes}"
            ))
        } else {
            None
        };
        self.view.trouble(trouble.as_deref());
    }

    fn trimmable(&self, tail: &Tail) -> u64 {
        let own = self.view.state.borrow().beat.position;
        let members = self.view.members.borrow();
        let me = &self.view.identity.node;
        let others = members.nodes().filter(|(name, _, _)| name != me);
        let others: Vec<Copied> =
            others.map(|(name, beat, _)| Copied { position: beat.position, is_dead: members.is_dead(name) }).collect();
        trimmable((tail.bytes, tail.bytes_max.unwrap_or(TAIL_BYTES_MAX)), self.view.identity.copies, own, &others)
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
        // The engine may not be there: then the process is not kept from its end.
        let is_reached = self.view.state.borrow().went_in.elapsed() < REACHED;
        let (attempts, patience) =
            if is_reached { (HAND_OVER_ATTEMPTS, HAND_OVER_TIMEOUT) } else { (1, HAND_OVER_LAST) };
        for _ in 0..attempts {
            if timeout(patience, beat_once(engine, self.view)).await.unwrap_or(false) {
                self.view.log("handed over: other nodes may take over now");
                return;
            }
        }
        self.view.warn("the other nodes do not know that this one hands over: they wait until it counts as dead");
    }
}

/// The copy of another node.
#[derive(Debug, Clone, Copy)]
struct Copied {
    /// What of the stream is on its disk; 0: nothing yet.
    position: u64,
    is_dead: bool,
}

/// The position below which a stream of `bytes` bytes, which may have `most`, is not needed: what is there is on the disks of `copies` nodes, one of which
/// is the owner, up to `own`. While the stream is small, it keeps what further nodes need that are behind: those that are alive, and, while it is smaller
/// still, all.
fn trimmable((bytes, most): (u64, u64), copies: u8, own: u64, others: &[Copied]) -> u64 {
    let mut positions: Vec<u64> = others.iter().map(|copy| copy.position).collect();
    positions.sort_unstable_by_key(|position| Reverse(*position));
    // That of the last of the other nodes that must have it.
    let required = match usize::from(copies).checked_sub(2) {
        Some(place) => positions.get(place).copied().unwrap_or(0),
        None => u64::MAX,
    };
    let kept = if bytes > most / 2 {
        None
    } else if bytes > most / 4 {
        others.iter().filter(|copy| !copy.is_dead).map(|copy| copy.position).min()
    } else {
        positions.last().copied()
    };
    required.min(kept.unwrap_or(u64::MAX)).min(own)
}

/// What is wrong with a stream that ends before this position, which it had acknowledged.
fn lost_end(tail: &Tail, position: u64) -> Option<String> {
    let last = tail.last;
    (last < position).then(|| {
        format!("the stream ends at position {last}, and had acknowledged {position}: it has lost entries. See \"oncemq store adopt\"")
    })
}

/// An owner of whose commits the stream takes none for so long lets another node serve: longer than an election of the engine.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How often the stream is looked at, and trimmed.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// After how many bytes that is done earlier.
const LOOK_BYTES: u64 = 64 << 20;
/// The size of the stream, if it says none.
const TAIL_BYTES_MAX: u64 = 1 << 30;
/// How often a node tries to tell the others that it hands over.
const HAND_OVER_ATTEMPTS: u32 = 3;
/// How long one may take: as long as the engine lets it.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same if the cluster was not reached for some seconds.
const HAND_OVER_LAST: Duration = Duration::from_millis(500);
const REACHED: Duration = Duration::from_secs(5);
/// How long an owner waits for its disk at its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const fn alive(position: u64) -> Copied {
        Copied { position, is_dead: false }
    }

    const fn dead(position: u64) -> Copied {
        Copied { position, is_dead: true }
    }

    #[test]
    fn the_stream_keeps_what_is_on_one_disk_alone_and_while_it_is_small_what_nodes_that_are_behind_need() {
        let (small, medium, large) = (20, 30, 60);
        let cases: [(u64, u64, &[Copied], u64); 11] = [
            (small, 90, &[alive(80), alive(70)], 70),
            (small, 90, &[alive(80), dead(40)], 40),
            (medium, 90, &[alive(80), dead(40)], 80),
            (medium, 90, &[alive(80), alive(70)], 70),
            (medium, 90, &[dead(60), dead(40)], 60),
            (large, 90, &[alive(70), dead(80)], 80),
            // One that begins has a position when it has opened its copy.
            (medium, 90, &[alive(80), alive(0)], 0),
            (large, 90, &[alive(80), alive(0)], 80),
            // The owner's own disk.
            (large, 50, &[alive(80), alive(70)], 50),
            (large, 90, &[], 0),
            (large, 90, &[alive(0), dead(0)], 0),
        ];
        for (bytes, own, others, expected) in cases {
            assert_eq!(trimmable((bytes, 100), 2, own, others), expected, "{bytes} bytes, {own}, {others:?}");
        }
    }

    #[test]
    fn the_stream_keeps_what_fewer_nodes_have_than_an_operator_demands() {
        let (small, medium, large) = (20, 30, 60);
        let cases: [(u8, u64, &[Copied], u64); 9] = [
            (1, large, &[alive(80), alive(70)], 90),
            (1, small, &[], 90),
            (1, small, &[alive(70)], 70),
            (3, large, &[alive(80), alive(70), dead(60)], 70),
            (3, medium, &[alive(80), dead(40)], 40),
            (3, medium, &[alive(80), alive(75), dead(40)], 75),
            (3, small, &[alive(80)], 0),
            (4, large, &[alive(80), alive(75), dead(40)], 40),
            (4, large, &[alive(80), alive(75)], 0),
        ];
        for (copies, bytes, others, expected) in cases {
            assert_eq!(trimmable((bytes, 100), copies, 90, others), expected, "{copies}, {bytes} bytes, {others:?}");
        }
    }
}
