use std::collections::{BTreeMap, VecDeque};

use super::super::{FRAME_BYTES_MAX, FRAMES_MAX, SILENCE_MAX};
use super::*;

/// A generator of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The byte at a place of what the end `side` of the tunnel with this name sends.
fn byte(name: u64, side: usize, place: usize) -> u8 {
    let mixed = (name * 2 + side as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (place as u64).wrapping_mul(0xFF51_AFD7);
    mixed.to_le_bytes()[1]
}

/// One end of a tunnel.
#[derive(Debug, Default, Clone)]
struct Held {
    name: u64,
    room: usize,
    pushed: usize,
    /// Came, and consumed of it.
    received: usize,
    consumed: usize,
    is_finished: bool,
}

/// One node.
struct Node {
    link: Link,
    tunnels: BTreeMap<TunnelId, Held>,
}

impl Node {
    fn new(side: Side, seed: u64) -> Self {
        Self { link: Link::new(side, TUNNELS_MAX, seed), tunnels: BTreeMap::new() }
    }
}

/// Two nodes, and what is on the way between them.
struct World {
    random: Random,
    now: u64,
    nodes: [Node; 2],
    /// On the way to each.
    wires: [VecDeque<Bytes>; 2],
    next_name: u64,
    /// What each end of each tunnel has pushed before it ended; by name and side.
    pushed: BTreeMap<(u64, usize), usize>,
    /// What is seldom.
    delivered: usize,
    ended_whole: usize,
    fallen: usize,
    is_over: bool,
}

const TUNNELS_MAX: usize = 8;

impl World {
    fn new(seed: u64) -> Self {
        let nodes = [Node::new(Side::Front, seed * 2), Node::new(Side::Owner, seed * 2 + 1)];
        Self {
            random: Random(seed),
            now: 0,
            nodes,
            wires: Default::default(),
            next_name: 1,
            pushed: BTreeMap::new(),
            delivered: 0,
            ended_whole: 0,
            fallen: 0,
            is_over: false,
        }
    }

    fn perform(&mut self, side: usize, actions: Vec<Action>) {
        let node = &mut self.nodes[side];
        for action in actions {
            match action {
                Action::Up => assert!(node.tunnels.is_empty()),
                Action::Down(_) => {
                    node.tunnels.clear();
                    self.fallen += 1;
                }
                Action::Opened(id, opening) => {
                    assert_eq!(side, 1, "a front is opened no tunnel");
                    let name = u64::from_le_bytes(opening.as_ref().try_into().unwrap());
                    let end = Held { name, room: WINDOW_BYTES, ..Held::default() };
                    assert!(node.tunnels.insert(id, end).is_none());
                }
                Action::Received(id, bytes) => {
                    let end = node.tunnels.get_mut(&id).unwrap();
                    for value in &bytes {
                        assert_eq!(*value, byte(end.name, 1 - side, end.received), "tunnel {}", end.name);
                        end.received += 1;
                    }
                    assert!(end.received - end.consumed <= WINDOW_BYTES);
                    self.delivered += bytes.len();
                }
                Action::Room(id, bytes) => {
                    let end = node.tunnels.get_mut(&id).unwrap();
                    end.room += bytes;
                    assert!(end.room <= WINDOW_BYTES);
                }
                Action::Finished(id) => {
                    let end = &node.tunnels[&id];
                    assert_eq!(end.received, self.pushed[&(end.name, 1 - side)], "all that was pushed before");
                    self.ended_whole += 1;
                }
                Action::Closed(id, refusal) => {
                    let end = node.tunnels.remove(&id).unwrap();
                    if refusal.is_none() {
                        assert_eq!(end.received, self.pushed[&(end.name, 1 - side)], "all that was pushed before");
                        self.ended_whole += 1;
                    }
                }
            }
        }
        assert!(node.tunnels.len() <= TUNNELS_MAX);
    }

    /// Something that one of the nodes does.
    fn act(&mut self) {
        let side = self.random.below(2);
        let choice = self.random.below(100);
        let ids: Vec<TunnelId> = self.nodes[side].tunnels.keys().copied().collect();
        let id = ids.get(self.random.below(ids.len())).copied();
        let Node { link, tunnels } = &mut self.nodes[side];
        let end = id.and_then(|id| tunnels.get_mut(&id));
        match (choice, id, end) {
            (0..10, ..) if side == 0 && !self.is_over => {
                let name = self.next_name;
                if let Some(id) = link.open(name.to_le_bytes().to_vec().into()) {
                    self.next_name += 1;
                    tunnels.insert(id, Held { name, room: WINDOW_BYTES, ..Held::default() });
                }
            }
            (10..60, Some(id), Some(end)) if !end.is_finished => {
                let most = if self.random.percent(10) { WINDOW_BYTES } else { 200 };
                let length = self.random.below(end.room.min(most) + 1);
                let bytes: Vec<u8> = (0..length).map(|place| byte(end.name, side, end.pushed + place)).collect();
                link.push(id, &bytes);
                end.pushed += length;
                end.room -= length;
            }
            (60..90, Some(id), Some(end)) => {
                let length = self.random.below(end.received - end.consumed + 1);
                link.consumed(id, length);
                end.consumed += length;
            }
            (90..93, Some(id), Some(end)) if !self.is_over => {
                end.is_finished = true;
                self.pushed.insert((end.name, side), end.pushed);
                link.finish(id);
            }
            (93..96, Some(id), Some(end)) if !self.is_over => {
                self.pushed.insert((end.name, side), end.pushed);
                link.end(id, None);
                tunnels.remove(&id);
            }
            _ => {}
        }
    }

    /// What only happens to nodes and frames while there are faults.
    fn harm(&mut self) {
        let side = self.random.below(2);
        match self.random.below(1_000) {
            0..4 => {
                // The process is another one.
                let seed = self.random.next();
                self.nodes[side] = Node::new([Side::Front, Side::Owner][side], seed);
            }
            4..8 => drop(self.wires[side].pop_front()),
            8..12 => {
                if let Some(frame) = self.wires[side].front().cloned() {
                    self.wires[side].push_back(frame);
                }
            }
            12..16 => {
                if let Some(frame) = self.wires[side].pop_front() {
                    self.wires[side].push_back(frame);
                }
            }
            16..20 => {
                if let Some(frame) = self.wires[side].pop_front() {
                    let mut bytes = frame.to_vec();
                    let place = self.random.below(bytes.len());
                    bytes[place] ^= 1 << self.random.below(8);
                    self.wires[side].push_front(bytes.into());
                }
            }
            20..22 => self.wires[side].clear(),
            22 => self.now += 2 * SILENCE_MAX,
            23..25 => {
                let mut actions = Vec::new();
                self.nodes[side].link.close(self.now, "an end", &mut actions);
                self.perform(side, actions);
            }
            _ => {}
        }
    }

    fn step(&mut self) {
        for _ in 0..self.random.below(4) {
            self.act();
        }
        if !self.is_over {
            self.harm();
        }
        self.pass_frames();
    }

    fn pass_frames(&mut self) {
        self.now += self.random.below(30) as u64;
        for side in 0..2 {
            let mut actions = Vec::new();
            for _ in 0..self.random.below(6) {
                let Some(frame) = self.wires[side].pop_front() else { break };
                self.nodes[side].link.receive(self.now, &frame, &mut actions);
            }
            self.nodes[side].link.tick(self.now, &mut actions);
            self.perform(side, actions);
            if self.random.percent(80) {
                while let Some(frame) = self.nodes[side].link.next_frame(self.now) {
                    assert!(frame.len() <= FRAME_BYTES_MAX);
                    self.wires[1 - side].push_back(frame);
                }
            }
            self.check(side);
        }
    }

    /// What holds whatever happens.
    fn check(&self, side: usize) {
        let Some(up) = self.nodes[side].link.up() else { return };
        assert!(up.sent - up.acknowledged <= FRAMES_MAX);
        assert!(up.tunnels.len() <= 2 * TUNNELS_MAX && up.ready.len() <= up.tunnels.len() + TUNNELS_MAX);
        for tunnel in up.tunnels.values() {
            assert!(tunnel.outgoing.len() + tunnel.room <= WINDOW_BYTES && tunnel.allowed <= WINDOW_BYTES);
        }
    }

    /// Without faults, the link comes up, and all that was pushed arrives.
    fn settle(&mut self) {
        self.is_over = true;
        for _ in 0..1_000 {
            self.step();
        }
        assert!(self.nodes.iter().all(|node| node.link.is_up()));
        for _ in 0..200 {
            self.pass_frames();
        }
        for side in 0..2 {
            for (id, end) in &self.nodes[side].tunnels {
                let other = self.nodes[1 - side].tunnels.get(id).expect("both ends have it");
                assert_eq!((other.name, other.received), (end.name, end.pushed), "what there was room for arrives");
            }
        }
    }
}

#[test]
fn bytes_arrive_in_order_and_once_or_the_tunnel_is_closed_whatever_happens_to_frames_and_nodes() {
    let (mut delivered, mut ended_whole, mut fallen) = (0, 0, 0);
    for seed in 0..worlds() {
        let mut world = World::new(seed);
        for _ in 0..1_000 {
            world.step();
        }
        world.settle();
        delivered += world.delivered;
        ended_whole += world.ended_whole;
        fallen += world.fallen;
    }
    println!("{delivered} bytes, {ended_whole} ends, {fallen} closed links");
    assert!(delivered > 1_000_000 && ended_whole > 100 && fallen > 100, "the worlds do next to nothing");
}

/// The number of worlds: `ONCEMQ_TUNNEL_WORLDS`.
#[expect(clippy::disallowed_methods, reason = "a test is told how much to do")]
fn worlds() -> u64 {
    std::env::var("ONCEMQ_TUNNEL_WORLDS").map_or(20, |text| text.parse().unwrap())
}

/// Two ends of a link that is up.
fn linked() -> [Link; 2] {
    let mut links = [Link::new(Side::Front, 100_000, 1), Link::new(Side::Owner, 100_000, 2)];
    links[0].tick(0, &mut Vec::new());
    exchange(&mut links, 0);
    assert!(links.iter().all(Link::is_up));
    links
}

/// Passes frames until there are none. Returns what the owner is to do, and the number of frames for it.
fn exchange(links: &mut [Link; 2], now: u64) -> (Vec<Action>, usize) {
    let (mut actions, mut others, mut frames) = (Vec::new(), Vec::new(), 0);
    loop {
        let to_owner: Vec<Bytes> = std::iter::from_fn(|| links[0].next_frame(now)).collect();
        frames += to_owner.len();
        to_owner.iter().for_each(|frame| links[1].receive(now, frame, &mut actions));
        let to_front: Vec<Bytes> = std::iter::from_fn(|| links[1].next_frame(now)).collect();
        to_front.iter().for_each(|frame| links[0].receive(now, frame, &mut others));
        if to_owner.is_empty() && to_front.is_empty() {
            return (actions, frames);
        }
    }
}

#[test]
fn all_tunnels_of_a_turn_are_in_one_frame() {
    let mut links = linked();
    let ids: Vec<TunnelId> = (0..500).map(|_| links[0].open(Bytes::new()).unwrap()).collect();
    exchange(&mut links, 1);
    ids.iter().for_each(|id| links[0].push(*id, b"0123456789"));
    let (actions, frames) = exchange(&mut links, 2);
    let received = actions.iter().filter(|action| matches!(action, Action::Received(..)));
    assert_eq!((received.count(), frames), (500, 1));
}

#[test]
fn a_tunnel_whose_bytes_nobody_consumes_holds_no_other() {
    let mut links = linked();
    let [slow, fast] = [(); 2].map(|()| links[0].open(Bytes::new()).unwrap());
    links[0].push(slow, &vec![0; WINDOW_BYTES]);
    let mut passed = 0;
    for turn in 0..1_000 {
        links[0].push(fast, &vec![0; WINDOW_BYTES / 4]);
        for action in exchange(&mut links, turn).0 {
            if let Action::Received(id, bytes) = action
                && id == fast
            {
                passed += bytes.len();
                links[1].consumed(fast, bytes.len());
            }
        }
        exchange(&mut links, turn);
    }
    assert_eq!(passed, 250 * WINDOW_BYTES);
}

#[test]
fn a_large_message_of_one_client_does_not_delay_the_others() {
    let mut links = linked();
    let [large, small] = [(); 2].map(|()| links[0].open(Bytes::new()).unwrap());
    exchange(&mut links, 0);
    links[0].push(large, &vec![0; WINDOW_BYTES]);
    links[0].push(small, b"x");
    let first = links[0].next_frame(1).unwrap();
    let mut actions = Vec::new();
    links[1].receive(1, &first, &mut actions);
    assert!(actions.contains(&Action::Received(small, Bytes::from_static(b"x"))), "it is in the first frame");
}

#[test]
fn a_silent_node_is_left_after_five_seconds_and_one_that_says_so_at_once() {
    let mut links = linked();
    links[0].open(Bytes::new()).unwrap();
    exchange(&mut links, 0);
    for now in (0..60_000).step_by(250) {
        links.iter_mut().for_each(|link| link.tick(now, &mut Vec::new()));
        exchange(&mut links, now);
    }
    assert!(links.iter().all(|link| link.is_up() && link.tunnels() == 1), "nothing else keeps it up");
    let mut actions = Vec::new();
    let mut tick = |link: &mut Link, times: std::ops::Range<u64>| {
        times.step_by(250).for_each(|now| link.tick(now, &mut actions));
        std::mem::take(&mut actions)
    };
    assert_eq!(tick(&mut links[0], 60_000..60_000 + SILENCE_MAX - 1_250), []);
    // It stood still itself.
    assert_eq!(tick(&mut links[0], 70_000..70_000 + SILENCE_MAX), []);
    assert_eq!(tick(&mut links[0], 70_000 + SILENCE_MAX..76_000), [Action::Down("the other node is silent")]);
    // The other one hears of it.
    let frame = links[0].next_frame(76_000).unwrap();
    let mut actions = Vec::new();
    links[1].receive(76_000, &frame, &mut actions);
    assert_eq!(actions, [Action::Down("the other node does not know it any more")]);
}

#[test]
fn more_tunnels_than_an_owner_takes_are_refused_one_by_one() {
    let mut links = [Link::new(Side::Front, 10, 1), Link::new(Side::Owner, 3, 2)];
    links[0].tick(0, &mut Vec::new());
    exchange(&mut links, 0);
    assert!((0..5).all(|_| links[0].open(Bytes::new()).is_some()));
    let (actions, _) = exchange(&mut links, 1);
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Opened(..))).count(), 3);
    assert_eq!(links.each_ref().map(Link::tunnels), [3, 3]);
}

