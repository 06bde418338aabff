use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::action::{Action, Side};
use super::frame::{Builder, Frame, Head, Item, Items, Refusal};
use super::tunnel_end::{Sent, TunnelEnd};
use super::{FRAMES_MAX, REFUSALS_MAX, SILENCE_MAX, TunnelId, WINDOW_BYTES};

/// A link that both nodes take part in.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) own: u64,
    pub(super) other: u64,
    /// An owner is to say so.
    pub(super) is_welcome_due: bool,
    /// The numbers of the last frames: sent, acknowledged by the other node, received, and acknowledged to it.
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) received: u64,
    pub(super) told: u64,
    /// When the last frame came, and when the last one was sent.
    pub(super) heard_at: u64,
    pub(super) said_at: u64,
    /// When the time was told last.
    pub(super) ticked_at: u64,
    pub(super) tunnels: BTreeMap<TunnelId, TunnelEnd>,
    /// The last tunnel that was opened.
    pub(super) last: TunnelId,
    /// Tunnels with something to send, each once.
    pub(super) ready: VecDeque<TunnelId>,
    pub(super) refusals: VecDeque<TunnelId>,
}

impl Up {
    pub(super) fn new((own, other): (u64, u64), now: u64) -> Self {
        Self {
            own,
            other,
            is_welcome_due: false,
            sent: 0,
            acknowledged: 0,
            received: 0,
            told: 0,
            heard_at: now,
            said_at: now,
            ticked_at: now,
            tunnels: BTreeMap::new(),
            last: 0,
            ready: VecDeque::new(),
            refusals: VecDeque::new(),
        }
    }

    /// Whether the other node has said nothing for too long. If this node stood still, what it said meanwhile is still to come.
    pub(super) fn is_silent(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(std::mem::replace(&mut self.ticked_at, now));
        if passed >= STANDSTILL_MIN {
            self.heard_at = now;
        }
        now.saturating_sub(self.heard_at) >= SILENCE_MAX
    }

    pub(super) fn set_ready(&mut self, id: TunnelId) {
        if let Some(tunnel) = self.tunnels.get_mut(&id)
            && !std::mem::replace(&mut tunnel.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    pub(super) fn on_frame(
        &mut self,
        head: Head,
        items: Option<Items>,
        terms: (Side, usize),
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let expected = self.received + u64::from(items.is_some());
        // What says only that the other node is alive can be late without harm.
        if head.number > expected || (head.number < expected && items.is_some()) {
            return Err("a frame is missing, or came twice");
        }
        if head.acknowledged > self.sent {
            return Err("the other node acknowledges what was not sent");
        }
        self.acknowledged = self.acknowledged.max(head.acknowledged);
        let Some(items) = items else { return Ok(()) };
        self.received = head.number;
        for item in items {
            let item = item.map_err(|_| "the other node sends what makes no sense")?;
            self.on_item(item, terms, actions)?;
        }
        Ok(())
    }

    fn on_item(&mut self, item: Item, terms: (Side, usize), actions: &mut Vec<Action>) -> Result<(), &'static str> {
        let (side, tunnels_max) = terms;
        if let Item::Open(id, opening) = item {
            if side == Side::Front || id <= self.last {
                return Err("the other node opens what it must not open");
            }
            self.last = id;
            if self.tunnels.len() < tunnels_max {
                self.tunnels.insert(id, TunnelEnd::new());
                actions.push(Action::Opened(id, opening));
            } else if self.refusals.len() < REFUSALS_MAX {
                self.refusals.push_back(id);
            } else {
                return Err("the other node opens more than can be refused");
            }
            return Ok(());
        }
        let (Item::Open(id, _) | Item::Bytes(id, _) | Item::Room(id, _) | Item::Finished(id) | Item::Closed(id, _)) =
            item;
        if id > self.last {
            return Err("the other node means a tunnel that was never opened");
        }
        // This node has closed it meanwhile.
        let Some(tunnel) = self.tunnels.get_mut(&id) else { return Ok(()) };
        match item {
            Item::Open(..) => {}
            Item::Bytes(_, bytes) => {
                if tunnel.has_other_finished || bytes.len() > tunnel.allowed {
                    return Err("the other node sends more than it may");
                }
                tunnel.allowed -= bytes.len();
                if !tunnel.is_closing() {
                    actions.push(Action::Received(id, bytes));
                }
            }
            Item::Room(_, bytes) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                if bytes > WINDOW_BYTES - tunnel.room - tunnel.outgoing.len() {
                    return Err("the other node consumed more than was sent");
                }
                tunnel.room += bytes;
                if !tunnel.is_closing() {
                    actions.push(Action::Room(id, bytes));
                }
            }
            Item::Finished(_) => {
                tunnel.has_other_finished = true;
                if !tunnel.is_closing() {
                    actions.push(Action::Finished(id));
                }
            }
            Item::Closed(_, refusal) => {
                let is_closing = tunnel.is_closing();
                self.tunnels.remove(&id);
                if !is_closing {
                    actions.push(Action::Closed(id, refusal));
                }
            }
        }
        Ok(())
    }

    pub(super) fn next_frame(&mut self, now: u64) -> Option<Bytes> {
        if std::mem::take(&mut self.is_welcome_due) {
            return Some(Frame::Welcome { from: self.own, to: self.other }.encode());
        }
        let may_send = self.sent - self.acknowledged < FRAMES_MAX;
        if may_send && let Some(frame) = self.next_data() {
            self.said_at = now;
            return Some(frame);
        }
        let is_due = self.received - self.told >= FRAMES_MAX / 4 || now.saturating_sub(self.said_at) >= IDLE_PERIOD;
        is_due.then(|| {
            self.said_at = now;
            Frame::Idle(self.head(self.sent)).encode()
        })
    }

    fn head(&mut self, number: u64) -> Head {
        self.told = self.received;
        Head { from: self.own, to: self.other, number, acknowledged: self.received }
    }

    /// A frame with what the tunnels have to send, in turn.
    fn next_data(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() && self.refusals.is_empty() {
            return None;
        }
        let expected: usize =
            self.ready.iter().take(8).filter_map(|id| self.tunnels.get(id)).map(TunnelEnd::bytes).sum();
        let mut builder = Builder::new(self.head(self.sent + 1), expected + 256);
        while builder.room() >= ITEMS_BYTES_MIN {
            if let Some(id) = self.refusals.pop_front() {
                builder.add(&Item::Closed(id, Some(Refusal::Limit)));
                continue;
            }
            let Some(id) = self.ready.pop_front() else { break };
            let Some(tunnel) = self.tunnels.get_mut(&id) else { continue };
            tunnel.is_ready = false;
            if tunnel.send(id, &mut builder) == Sent::All {
                if tunnel.is_closing() {
                    self.tunnels.remove(&id);
                }
            } else {
                self.set_ready(id);
            }
        }
        // Those that were ready are closed.
        if builder.is_empty() {
            return None;
        }
        self.sent += 1;
        Some(builder.finish())
    }
}

/// A frame with less room is sent: more than an [`Opening`](super::Opening) and two small items have.
const ITEMS_BYTES_MIN: usize = 12 << 10;
/// A node to which the time is told a few times in a second stood still if it was not told for so long.
const STANDSTILL_MIN: u64 = 2_000;
/// A node that has nothing else to send says so often that it is alive.
const IDLE_PERIOD: u64 = 1_000;
