//! Attacks with connections that have no CONNECT, half of one, or very many.

use std::process::Command;
use std::thread;
use std::time::Duration;

use wire::{Connect, Version};

use crate::arena::{Arena, Bounds, FLEETING_MAX, attack};
use crate::broker::Setup;
use crate::client::{Client, offer_all};
use crate::deadline::{self, PATIENCE};

const V5: Version = Version::V5;
const V311: Version = Version::V311;

/// A broker that gives a client a second for CONNECT.
fn impatient() -> Setup {
    Setup::default().set("limits.connect_timeout", "\"1s\"")
}

/// Waits until the broker has closed all of them.
fn expect_closed(arena: &Arena<'_>, clients: &mut [Client]) {
    let end = deadline::now() + PATIENCE;
    while clients.iter().any(Client::is_open) && !crate::peer::is_chosen() {
        clients.iter_mut().for_each(|client| client.read(100));
        assert!(deadline::now() < end, "the broker keeps connections without CONNECT");
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(arena.left());
}

#[test]
fn silent_connections() {
    attack("silent_connections", &impatient(), Bounds { memory: 20, descriptors: 520 }, |arena| {
        let mut clients: Vec<Client> = (0..500).filter_map(|_| Client::open(arena.address)).collect();
        expect_closed(arena, &mut clients);
        clients
    });
}

#[test]
fn one_byte_at_a_time() {
    attack("one_byte_at_a_time", &impatient(), Bounds { memory: 20, descriptors: 220 }, |arena| {
        let mut clients: Vec<Client> = (0..200).filter_map(|_| Client::open(arena.address)).collect();
        let connect = Connect::new(V5, &"x".repeat(1_000)).bytes();
        for byte in connect {
            if !arena.goes_on() {
                break;
            }
            offer_all(&mut clients, &[byte]);
            thread::sleep(Duration::from_millis(20));
        }
        expect_closed(arena, &mut clients);
        clients
    });
}

/// 256 MiB in a CONNECT or a PUBLISH are refused at once; those of the largest permitted size must not cost their size before they come.
#[test]
fn giant_announcements() {
    attack("giant_announcements", &impatient(), Bounds { memory: 60, descriptors: 420 }, |arena| {
        let largest = [0x30, 0xFF, 0xFF, 0xFF, 0x07];
        let mut clients: Vec<Client> = Vec::new();
        for number in 0..100 {
            for head in [[0x30, 0xFF, 0xFF, 0xFF, 0x7F], largest] {
                let connect = Connect::new(V5, &format!("giant-{number}-{}", head[4]));
                let Some(mut client) = Client::connected(arena.address, &connect) else { continue };
                client.offer(&head);
                client.offer(&[0, 1, b'x', 0, b'.', b'.']);
                clients.push(client);
                let Some(mut client) = Client::open(arena.address) else { continue };
                client.offer(&[0x10, head[1], head[2], head[3], head[4], 0, 4]);
                clients.push(client);
            }
        }
        while arena.goes_on() {
            offer_all(&mut clients, &[b'.'; 10]);
            thread::sleep(Duration::from_millis(50));
        }
        clients
    });
}

#[test]
fn connect_storm() {
    attack("connect_storm", &Setup::default(), Bounds { memory: 60, descriptors: FLEETING_MAX }, |arena| {
        thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let mut number = 0;
                    while arena.goes_on() {
                        number += 1;
                        let connect = Connect::new([V5, V311][number % 2], &format!("storm-{thread}-{number}"));
                        drop(Client::connecting(arena.address, &connect));
                        thread::sleep(Duration::from_micros(200));
                    }
                });
            }
        });
    });
}

#[test]
fn takeover_war() {
    attack("takeover_war", &Setup::default(), Bounds { memory: 60, descriptors: FLEETING_MAX }, |arena| {
        thread::scope(|scope| {
            for thread in 0..6 {
                scope.spawn(move || {
                    while arena.goes_on() {
                        let connect = Connect::durable([V5, V311][thread % 2], "contested");
                        let mut client = Client::connected(arena.address, &connect);
                        if let Some(client) = &mut client {
                            client.offer(&V5.subscribe(1, "contested/#", 1));
                        }
                    }
                });
            }
        });
    });
}

/// The limit on descriptors is lowered to a little more than what the broker has open.
#[test]
fn descriptor_exhaustion() {
    attack("descriptor_exhaustion", &Setup::default(), Bounds { memory: 20, descriptors: 110 }, |arena| {
        let open = crate::process::Usage::of(arena.broker.id()).map_or(0, |usage| usage.descriptors);
        let limit = format!("--nofile={0}:{0}", open + 100);
        let status = Command::new("prlimit").args(["--pid", &arena.broker.id().to_string(), &limit]).status();
        assert!(status.unwrap().success());
        let mut clients = Vec::new();
        while arena.goes_on() {
            if clients.len() < 300 {
                let connect = Connect::new(V5, &format!("exhausting-{}", clients.len()));
                clients.extend(Client::connecting(arena.address, &connect));
            } else {
                thread::sleep(Duration::from_millis(20));
            }
        }
        drop(clients);
        // When the attack is over, others can connect.
        let end = deadline::now() + PATIENCE;
        while Client::connected(arena.address, &Connect::new(V5, "afterwards")).is_none() {
            assert!(deadline::now() < end || crate::peer::is_chosen(), "nobody can connect after the attack");
            if deadline::now() >= end {
                break;
            }
        }
    });
}
