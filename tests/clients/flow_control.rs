//! Flow control: clients that don't read, a slow disk, and publishers that disconnect while they are paused.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::broker::{Broker, Setup};
use crate::deadline::{now, wait_for};
use crate::peer;
use crate::raw::{
    Connect, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH, Publish, Received, Version, Wire, packet, string,
};

/// Resident memory of the broker in bytes, without the pages of its program, which are read when they are used first.
fn memory(broker: &Broker) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// The number of open sockets and files of the broker.
fn descriptors(broker: &Broker) -> usize {
    fs::read_dir(format!("/proc/{}/fd", broker.id())).unwrap().count()
}

/// Sends a packet repeatedly, up to `bytes` bytes, while the broker reads. Returns the number of bytes sent.
fn flood(stream: &mut TcpStream, packet: &[u8], bytes: usize) -> usize {
    let chunk = packet.repeat(65_536 / packet.len());
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while sent < bytes {
        match stream.write(&chunk[sent % chunk.len()..]) {
            Ok(written) => sent += written,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

#[test]
fn a_client_that_does_not_read_uses_at_most_its_outgoing_bytes() {
    if peer::is_chosen() {
        return;
    }
    let mut subscribe = vec![0, 1, 0];
    subscribe.extend(string("some/filter"));
    subscribe.push(0);
    let packets =
        [packet(PINGREQ, &[]), packet(0x82, &subscribe), Version::V5.publish(PUBLISH | 0x02, "no/receivers", 1, b"x")];
    for flooding in packets {
        let broker = Setup::default().start();
        let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V5, "flood"));
        let before = memory(&broker);
        let sent = flood(wire.stream(), &flooding, 48 << 20);
        let grown = memory(&broker).saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes after {sent} of {:#04x}", flooding[0]);
        Wire::connected(broker.address(), &Connect::new(Version::V5, "other")).ping();

        // When the client reads, the broker continues to read too.
        let stream = wire.stream();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (mut all, mut buffer) = (0, vec![0; 1 << 20]);
        let expected = sent / flooding.len();
        while let Ok(read) = stream.read(&mut buffer)
            && read > 0
        {
            all += read;
        }
        assert!(all >= 2 * expected, "{all} bytes for {expected} packets");
    }
}

/// Delays each `fdatasync` of the broker, until it is dropped.
struct SlowDisk(Child);

impl SlowDisk {
    fn new(broker: &Broker, delay: Duration) -> Self {
        let inject = format!("inject=fdatasync:delay_enter={}", delay.as_micros());
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fdatasync", "-e", &inject, "-p", &broker.id().to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let traced = || {
            let status = fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap();
            (!status.contains("TracerPid:\t0\n")).then_some(())
        };
        wait_for("strace", traced);
        thread::sleep(Duration::from_millis(500)); // strace attaches to all threads
        Self(child)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_client_gets_responses_although_others_wait_for_a_slow_disk() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().set("server.shards", "2").set("limits.queued_bytes_max", "1000000000");
    let broker = setup.set("server.durability", "\"power-loss\"").start();
    let mut away = Wire::connected(broker.address(), &Connect::durable(Version::V5, "away"));
    away.subscribe(Version::V5, "t", 1);
    away.cut();
    // One client on each shard.
    let mut publisher = Wire::connected(broker.address(), &Connect::new(Version::V311, "publisher"));
    let clients = ["a", "b", "c", "d"]
        .map(|name| Wire::connected(broker.address(), &Connect { keep_alive: 4, ..Connect::new(Version::V5, name) }));
    let slow_disk = SlowDisk::new(&broker, Duration::from_secs(3));
    let writer = thread::spawn(move || {
        let mut stream = publisher.stream().try_clone().unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let payload = vec![b'x'; 128 << 10];
        for number in 1..=600 {
            if stream.write_all(&Version::V311.publish(PUBLISH | 0x02, "t", number, &payload)).is_err() {
                break;
            }
        }
        publisher
    });
    let pings = clients.map(|mut wire| {
        thread::spawn(move || {
            let end = now() + Duration::from_secs(14);
            while now() < end {
                wire.send(&packet(PINGREQ, &[]));
                match wire.receive(Duration::from_secs(2)) {
                    Received::Packet(packet) if packet.kind() == PINGRESP => {}
                    other @ (Received::Packet(_) | Received::Nothing | Received::Closed) => {
                        return Err(format!("{other:x?}"));
                    }
                }
                thread::sleep(Duration::from_millis(300));
            }
            Ok(())
        })
    });
    for ping in pings {
        ping.join().unwrap().unwrap();
    }
    drop(slow_disk);
    let mut publisher = writer.join().unwrap();
    for number in 1..=600 {
        assert_eq!(publisher.expect(PUBACK).packet_id(), number);
    }
}

#[test]
fn paused_publishers_that_close_are_noticed_soon() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().set("limits.queue_overflow", "\"reject\"").set("limits.queued_messages_max", "3");
    let broker = setup.start();
    let mut away = Wire::connected(broker.address(), &Connect::durable(Version::V5, "away"));
    away.subscribe(Version::V5, "t", 1);
    away.cut();
    let mut filler = Wire::connected(broker.address(), &Connect::new(Version::V5, "filler"));
    for _ in 0..3 {
        assert_eq!(filler.publish(Version::V5, "t", "full"), 0);
    }
    let before = descriptors(&broker);
    let waiting: Vec<Wire> = (0..300)
        .map(|number| {
            let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V311, &format!("p{number}")));
            wire.send(&Version::V311.publish(PUBLISH | 0x02, "t", 1, b"x"));
            wire
        })
        .collect();
    filler.ping();
    assert!(descriptors(&broker) >= before + 300);
    drop(waiting);
    let closed_at = now();
    wait_for("the end of closed connections", || (descriptors(&broker) <= before).then_some(()));
    let taken = now() - closed_at;
    assert!(taken < Duration::from_secs(4), "{taken:?}");
}

