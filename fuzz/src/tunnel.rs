use std::collections::BTreeMap;

use bytes::Bytes;
use oncemq::cluster::tunnel::{Action, FRAME_BYTES_MAX, FRAMES_MAX, Frame, Link, Opening, Side, WINDOW_BYTES};

use super::choices::Choices;

/// Whatever another node sends, a link never takes more than it has room for, and never sends more than the other may get.
pub(crate) fn tunnel(input: &[u8]) {
    // Bytes that are not from a node at all.
    let whole = Bytes::copy_from_slice(input);
    if let Ok(Frame::Data(_, items)) = Frame::decode(&whole) {
        items.for_each(drop);
    }
    drop(Opening::decode(whole));
    let mut choices = Choices::new(input);
    let mut link = Link::new(Side::Owner, TUNNELS_MAX, 1);
    let (mut now, mut number, mut own) = (0, 0, 0);
    // The bytes of each tunnel that came and were not consumed.
    let mut held: BTreeMap<u32, usize> = BTreeMap::new();
    let mut actions = Vec::new();
    link.receive(now, &frame(HELLO, [OTHER, 0, 0, 0], &[]), &mut actions);
    while !choices.is_empty() {
        match choices.below(8) {
            0..=3 => {
                let length = usize::from(choices.u16() % 600);
                let items: Vec<u8> = (0..length).map(|_| choices.byte()).collect();
                number = if choices.below(16) == 0 { choices.u64() } else { number + 1 };
                let acknowledged = u64::from(choices.byte());
                link.receive(now, &frame(DATA, [OTHER, own, number, acknowledged], &items), &mut actions);
            }
            4 => {
                let heads = [choices.u64(), choices.u64(), choices.u64(), choices.u64()];
                link.receive(now, &frame(choices.byte(), heads, &[]), &mut actions);
            }
            5 => {
                let tunnel = u32::from(choices.byte());
                if let Some(bytes) = held.get_mut(&tunnel) {
                    link.consumed(tunnel, std::mem::take(bytes));
                }
                link.finish(tunnel);
            }
            6 => {
                let tunnel = u32::from(choices.byte());
                link.end(tunnel, None);
                held.remove(&tunnel);
            }
            _ => {
                now += u64::from(choices.u16());
                link.tick(now, &mut actions);
                link.receive(now, &frame(HELLO, [OTHER, 0, 0, 0], &[]), &mut actions);
            }
        }
        for action in actions.drain(..) {
            if matches!(action, Action::Up | Action::Down(_)) {
                number = 0;
            }
            perform(action, &mut link, &mut held);
        }
        assert!(link.tunnels() <= TUNNELS_MAX);
        let mut sent = 0;
        while let Some(frame) = link.next_frame(now) {
            assert!(frame.len() <= FRAME_BYTES_MAX);
            if let Ok(Frame::Welcome { from, .. }) = Frame::decode(&frame) {
                own = from;
            }
            sent += 1;
            assert!(sent <= FRAMES_MAX + 3);
        }
    }
}

/// What the node does with an action. `held`: the bytes of each tunnel that came and were not consumed.
fn perform(action: Action, link: &mut Link, held: &mut BTreeMap<u32, usize>) {
    match action {
        Action::Up | Action::Down(_) => held.clear(),
        Action::Opened(tunnel, opening) => {
            drop(Opening::decode(opening));
            assert_eq!(held.insert(tunnel, 0), None);
            link.push(tunnel, b"welcome");
        }
        Action::Received(tunnel, bytes) => {
            let held = held.get_mut(&tunnel).expect("it was opened");
            *held += bytes.len();
            assert!(*held <= WINDOW_BYTES);
        }
        Action::Closed(tunnel, _) => assert!(held.remove(&tunnel).is_some()),
        Action::Room(_, bytes) => assert!(bytes <= WINDOW_BYTES),
        Action::Finished(tunnel) => assert!(held.contains_key(&tunnel)),
    }
}

/// A frame as another node would send it, but for what is in it.
fn frame(kind: u8, head: [u64; 4], items: &[u8]) -> Bytes {
    let mut bytes = vec![1, kind];
    head.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend(items);
    let checksum = !bytes.iter().fold(u32::MAX, |checksum, byte| {
        (0..8).fold(checksum ^ u32::from(*byte), |value, _| (value >> 1) ^ (0x82F6_3B78 & (value & 1).wrapping_neg()))
    });
    bytes.extend(checksum.to_le_bytes());
    bytes.into()
}

const HELLO: u8 = 0;
const DATA: u8 = 2;
const OTHER: u64 = 7;
const TUNNELS_MAX: usize = 8;
