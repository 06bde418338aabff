use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Builder, Frame, Head, Item, Items, Refusal};
use super::{FRAMES_MAX, REFUSALS_MAX, SILENCE_MAX, TunnelId, WINDOW_BYTES};

/// Which end of a link a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The sockets of clients are here. It begins the link, and opens tunnels.
    Front,
    /// The clients are served here.
    Owner,
}

/// One end of a link between two nodes. It has no clock and no socket: frames and the time go in, frames and [`Action`]s come out. All times are
/// milliseconds of one clock.
///
/// After each call that changes something, the caller sends what [`next_frame`](Self::next_frame) returns until it returns `None`.
#[derive(Debug)]
pub struct Link {
    side: Side,
    tunnels_max: usize,
    /// Makes the numbers of lives.
    seed: u64,
    state: State,
    /// A frame that answers one of no link of ours.
    answer: Option<Frame>,
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The link carries tunnels.
    Up,
    /// All tunnels are closed, for this reason. A front begins anew by itself.
    Down(&'static str),
    /// A client has connected at the other node.
    Opened(TunnelId, Bytes),
    /// Bytes for the tunnel's reader, which [`Link::consumed`] counts when it has taken them.
    Received(TunnelId, Bytes),
    /// So many bytes more can be sent.
    Room(TunnelId, usize),
    /// The other node sends no more bytes.
    Finished(TunnelId),
    /// The other node has no more to do with the tunnel. It is forgotten.
    Closed(TunnelId, Option<Refusal>),
}

#[derive(Debug)]
enum State {
    Down {
        /// When a front begins anew.
        until: u64,
    },
    /// A front says hello until it is answered.
    Calling {
        life: u64,
        next: u64,
    },
    Up(Box<Up>),
}

/// A link that both nodes take part in.
#[derive(Debug)]
struct Up {
    own: u64,
    other: u64,
    /// An owner is to say so.
    is_welcome_due: bool,
    /// The numbers of the last frames: sent, acknowledged by the other node, received, and acknowledged to it.
    sent: u64,
    acknowledged: u64,
    received: u64,
    told: u64,
    /// When the last frame came, and when the last one was sent.
    heard_at: u64,
    said_at: u64,
    tunnels: BTreeMap<TunnelId, Tunnel>,
    /// The last tunnel that was opened.
    last: TunnelId,
    /// Tunnels with something to send, each once.
    ready: VecDeque<TunnelId>,
    refusals: VecDeque<TunnelId>,
}

#[derive(Debug, Default)]
struct Tunnel {
    is_ready: bool,
    /// Not sent yet.
    opening: Option<Bytes>,
    outgoing: BytesMut,
    /// The bytes that [`Link::push`] may still take.
    room: usize,
    /// The bytes that the other node may still send.
    allowed: usize,
    /// The bytes that were consumed, of which the other node was not told.
    consumed: usize,
    has_other_finished: bool,
    end: End,
}

/// How much of a tunnel's sending side has ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// It has, and the other node is to be told so.
    Finishing,
    /// It was told.
    Finished,
    /// The whole tunnel has ended, and the other node is to be told so.
    Closing(Option<Refusal>),
}

impl Link {
    /// A link that is down. `seed` is random, and another one in each process.
    pub fn new(side: Side, tunnels_max: usize, seed: u64) -> Self {
        Self { side, tunnels_max, seed, state: State::Down { until: 0 }, answer: None }
    }

    /// Whether it carries tunnels.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// The number of tunnels.
    pub fn tunnels(&self) -> usize {
        self.up().map_or(0, |up| up.tunnels.len())
    }

    /// Takes the bytes of a frame of the other node. What is no frame is ignored: if it was one, the next one shows that it is missing.
    pub fn receive(&mut self, now: u64, bytes: &Bytes, actions: &mut Vec<Action>) {
        let Ok(frame) = Frame::decode(bytes) else { return };
        match (frame, self.side) {
            (Frame::Hello { from }, Side::Owner) => self.on_hello(now, from, actions),
            (Frame::Welcome { from, to }, Side::Front) => self.on_welcome(now, from, to, actions),
            (Frame::Data(head, items), _) => self.on_frame(now, head, Some(items), actions),
            (Frame::Idle(head), _) => self.on_frame(now, head, None, actions),
            (Frame::Gone { to }, _) => {
                if self.life() == Some(to) {
                    self.fall(now, "the other node does not know it any more", actions);
                }
            }
            (Frame::Hello { .. }, Side::Front) | (Frame::Welcome { .. }, Side::Owner) => {}
        }
    }

