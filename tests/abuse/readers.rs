//! Attacks by clients that don't read what they asked for.

use std::thread;
use std::time::Duration;

use wire::{Connect, PINGREQ, PUBLISH, PUBREL, SUBSCRIBE, Version, acknowledge, packet, string};

use crate::arena::{Arena, Bounds, attack};
use crate::broker::Setup;
use crate::client::{Client, offer_all};

const V5: Version = Version::V5;
const V311: Version = Version::V311;

/// Clients that have subscribed to a filter.
fn subscribers(arena: &Arena<'_>, name: &str, count: usize, filter: &str, qos: u8) -> Vec<Client> {
    let subscribed = |number: usize| {
        let mut client = Client::connected(arena.address, &Connect::new(V5, &format!("{name}-{number}")))?;
        client.offer(&V5.subscribe(1, filter, qos));
        Some(client)
    };
    (0..count).filter_map(subscribed).collect()
}

/// Publishes to `flood` until the end, as fast as the broker reads, and calls `meanwhile` in between.
fn flood(arena: &Arena<'_>, qos: u8, mut meanwhile: impl FnMut()) {
    // The publisher behaves well but for its rate: it reads all acknowledgements, and releases its QoS 2 messages.
    let Some(mut publisher) = Client::connected(arena.address, &Connect::new(V311, "flood")) else { return };
    let mut number = 0_u16;
    while arena.goes_on() {
        let mut packets = Vec::new();
        for _ in 0..20 {
            number = number % 60_000 + 1;
            packets.extend(V311.publish(PUBLISH | qos << 1, "flood", number, &[b'.'; 4_000]));
            if qos == 2 {
                packets.extend(acknowledge(PUBREL, number));
            }
        }
        publisher.offer(&packets);
        publisher.read(10_000);
        meanwhile();
        thread::sleep(Duration::from_millis(1));
    }
}

fn never_read(name: &str, qos: u8) {
    attack(name, &Setup::default(), Bounds { memory: 250, descriptors: 60 }, |arena| {
        let clients = subscribers(arena, name, 20, "flood", qos);
        flood(arena, qos, || ());
        clients
    });
}

#[test]
fn readers_that_never_read_at_qos_0() {
    never_read("readers_that_never_read_at_qos_0", 0);
}

#[test]
fn readers_that_never_read_at_qos_1() {
    never_read("readers_that_never_read_at_qos_1", 1);
}

#[test]
fn readers_that_never_read_at_qos_2() {
    never_read("readers_that_never_read_at_qos_2", 2);
}

#[test]
fn slow_readers() {
    attack("slow_readers", &Setup::default(), Bounds { memory: 250, descriptors: 60 }, |arena| {
        let mut clients: Vec<Client> =
            [0, 1, 2].into_iter().flat_map(|qos| subscribers(arena, &format!("slow-{qos}"), 7, "flood", qos)).collect();
        flood(arena, 1, || clients.iter_mut().for_each(|client| client.read(500)));
        clients
    });
}

/// Every request has an answer, and nobody reads the answers. Those to one read may be many times larger than what was read: PUBCOMP with a
/// Reason String, for a PUBREL of 4 bytes.
fn responses(name: &str, request: &[u8]) {
    attack(name, &Setup::default(), Bounds { memory: 200, descriptors: 60 }, |arena| {
        let connect = |number: usize| Connect::new([V5, V311][number % 2], &format!("{name}-{number}"));
        let mut clients: Vec<Client> =
            (0..20).filter_map(|number| Client::connected(arena.address, &connect(number * 2))).collect();
        let requests = request.repeat(10_000 / request.len() + 1);
        while arena.goes_on() {
            offer_all(&mut clients, &requests);
            thread::sleep(Duration::from_millis(1));
        }
        clients
    });
}

#[test]
fn pingreq_flood() {
    responses("pingreq_flood", &packet(PINGREQ, &[]));
}

#[test]
fn pubrel_flood() {
    responses("pubrel_flood", &acknowledge(PUBREL, 7));
}

#[test]
fn subscribe_flood() {
    let body: Vec<u8> = [vec![0, 1, 0], (0..50).flat_map(|_| [string("a/b"), vec![0]].concat()).collect()].concat();
    responses("subscribe_flood", &packet(SUBSCRIBE, &body));
}

#[test]
fn retained_replays() {
    attack("retained_replays", &Setup::default(), Bounds { memory: 150, descriptors: 60 }, |arena| {
        let mut publisher = Client::connected(arena.address, &Connect::new(V311, "retained")).unwrap();
        for number in 0..2_000 {
            let retained = V311.publish(PUBLISH | 1, &format!("retained/{number}"), 0, &[b'.'; 1_000]);
            while !publisher.offer(&retained) && publisher.is_open() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let mut clients = subscribers(arena, "replay", 20, "retained/#", 0);
        let again = [V5.subscribe(1, "retained/#", 0), V5.subscribe(2, "+/+", 1)].concat();
        while arena.goes_on() {
            offer_all(&mut clients, &again);
            thread::sleep(Duration::from_millis(2));
        }
        (clients, publisher)
    });
}
