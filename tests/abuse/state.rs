//! Attacks that make the broker remember.

use std::thread;
use std::time::Duration;

use wire::{Connect, PUBLISH, Publish, SUBSCRIBE, Version, packet, string};

use crate::arena::{Bounds, FLEETING_MAX, attack};
use crate::broker::Setup;
use crate::client::Client;

const V5: Version = Version::V5;
const V311: Version = Version::V311;

/// A SUBSCRIBE with many filters.
fn subscribe(filters: impl Iterator<Item = String>) -> Vec<u8> {
    let filters = filters.flat_map(|filter| [string(filter), vec![0]].concat());
    packet(SUBSCRIBE, &[vec![0, 1, 0], filters.collect()].concat())
}

#[test]
fn subscribe_storm() {
    attack("subscribe_storm", &Setup::default(), Bounds { memory: 200, descriptors: 60 }, |arena| {
        let connect = |number| Connect::new(V5, &format!("storm-{number}"));
        let mut clients: Vec<Client> =
            (0..20).filter_map(|number| Client::connected(arena.address, &connect(number))).collect();
        let mut next = 0;
        while arena.goes_on() {
            for (number, client) in clients.iter_mut().enumerate() {
                let filters = (next..next + 100).map(|filter| format!("storm/{number}/{filter}/+/{filter}"));
                client.offer(&subscribe(filters));
                client.read(10_000);
            }
            next += 100;
            thread::sleep(Duration::from_millis(1));
        }
        clients
    });
}

/// Every combination of `+` and `a` in 12 levels matches the topic, and the deepest filters and topics come on top.
#[test]
fn wildcard_bombs() {
    attack("wildcard_bombs", &Setup::default(), Bounds { memory: 100, descriptors: 30 }, |arena| {
        let mut bomber = Client::connected(arena.address, &Connect::new(V5, "bomber")).unwrap();
        let filter = |bits: u32| {
            let levels: Vec<&str> = (0..12).map(|level| if bits >> level & 1 == 0 { "a" } else { "+" }).collect();
            levels.join("/")
        };
        for first in (0..4_096).step_by(256) {
            let filters = subscribe((first..first + 256).map(filter));
            while !bomber.offer(&filters) && bomber.is_open() {
                thread::sleep(Duration::from_millis(1));
            }
            bomber.read(10_000);
        }
        let mut publisher = Client::connected(arena.address, &Connect::new(V311, "publisher")).unwrap();
        let deep = [["a"; 12].join("/"), ["a"; 200].join("/"), "/".repeat(199)];
        while arena.goes_on() {
            for topic in &deep {
                publisher.offer(&V311.publish(PUBLISH, topic, 0, b"x").repeat(10));
            }
            bomber.read(100_000);
            thread::sleep(Duration::from_millis(1));
        }
        (bomber, publisher)
    });
}

/// QoS 2 messages that are never released: in 3.1.1 a client may use all identifiers.
#[test]
fn packet_identifier_exhaustion() {
    attack("packet_identifier_exhaustion", &Setup::default(), Bounds { memory: 150, descriptors: 60 }, |arena| {
        let connect = |number: usize| Connect::durable([V311, V5][number % 2], &format!("identifiers-{number}"));
        let mut clients: Vec<Client> =
            (0..10).filter_map(|number| Client::connected(arena.address, &connect(number))).collect();
        let mut identifier = 0_u16;
        while arena.goes_on() {
            for (number, client) in clients.iter_mut().enumerate() {
                let version = [V311, V5][number % 2];
                let packets: Vec<u8> = (0..100_u16)
                    .flat_map(|place| {
                        version.publish(PUBLISH | 4, "identifiers", identifier.wrapping_add(place).max(1), b"x")
                    })
                    .collect();
                client.offer(&packets);
                client.read(10_000);
            }
            identifier = identifier.wrapping_add(100);
            thread::sleep(Duration::from_millis(1));
        }
        clients
    });
}

/// Durable sessions under ever new names, up to `sessions_max`.
#[test]
fn client_identifier_exhaustion() {
    let setup = Setup::default().set("limits.sessions_max", "2000");
    attack("client_identifier_exhaustion", &setup, Bounds { memory: 60, descriptors: FLEETING_MAX }, |arena| {
        thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let mut number = 0;
                    while arena.goes_on() {
                        number += 1;
                        let name = format!("{thread}-{number}-{}", "n".repeat(900));
                        if let Some(mut client) = Client::connecting(arena.address, &Connect::durable(V5, &name)) {
                            client.offer(&V5.subscribe(1, &format!("names/{name}"), 1));
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
        });
    });
}

/// Sessions that went away, and whose queues fill.
#[test]
fn session_hoarding() {
    attack("session_hoarding", &Setup::default(), Bounds { memory: 250, descriptors: 60 }, |arena| {
        for number in 0..300 {
            let Some(mut client) = Client::connected(arena.address, &Connect::durable(V5, &format!("away-{number}")))
            else {
                continue;
            };
            client.offer(&V5.subscribe(1, "hoard/#", 1));
        }
        let mut publisher = Client::connected(arena.address, &Connect::new(V311, "hoard")).unwrap();
        let mut number = 0_u16;
        while arena.goes_on() {
            number = number % 60_000 + 1;
            publisher.offer(&V311.publish(PUBLISH | 2, "hoard/x", number, &[b'.'; 10_000]));
            publisher.read(10_000);
            thread::sleep(Duration::from_millis(1));
        }
        publisher
    });
}

/// Many connections end at once without DISCONNECT, and each has a Will for many subscribers.
#[test]
fn will_storm() {
    attack("will_storm", &Setup::default(), Bounds { memory: 150, descriptors: FLEETING_MAX }, |arena| {
        let mut subscribers: Vec<Client> = (0..10)
            .filter_map(|number| {
                let mut client = Client::connected(arena.address, &Connect::new(V5, &format!("mourner-{number}")))?;
                client.offer(&V5.subscribe(1, "will/#", 1));
                Some(client)
            })
            .collect();
        while arena.goes_on() {
            let dying = |number| {
                let mut connect = Connect::new(V5, &format!("dying-{number}"));
                let topic = format!("will/{number}");
                connect.will = Some(Publish { qos: 1, retain: true, ..Publish::new(&topic, vec![b'.'; 1_000]) });
                Client::connecting(arena.address, &connect)
            };
            let mut clients: Vec<Client> = (0..200).filter_map(dying).collect();
            thread::sleep(Duration::from_millis(50));
            clients.iter_mut().for_each(Client::cut);
            subscribers.iter_mut().for_each(|client| client.read(10_000));
        }
        subscribers
    });
}