    /// Lets time pass; to be called a few times in a second.
    pub fn tick(&mut self, now: u64, actions: &mut Vec<Action>) {
        match &self.state {
            State::Down { until } if self.side == Side::Front && now >= *until => {
                let life = self.new_life();
                self.state = State::Calling { life, next: now };
            }
            State::Up(up) if now.saturating_sub(up.heard_at) >= SILENCE_MAX => {
                self.fall(now, "the other node is silent", actions);
            }
            State::Down { .. } | State::Calling { .. } | State::Up(_) => {}
        }
    }

    /// Closes all tunnels, and tells the other node so. A front begins anew.
    pub fn close(&mut self, now: u64, reason: &'static str, actions: &mut Vec<Action>) {
        self.fall(now, reason, actions);
    }

    /// Opens a tunnel of a front, with the bytes of an [`Opening`](super::Opening). `None`: the link is down, or has as many as it may have.
    pub fn open(&mut self, opening: Bytes) -> Option<TunnelId> {
        let tunnels_max = self.tunnels_max;
        let up = self.up_mut()?;
        if up.tunnels.len() >= tunnels_max {
            return None;
        }
        up.last = up.last.checked_add(1)?;
        up.tunnels.insert(up.last, Tunnel { opening: Some(opening), ..Tunnel::new() });
        up.set_ready(up.last);
        Some(up.last)
    }

    /// Sends bytes through a tunnel, not more than it has room for: [`WINDOW_BYTES`], less what was pushed, and as many more as [`Action::Room`] says.
    pub fn push(&mut self, tunnel: TunnelId, bytes: &[u8]) {
        self.change(tunnel, |tunnel| {
            assert!(bytes.len() <= tunnel.room, "more than there is room for");
            tunnel.room -= bytes.len();
            tunnel.outgoing.extend_from_slice(bytes);
        });
    }

    /// The tunnel's reader has taken so many of the bytes that came.
    pub fn consumed(&mut self, tunnel: TunnelId, bytes: usize) {
        self.change(tunnel, |tunnel| {
            tunnel.consumed += bytes;
            assert!(tunnel.consumed + tunnel.allowed <= WINDOW_BYTES, "more than came");
        });
    }

    /// Nothing more is sent through the tunnel.
    pub fn finish(&mut self, tunnel: TunnelId) {
        self.change(tunnel, |tunnel| {
            if tunnel.end == End::Open {
                tunnel.end = End::Finishing;
            }
        });
    }

    /// The tunnel ends, after what was pushed.
    pub fn end(&mut self, tunnel: TunnelId, refusal: Option<Refusal>) {
        self.change(tunnel, |tunnel| tunnel.end = End::Closing(refusal));
    }

    /// The next frame for the other node, if there is one now.
    pub fn next_frame(&mut self, now: u64) -> Option<Bytes> {
        if let Some(answer) = self.answer.take() {
            return Some(answer.encode());
        }
        match &mut self.state {
            State::Down { .. } => None,
            State::Calling { life, next } => {
                let frame = (now >= *next).then(|| Frame::Hello { from: *life }.encode())?;
                *next = now + HELLO_PERIOD;
                Some(frame)
            }
            State::Up(up) => up.next_frame(now),
        }
    }

    fn on_hello(&mut self, now: u64, from: u64, actions: &mut Vec<Action>) {
        if let Some(up) = self.up_mut() {
            if up.other == from {
                up.is_welcome_due = true;
                return;
            }
            self.fall(now, "the other node has begun anew", actions);
            // It knows that.
            self.answer = None;
        }
        let own = self.new_life();
        self.state = State::Up(Box::new(Up { is_welcome_due: true, ..Up::new((own, from), now) }));
        actions.push(Action::Up);
    }

    fn on_welcome(&mut self, now: u64, from: u64, to: u64, actions: &mut Vec<Action>) {
        if let State::Calling { life, .. } = self.state
            && life == to
        {
            self.state = State::Up(Box::new(Up::new((life, from), now)));
            actions.push(Action::Up);
        }
    }

    /// A frame with items, or without.
    fn on_frame(&mut self, now: u64, head: Head, items: Option<Items>, actions: &mut Vec<Action>) {
        let (side, tunnels_max) = (self.side, self.tunnels_max);
        let fault = match &mut self.state {
            State::Up(up) if (up.other, up.own) == (head.from, head.to) => {
                up.heard_at = now;
                up.on_frame(head, items, (side, tunnels_max), actions).err()
            }
            // It was welcomed, and has not heard of it yet.
            State::Calling { life, .. } if *life == head.to => return,
            State::Up(up) if up.own == head.to => Some("another process answers"),
            State::Down { .. } | State::Calling { .. } | State::Up(_) => {
                self.answer = Some(Frame::Gone { to: head.from });
                return;
            }
        };
        if let Some(fault) = fault {
            self.fall(now, fault, actions);
        }
    }