#[test]
fn a_disconnect_behind_a_message_that_waits_for_room_removes_the_will() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().set("limits.queue_overflow", "\"reject\"").set("limits.queued_messages_max", "1");
    let broker = setup.start();
    let mut away = Wire::connected(broker.address(), &Connect::durable(Version::V5, "away"));
    away.subscribe(Version::V5, "t", 1);
    away.cut();
    let mut watcher = Wire::connected(broker.address(), &Connect::new(Version::V5, "watcher"));
    watcher.subscribe(Version::V5, "will/#", 0);
    assert_eq!(watcher.publish(Version::V5, "t", "full"), 0);
    // Two disconnect, one of them after another message; the third does not. More than a socket buffers would hide the end of the stream.
    let large = Version::V311.publish(PUBLISH, "t", 0, &[b'x'; 40_000]);
    for (name, rest) in
        [("near", packet(DISCONNECT, &[])), ("far", [large.clone(), packet(DISCONNECT, &[])].concat()), ("gone", large)]
    {
        let mut connect = Connect::new(Version::V311, name);
        connect.will = Some(Publish::new(&format!("will/{name}"), name));
        let mut wire = Wire::connected(broker.address(), &connect);
        wire.send(&[Version::V311.publish(PUBLISH | 0x02, "t", 1, b"x"), rest].concat());
        thread::sleep(Duration::from_millis(100));
        drop(wire);
    }
    assert_eq!(watcher.expect_publish(Version::V5).topic, "will/gone");
    thread::sleep(Duration::from_millis(1_500));
    watcher.ping();
    wait_for("the ends", || (broker.log().matches("closed by the client while paused").count() == 1).then_some(()));
}

/// Reads on a new thread, at most `per_second` bytes per second, until `stop` is set. The thread returns the number of bytes read.
fn read_slowly(mut wire: Wire, per_second: usize, stop: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let (mut all, mut buffer) = (0, vec![0; 64 << 10]);
        let begin = now();
        wire.stream().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        while !stop.load(Ordering::Relaxed) {
            let elapsed = usize::try_from((now() - begin).as_millis()).unwrap();
            let allowed = elapsed.saturating_mul(per_second / 1_000);
            if all > allowed {
                thread::sleep(Duration::from_millis(5));
            } else if let Ok(read) = wire.stream().read(&mut buffer) {
                all += read;
            }
        }
        all
    })
}

#[test]
fn slow_receivers_delay_others_only_briefly() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let subscribed = |name: &str| {
        let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V311, name));
        wire.subscribe(Version::V311, "t", 0);
        wire
    };
    let stop = Arc::new(AtomicBool::new(false));
    let fast = read_slowly(subscribed("fast"), usize::MAX / 1_000_000_000, Arc::clone(&stop));
    let slow = ["a", "b", "c", "d", "e"].map(|name| read_slowly(subscribed(name), 4_000_000, Arc::clone(&stop)));
    let mut publisher = Wire::connected(broker.address(), &Connect::new(Version::V311, "publisher"));
    let publish = Version::V311.publish(PUBLISH, "t", 0, &vec![b'x'; 64 << 10]);
    let begin = now();
    for _ in 0..1_500 {
        // Slow enough that the fast receiver can read everything in any build.
        publisher.send(&publish);
        thread::sleep(Duration::from_millis(2));
    }
    publisher.ping();
    let taken = now() - begin;
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    // At the speed of a slow receiver, publishing would take 24 seconds.
    assert!(taken < Duration::from_secs(8), "{taken:?}");
    let (got, sent) = (fast.join().unwrap(), 1_500 * publish.len());
    assert!(got >= sent * 4 / 5, "the fast receiver got {got} of {sent} bytes");
    for slow in slow {
        assert!(slow.join().unwrap() > 1_000_000, "a slow receiver got too few bytes");
    }
}
