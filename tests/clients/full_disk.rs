//! A full disk: a small file system that only this test uses.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use wire::free_port;

use crate::deadline::{SILENCE, wait_for};
use crate::peer;
use crate::raw::{
    Connect, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Received, Version, Wire, acknowledge,
};

/// A file system in memory, in a mount namespace that ends with its process; or mounted globally if that isn't
/// permitted.
pub(crate) struct SmallDisk {
    directory: TempDir,
    holder: Option<Child>,
    is_root: bool,
}

impl SmallDisk {
    #[track_caller]
    pub(crate) fn new(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(DATA)).unwrap();
        let is_root = output("id", &["-u"]).trim() == "0";
        let mut disk = Self { directory, holder: None, is_root };
        disk.holder = disk.hold(size);
        if disk.holder.is_none() {
            let size = format!("size={size},mode=777");
            let mount = ["-n", "mount", "-t", "tmpfs", "-o", &size, "tmpfs", &disk.data().display().to_string()];
            let is_mounted = Command::new("sudo").args(mount).status().is_ok_and(|status| status.success());
            assert!(is_mounted, "a small file system needs root, user namespaces, or sudo without a password");
        }
        disk
    }

    /// The process that keeps the mount namespace alive.
    fn hold(&self, size: &str) -> Option<Child> {
        let mut command = Command::new("unshare");
        command.arg("--mount").args(if self.is_root { &[][..] } else { &["--user", "--map-root-user"] });
        let script = format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && echo mounted && exec cat");
        command.args(["sh", "-c", &script]).arg(self.data());
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line == "mounted\n" {
            return Some(holder);
        }
        holder.wait().unwrap();
        None
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join(DATA)
    }

    /// A command that sees the file system.
    fn command(&self, program: &str) -> Command {
        let Some(holder) = &self.holder else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &holder.id().to_string()]);
        command.args(if self.is_root { &[][..] } else { &["--user", "--preserve-credentials"] });
        command.arg(program);
        command
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        match &mut self.holder {
            Some(holder) => {
                drop(holder.kill());
                drop(holder.wait());
            }
            None => drop(Command::new("sudo").args(["-n", "umount", "--lazy"]).arg(self.data()).status()),
        }
    }
}

/// A broker on the small disk. Dropping it kills the process with SIGKILL.
pub(crate) struct Broker {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Broker {
    #[track_caller]
    fn start(disk: &SmallDisk) -> Self {
        Self::start_with_admin(disk, "off")
    }

    #[track_caller]
    pub(crate) fn start_with_admin(disk: &SmallDisk, admin: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let directory = disk.directory.path();
        let log = directory.join("log");
        let (output, config) = (fs::File::create(&log).unwrap(), directory.join("oncemq.toml"));
        fs::write(&config, format!("[limits]\nqueued_bytes_max = {}\n", 1u64 << 30)).unwrap();
        let mut command = disk.command(env!("CARGO_BIN_EXE_oncemq"));
        command.args(["--listen", &address.to_string(), "--admin", admin, "--allow-anonymous"]);
        command.arg("--config").arg(config).arg("--data").arg(disk.data());
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let broker = Self { child: command.spawn().unwrap(), address, log };
        broker.wait_for_line(" is open");
        broker
    }

