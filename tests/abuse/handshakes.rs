//! Attacks on TLS and WebSocket before and below MQTT.

use std::thread;
use std::time::Duration;

use wire::{Connect, Version};

use crate::arena::{Bounds, attack};
use crate::broker::{Setup, Transport};
use crate::client::{Client, offer_all};

fn setup(transport: Transport) -> Setup {
    Setup::new([Transport::Tcp, transport]).set("limits.connect_timeout", "\"1s\"")
}

/// The beginning of a ClientHello, whose rest never comes.
const HALF_HELLO: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];

#[test]
fn tls_handshakes_that_stop() {
    attack("tls_handshakes_that_stop", &setup(Transport::Tls), Bounds { memory: 40, descriptors: 420 }, |arena| {
        let address = arena.broker.address_of(1);
        let mut clients: Vec<Client> = (0..400).filter_map(|_| Client::open(address)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.offer(&HALF_HELLO[..number % (HALF_HELLO.len() + 1)]);
        }
        while arena.goes_on() {
            offer_all(&mut clients, &[0]);
            thread::sleep(Duration::from_millis(50));
        }
        clients
    });
}

const REQUEST: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A frame of a client with a mask of zeros: bit 7 of `first` is FIN.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0][..], payload].concat()
}

/// A message of endless fragments of one byte, and Pings in between whose Pongs nobody reads.
#[test]
fn websocket_fragments() {
    attack("websocket_fragments", &setup(Transport::Ws), Bounds { memory: 150, descriptors: 120 }, |arena| {
        let address = arena.broker.address_of(1);
        let mut clients: Vec<Client> = (0..50).filter_map(|_| Client::open(address)).collect();
        let connect = Connect::new(Version::V5, "").bytes();
        for client in &mut clients {
            client.offer(REQUEST);
            client.offer(&frame(0x82, &connect));
            client.offer(&frame(0x02, b"\x30"));
        }
        let fragments = [frame(0x00, b"."), frame(0x89, &[b'p'; 125])].concat().repeat(100);
        while arena.goes_on() {
            offer_all(&mut clients, &fragments);
            thread::sleep(Duration::from_millis(2));
        }
        clients
    });
}

/// Headers without an end, and frames that announce 2^63 bytes.
#[test]
fn websocket_announcements() {
    attack("websocket_announcements", &setup(Transport::Ws), Bounds { memory: 60, descriptors: 420 }, |arena| {
        let address = arena.broker.address_of(1);
        let mut clients: Vec<Client> = (0..200).filter_map(|_| Client::open(address)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            match number % 3 {
                0 => client.offer(b"GET /mqtt HTTP/1.1\r\n"),
                1 => {
                    client.offer(REQUEST) && client.offer(&[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])
                }
                _ => client.offer(REQUEST) && client.offer(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0xF0, 0, 0, 1, 2, 3, 4]),
            };
        }
        while arena.goes_on() {
            offer_all(&mut clients, b"X-Header: value\r\n");
            thread::sleep(Duration::from_millis(10));
        }
        clients
    });
}
