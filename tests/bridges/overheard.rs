//! A proxy between a bridge and its other broker that hears what they say. A message is a number, its payload.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use wire::{CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL_KIND, Packet, Publish, Version};

pub(crate) struct Overheard {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// From the bridge: by Packet Identifier, the message that has it.
    ours: BTreeMap<u16, u32>,
    /// Messages of the bridge that the other broker has acknowledged: PUBACK, or PUBCOMP.
    acknowledged: BTreeSet<u32>,
    /// Messages of QoS 2 for which the bridge has sent PUBREL.
    released: BTreeSet<u32>,
    sent_again: Vec<u32>,
    /// From the other broker: by Packet Identifier, the message that has it until PUBREL or the end of the session.
    theirs: BTreeMap<u16, u32>,
    /// How often each message came that was no repeat.
    sent: BTreeMap<u32, usize>,
    /// Messages that the bridge has acknowledged: PUBACK or PUBREC.
    taken: BTreeSet<u32>,
    /// Messages whose identifier the other broker had used for another one and not released: they look like repeats.
    confused: BTreeSet<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Bridge,
    Other,
}

impl Overheard {
    /// Between a bridge of this version and the broker at `other`.
    pub(crate) fn start(other: SocketAddr, version: Version) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ears = Arc::clone(&heard);
        // It ends with the process of the test.
        thread::spawn(move || {
            for bridge in listener.incoming().map_while(Result::ok) {
                let Ok(other) = TcpStream::connect(other) else { continue };
                for (from, to, side) in [(&bridge, &other, Speaker::Bridge), (&other, &bridge, Speaker::Other)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let ears = Arc::clone(&ears);
                    thread::spawn(move || pass(from, to, |packet| lock(&ears).hear(side, packet, version)));
                }
            }
        });
        Self { address, heard }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Those of these messages that the other broker has not acknowledged.
    pub(crate) fn unacknowledged(&self, numbers: Range<u32>) -> Vec<u32> {
        let heard = lock(&self.heard);
        numbers.filter(|number| !heard.acknowledged.contains(number)).collect()
    }

    /// The messages that the bridge has acknowledged.
    pub(crate) fn acknowledged_by_us(&self) -> BTreeSet<u32> {
        let heard = lock(&self.heard);
        heard.taken.difference(&heard.confused).copied().collect()
    }

    /// The messages of QoS 2 that the bridge has sent again after their PUBREL.
    pub(crate) fn sent_again_after_release(&self) -> Vec<u32> {
        lock(&self.heard).sent_again.clone()
    }

    /// How often the other broker has sent each message, without repeats that can be told by their Packet Identifier.
    pub(crate) fn sent_by_mosquitto(&self) -> BTreeMap<u32, usize> {
        lock(&self.heard).sent.clone()
    }
}

impl Heard {
    fn hear(&mut self, side: Speaker, packet: &Packet, version: Version) {
        match (side, packet.kind()) {
            (Speaker::Other, CONNACK) if packet.body.first() == Some(&0) => self.theirs.clear(),
            (_, PUBLISH) => {
                let publish = Publish::parse(version, packet).unwrap();
                let number = std::str::from_utf8(&publish.payload).ok().and_then(|text| text.parse().ok());
                // The state of the bridge has QoS 0.
                let Some(number) = number.filter(|_| publish.qos > 0) else { return };
                self.hear_publish(side, &publish, number);
            }
            (Speaker::Bridge, PUBREL_KIND) => self.released.extend(self.ours.get(&packet.packet_id())),
            (Speaker::Other, PUBACK) if packet.reason_code() >= 0x80 => {}
            (Speaker::Other, PUBACK | PUBCOMP) => self.acknowledged.extend(self.ours.get(&packet.packet_id())),
            (Speaker::Other, PUBREL_KIND) => _ = self.theirs.remove(&packet.packet_id()),
            (Speaker::Bridge, PUBACK) if packet.reason_code() < 0x80 => {
                self.taken.extend(self.theirs.remove(&packet.packet_id()))
            }
            (Speaker::Bridge, PUBREC) if packet.reason_code() < 0x80 => {
                self.taken.extend(self.theirs.get(&packet.packet_id()))
            }
            _ => {}
        }
    }

    fn hear_publish(&mut self, side: Speaker, publish: &Publish, number: u32) {
        if side == Speaker::Bridge {
            if publish.qos == 2 && self.released.contains(&number) {
                self.sent_again.push(number);
            }
            self.ours.insert(publish.packet_id, number);
            return;
        }
        match self.theirs.insert(publish.packet_id, number) {
            Some(before) if before == number => {}
            Some(_) => {
                self.confused.insert(number);
                *self.sent.entry(number).or_default() += 1;
            }
            None => *self.sent.entry(number).or_default() += 1,
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap()
}

/// Passes bytes on until either side ends, and tells each whole packet before.
fn pass(mut from: TcpStream, mut to: TcpStream, mut tell: impl FnMut(&Packet)) {
    let (mut bytes, mut waiting) = ([0; 4_096], Vec::new());
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        waiting.extend(&bytes[..count]);
        while let Some(packet) = Packet::take(&mut waiting) {
            tell(&packet);
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        drop(stream.shutdown(Shutdown::Both));
    }
}