    #[track_caller]
    fn wait_for_line(&self, line: &str) {
        wait_for(line, || fs::read_to_string(&self.log).unwrap().contains(line).then_some(()));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            println!("the broker's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    String::from_utf8(Command::new(program).args(arguments).output().unwrap().stdout).unwrap()
}

/// The number of a message, followed by padding.
fn payload(number: usize) -> Vec<u8> {
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'x');
    payload
}

fn number(payload: &[u8]) -> usize {
    let text = std::str::from_utf8(payload).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Publishes at QoS 1 to the offline Session until a message is refused. Returns the numbers of acknowledged messages.
pub(crate) fn fill(wire: &mut Wire) -> Vec<usize> {
    let mut acknowledged = Vec::new();
    for first in (0..).step_by(WINDOW) {
        let window = first..first + WINDOW;
        for (number, id) in window.clone().zip(1..) {
            wire.send(&Version::V5.publish(PUBLISH | 0x02, "t", id, &payload(number)));
        }
        let codes: Vec<u8> = window.clone().map(|_| wire.expect(PUBACK).reason_code()).collect();
        acknowledged.extend(window.zip(&codes).filter(|(_, code)| **code == 0).map(|(number, _)| number));
        if codes.contains(&QUOTA_EXCEEDED) {
            assert!(codes.iter().all(|code| [0, QUOTA_EXCEEDED].contains(code)), "{codes:x?}");
            return acknowledged;
        }
        assert!(first < 10_000, "the disk is never full");
    }
    unreachable!("the range is infinite")
}

/// Receives and acknowledges the next message of the Session.
#[track_caller]
fn take(wire: &mut Wire) -> usize {
    let publish = wire.expect_publish(Version::V5);
    wire.send(&acknowledge(PUBACK, publish.packet_id));
    number(&publish.payload)
}

/// Checks that operations that need no disk space still work.
#[track_caller]
fn check_what_goes_on(address: SocketAddr) {
    let mut receiver = Wire::connected(address, &Connect::new(Version::V5, "receiver"));
    receiver.subscribe(Version::V5, "u", 2);
    let mut sender = Wire::connected(address, &Connect::new(Version::V5, "sender"));
    sender.send(&Version::V5.publish(PUBLISH, "u", 0, b"at QoS 0"));
    assert_eq!(receiver.expect_publish(Version::V5).payload, b"at QoS 0");
    assert_eq!(sender.publish(Version::V5, "u", "at QoS 1"), 0);
    assert_eq!(receiver.expect_publish(Version::V5).payload, b"at QoS 1");
    sender.send(&Version::V5.publish(PUBLISH | 0x04, "u", 2, b"at QoS 2"));
    assert_eq!(sender.expect(PUBREC).reason_code(), 0);
    assert_eq!(receiver.expect_publish(Version::V5).payload, b"at QoS 2");
}

#[test]
fn on_a_full_disk_messages_are_refused_none_is_lost_and_queues_drain() {
    if !peer::is_chosen() {
        fill_and_drain("136m", 100 << 20);
    }
}

#[test]
fn a_small_disk_has_room_for_durable_messages() {
    if !peer::is_chosen() {
        fill_and_drain("24m", 14 << 20);
    }
}

/// Fills a disk of this size, which takes at least `bytes` of messages, and drains it.
fn fill_and_drain(size: &str, bytes: usize) {
    let disk = SmallDisk::new(size);
    let broker = Broker::start(&disk);
    let away = Connect::durable(Version::V5, "away");
    let mut wire = Wire::connected(broker.address, &away);
    wire.subscribe(Version::V5, "t", 2);
    wire.cut();

    let mut publisher = Wire::connected(broker.address, &Connect::durable(Version::V5, "publisher"));
    let mut acknowledged = fill(&mut publisher);
    assert!(acknowledged.len() * PAYLOAD_BYTES > bytes, "{} were taken", acknowledged.len());
    broker.wait_for_line("the disk is full");
    publisher.send(&Version::V5.publish(PUBLISH | 0x04, "t", 2, b"refused"));
    assert_eq!(publisher.expect(PUBREC).reason_code(), QUOTA_EXCEEDED);
    check_what_goes_on(broker.address);

    // The state survives a restart, and the disk is still full.
    drop(broker);
    let broker = Broker::start(&disk);
    broker.wait_for_line("the disk is full");
    let mut publisher = Wire::connected(broker.address, &Connect::durable(Version::V5, "publisher"));
    assert_eq!(publisher.publish(Version::V5, "t", "refused"), QUOTA_EXCEEDED);
    // 3.1.1 has no negative acknowledgement: the broker delays it.
    let mut held = Wire::connected(broker.address, &Connect::durable(Version::V311, "held"));
    let last = usize::MAX;
    held.send(&Version::V311.publish(PUBLISH | 0x04, "t", 7, &payload(last)));
    assert_eq!(held.receive(SILENCE), Received::Nothing);
    check_what_goes_on(broker.address);

    // When the queue is drained, there is space again for the paused publisher and for new ones.
    acknowledged.push(last);
    let mut wire = Wire::connected(broker.address, &away);
    let mut got: Vec<usize> = (1..acknowledged.len()).map(|_| take(&mut wire)).collect();
    assert_eq!(held.expect(PUBREC).packet_id(), 7);
    held.send(&acknowledge(PUBREL, 7));
    held.expect(PUBCOMP);
    broker.wait_for_line("the disk has free space again");
    let publish = wire.expect_publish(Version::V5);
    assert_eq!(publish.qos, 2);
    got.push(number(&publish.payload));
    wire.send(&acknowledge(PUBREC, publish.packet_id));
    let pubrel = wire.expect(PUBREL_KIND);
    wire.send(&acknowledge(PUBCOMP, pubrel.packet_id()));
    assert_eq!(got, acknowledged);
    wire.cut();
    assert_eq!(publisher.publish(Version::V5, "t", "1 is new"), 0);

    // The next start finds only the remaining messages.
    drop(broker);
    let broker = Broker::start(&disk);
    let mut wire = Wire::connected(broker.address, &away);
    assert_eq!(take(&mut wire), 1);
    assert_eq!(wire.receive(SILENCE), Received::Nothing);
}

const DATA: &str = "data";
const PAYLOAD_BYTES: usize = 128 << 10;
/// Messages in flight.
const WINDOW: usize = 32;
const QUOTA_EXCEEDED: u8 = 0x97;