#[test]
fn at_most_so_many_frames_are_on_their_way_and_acknowledgements_let_more_go_at_once() {
    let mut links = linked();
    let ids: Vec<TunnelId> = (0..100).map(|_| links[0].open(Bytes::new()).unwrap()).collect();
    exchange(&mut links, 0);
    ids.iter().for_each(|id| links[0].push(*id, &[0; WINDOW_BYTES]));
    let first: Vec<Bytes> = std::iter::from_fn(|| links[0].next_frame(1)).collect();
    assert!((FRAMES_MAX - 16..=FRAMES_MAX).contains(&(first.len() as u64)), "{}", first.len());
    let mut actions = Vec::new();
    first.iter().for_each(|frame| links[1].receive(1, frame, &mut actions));
    actions.extend(exchange(&mut links, 1).0);
    let bytes = |action: &Action| if let Action::Received(_, bytes) = action { bytes.len() } else { 0 };
    assert_eq!(actions.iter().map(bytes).sum::<usize>(), 100 * WINDOW_BYTES, "no time has passed");
}

#[test]
fn a_frame_of_an_earlier_link_is_not_taken() {
    let mut links = linked();
    links[0].open(Bytes::new()).unwrap();
    let late = links[0].next_frame(0).unwrap();
    links[0] = Link::new(Side::Front, 9, 3);
    links[0].tick(1, &mut Vec::new());
    exchange(&mut links, 1);
    let mut actions = Vec::new();
    links[1].receive(1, &late, &mut actions);
    assert_eq!((actions, links[1].is_up(), links[1].tunnels()), (vec![], true, 0));
}