    fn fall(&mut self, now: u64, reason: &'static str, actions: &mut Vec<Action>) {
        if let Some(up) = self.up() {
            self.answer = Some(Frame::Gone { to: up.other });
            actions.push(Action::Down(reason));
        }
        self.state = State::Down { until: now + PAUSE };
    }

    fn change(&mut self, tunnel: TunnelId, change: impl FnOnce(&mut Tunnel)) {
        let Some(up) = self.up_mut() else { return };
        // The other node may have closed it meanwhile.
        let Some(state) = up.tunnels.get_mut(&tunnel) else { return };
        if matches!(state.end, End::Closing(_)) {
            return;
        }
        change(state);
        if state.has_something_to_send() {
            up.set_ready(tunnel);
        }
    }

    fn life(&self) -> Option<u64> {
        match &self.state {
            State::Down { .. } => None,
            State::Calling { life, .. } => Some(*life),
            State::Up(up) => Some(up.own),
        }
    }

    fn up(&self) -> Option<&Up> {
        if let State::Up(up) = &self.state { Some(up) } else { None }
    }

    fn up_mut(&mut self) -> Option<&mut Up> {
        if let State::Up(up) = &mut self.state { Some(up) } else { None }
    }

    /// A number that no other life has (SplitMix64).
    fn new_life(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Up {
    fn new((own, other): (u64, u64), now: u64) -> Self {
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
            tunnels: BTreeMap::new(),
            last: 0,
            ready: VecDeque::new(),
            refusals: VecDeque::new(),
        }
    }

    fn set_ready(&mut self, id: TunnelId) {
        if let Some(tunnel) = self.tunnels.get_mut(&id)
            && !std::mem::replace(&mut tunnel.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    fn on_frame(
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
                self.tunnels.insert(id, Tunnel::new());
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

    fn next_frame(&mut self, now: u64) -> Option<Bytes> {
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
        let expected: usize = self.ready.iter().take(8).filter_map(|id| self.tunnels.get(id)).map(Tunnel::bytes).sum();
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

/// Whether a tunnel has more to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    More,
}

impl Tunnel {
    fn new() -> Self {
        Self { room: WINDOW_BYTES, allowed: WINDOW_BYTES, ..Self::default() }
    }

    const fn is_closing(&self) -> bool {
        matches!(self.end, End::Closing(_))
    }

    /// The bytes that its next items have, roughly.
    fn bytes(&self) -> usize {
        self.outgoing.len() + self.opening.as_ref().map_or(0, Bytes::len) + 32
    }

    fn has_something_to_send(&self) -> bool {
        self.opening.is_some()
            || !self.outgoing.is_empty()
            || self.consumed >= ROOM_TOLD_MIN
            || matches!(self.end, End::Finishing | End::Closing(_))
    }

    /// Adds its items to a frame with room for [`ITEMS_BYTES_MIN`].
    fn send(&mut self, id: TunnelId, builder: &mut Builder) -> Sent {
        if let Some(opening) = self.opening.take() {
            builder.add(&Item::Open(id, opening));
        }
        if self.consumed >= ROOM_TOLD_MIN && !self.is_closing() {
            let bytes = std::mem::take(&mut self.consumed);
            self.allowed += bytes;
            builder.add(&Item::Room(id, u32::try_from(bytes).unwrap_or_default()));
        }
        let length = self.outgoing.len().min(BYTES_AT_ONCE).min(builder.room().saturating_sub(ITEMS_BYTES_AFTER));
        if length > 0 {
            builder.add_bytes(id, self.outgoing.get(..length).unwrap_or_default());
            self.outgoing.advance(length);
            if self.outgoing.is_empty() {
                // An idle tunnel has no memory for bytes.
                self.outgoing = BytesMut::new();
            }
        }
        if !self.outgoing.is_empty() {
            return Sent::More;
        }
        match self.end {
            End::Open | End::Finished => {}
            End::Finishing => {
                builder.add(&Item::Finished(id));
                self.end = End::Finished;
            }
            End::Closing(refusal) => builder.add(&Item::Closed(id, refusal)),
        }
        Sent::All
    }
}

/// The reader of a tunnel has consumed so much before its sender is told.
const ROOM_TOLD_MIN: usize = WINDOW_BYTES / 2;
/// The most bytes of a tunnel in a frame, so that a large message of one client does not delay the others.
const BYTES_AT_ONCE: usize = 16 << 10;
/// A frame with less room is sent: more than an [`Opening`](super::Opening) and two small items have.
const ITEMS_BYTES_MIN: usize = 12 << 10;
/// Room that bytes leave to the end of their tunnel.
const ITEMS_BYTES_AFTER: usize = 16;
/// A node that has nothing else to send says so often that it is alive.
const IDLE_PERIOD: u64 = 1_000;
const HELLO_PERIOD: u64 = 500;
/// How long a front waits before it begins anew.
const PAUSE: u64 = 200;

#[cfg(test)]
mod tests;
