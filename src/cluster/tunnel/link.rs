use bytes::Bytes;

use super::action::{Action, Side};
use super::frame::{Frame, Head, Items, Refusal};
use super::tunnel_end::{End, TunnelEnd};
use super::up::Up;
use super::{TunnelId, WINDOW_BYTES};

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

impl Link {
    /// A link that is down. `seed` is random, and another one in each process.
    pub fn new(side: Side, tunnels_max: usize, seed: u64) -> Self {
        Self { side, tunnels_max, seed, state: State::Down { until: 0 }, answer: None }
    }

    /// Whether it carries tunnels.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether it is a front's that asks the other node to take part.
    pub const fn is_calling(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }

    /// The number of tunnels.
    pub fn tunnels(&self) -> usize {
        self.up().map_or(0, |up| up.tunnels.len())
    }

    /// Which end of it this node has.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Whether a frame of the other node is for this link, and for none that was before.
    pub fn expects(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Hello { .. } => self.side == Side::Owner,
            Frame::Welcome { to, .. } | Frame::Gone { to } => self.life() == Some(*to),
            Frame::Data(Head { to, .. }, _) | Frame::Idle(Head { to, .. }) => self.life() == Some(*to),
        }
    }

    /// Takes the bytes of a frame of the other node. What is no frame is ignored: if it was one, the next one shows that it is missing.
    pub fn receive(&mut self, now: u64, bytes: &Bytes, actions: &mut Vec<Action>) {
        if let Ok(frame) = Frame::decode(bytes) {
            self.take(now, frame, actions);
        }
    }

    /// Takes a frame of the other node.
    pub fn take(&mut self, now: u64, frame: Frame, actions: &mut Vec<Action>) {
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
        match &mut self.state {
            State::Down { until } if self.side == Side::Front && now >= *until => {
                let life = self.new_life();
                self.state = State::Calling { life, next: now };
            }
            State::Up(up) => {
                if up.is_silent(now) {
                    self.fall(now, "the other node is silent", actions);
                }
            }
            State::Down { .. } | State::Calling { .. } => {}
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
        up.tunnels.insert(up.last, TunnelEnd { opening: Some(opening), ..TunnelEnd::new() });
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

    /// The reader of the tunnel has taken `bytes` of those that came.
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

    fn change(&mut self, tunnel: TunnelId, change: impl FnOnce(&mut TunnelEnd)) {
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

const HELLO_PERIOD: u64 = 500;
/// How long a front waits before it begins anew.
const PAUSE: u64 = 200;

#[cfg(test)]
mod tests;