#[test]
fn a_front_that_says_hello_twice_is_welcome_and_keeps_its_tunnels() {
    let mut links = [Link::new(Side::Front, 9, 1), Link::new(Side::Owner, 9, 2)];
    links[0].tick(0, &mut Vec::new());
    let hello = links[0].next_frame(0).unwrap();
    let mut actions = Vec::new();
    links[1].receive(0, &hello, &mut actions);
    exchange(&mut links, 0);
    links[0].open(Bytes::new()).unwrap();
    exchange(&mut links, 0);
    links[1].receive(1, &hello, &mut actions);
    assert!(exchange(&mut links, 1).0.is_empty());
    assert_eq!((actions, links.each_ref().map(Link::tunnels)), (vec![Action::Up], [1, 1]));
}

#[test]
fn a_node_that_began_anew_says_at_once_that_it_knows_of_no_link() {
    let mut links = linked();
    links[0].open(Bytes::new()).unwrap();
    links[1] = Link::new(Side::Owner, 9, 3);
    let frame = links[0].next_frame(1).unwrap();
    let mut actions = Vec::new();
    links[1].receive(1, &frame, &mut actions);
    let answer = links[1].next_frame(1).unwrap();
    links[0].receive(1, &answer, &mut actions);
    assert_eq!(actions, [Action::Down("the other node does not know it any more")]);
}

#[test]
fn a_front_does_not_take_the_frames_of_another_process_in_place_of_its_owner() {
    let mut links = [Link::new(Side::Front, 9, 1), Link::new(Side::Owner, 9, 2)];
    links[0].tick(0, &mut Vec::new());
    let hello = links[0].next_frame(0).unwrap();
    links[1].receive(0, &hello, &mut Vec::new());
    exchange(&mut links, 0);
    // The owner begins anew, and the network repeats what the front has said.
    links[1] = Link::new(Side::Owner, 9, 3);
    links[1].receive(1, &hello, &mut Vec::new());
    let mut actions = Vec::new();
    for frame in std::iter::from_fn(|| links[1].next_frame(2_000)).collect::<Vec<_>>() {
        links[0].receive(2_000, &frame, &mut actions);
    }
    assert_eq!(actions, [Action::Down("another process answers")]);
}
