//! Legal packets with wrong bytes.

use wire::{Connect, PINGREQ, PUBLISH, PUBREL, Publish, Version, acknowledge, packet};

use crate::arena::{Bounds, FLEETING_MAX, attack};
use crate::broker::Setup;
use crate::client::Client;

/// A generator of numbers (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// A connection's packets, some of whose bytes are wrong.
pub(crate) fn conversation(random: &mut Random, version: Version) -> Vec<u8> {
    let mut connect = Connect::durable(version, &format!("mutant-{}", random.below(50)));
    connect.will = Some(Publish { qos: 1, ..Publish::new("mutants/will", "gone") });
    let mut bytes = [
        connect.bytes(),
        version.subscribe(1, "mutants/#", 1),
        version.publish(PUBLISH | 2, "mutants/a", 2, b"at least once"),
        version.publish(PUBLISH | 4, "mutants/b", 3, b"exactly once"),
        acknowledge(PUBREL, 3),
        version.publish(PUBLISH | 1, "mutants/c", 0, b"retained"),
        version.unsubscribe(4, "mutants/#"),
        packet(PINGREQ, &[]),
    ]
    .concat();
    for _ in 0..1 + random.below(4) {
        let place = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[place] = u8::try_from(random.below(256)).unwrap(),
            1 => bytes[place] ^= 1 << random.below(8),
            2 => drop(bytes.remove(place)),
            _ => bytes.insert(place, u8::try_from(random.below(256)).unwrap()),
        }
    }
    bytes
}

#[test]
fn mutated_packets() {
    attack("mutated_packets", &Setup::default(), Bounds { memory: 80, descriptors: FLEETING_MAX }, |arena| {
        let mut random = Random(0x1234_5678_9ABC_DEF1);
        let mut clients = std::collections::VecDeque::new();
        while arena.goes_on() {
            let version = [Version::V311, Version::V5][random.below(2)];
            if let Some(mut client) = Client::open(arena.address) {
                client.offer(&conversation(&mut random, version));
                clients.push_back(client);
            }
            if clients.len() > 100 {
                clients.pop_front();
            }
        }
        clients
    });
}
