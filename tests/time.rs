//! The real binary with wrong clocks: `tests/c/clock.c` shows it another wall clock, another boot of the machine, and whether the clock is
//! synchronized; a time namespace shows it a machine that was suspended.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use wire::{Connect, PINGREQ, PINGRESP, PUBACK, PUBLISH, Packet, Publish, Received, SUBACK, Version, Wire};

/// A machine with a data directory, whose clocks the test owns. Its broker is killed with SIGKILL.
struct Machine {
    directory: TempDir,
    control: File,
    boots: u8,
    starts: usize,
    settings: Vec<&'static str>,
    /// How long it was suspended since its boot.
    suspended: Duration,
    address: SocketAddr,
    broker: Option<Child>,
}

impl Machine {
    /// A machine whose wall clock shows `wall`.
    fn new(wall: Wall, synchronized: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = File::create(directory.path().join("control")).unwrap();
        let (settings, suspended) = (Vec::new(), Duration::ZERO);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut machine = Self { directory, control, boots: 0, starts: 0, settings, suspended, address, broker: None };
        machine.set_wall(wall, synchronized);
        machine.boot();
        machine
    }

    fn set_wall(&self, wall: Wall, synchronized: bool) {
        let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let offset = match wall {
            Wall::Ahead(by) => i64::try_from(by.as_millis()).unwrap(),
            Wall::Behind(by) => -i64::try_from(by.as_millis()).unwrap(),
            Wall::Epoch => 5_000 - now,
        };
        self.control.write_all_at(&[offset.to_ne_bytes(), i64::from(synchronized).to_ne_bytes()].concat(), 0).unwrap();
    }

    /// The next boot: its boot identifier changes.
    fn boot(&mut self) {
        self.boots += 1;
        let id = format!("00000000-0000-0000-0000-0000000000{:02}\n", self.boots);
        fs::write(self.directory.path().join("boot_id"), id).unwrap();
    }

    fn start(&mut self) {
        assert!(self.broker.is_none());
        self.address = wire::free_address();
        let path = |name: &str| self.directory.path().join(name);
        let mut command = if self.suspended.is_zero() {
            Command::new(env!("CARGO_BIN_EXE_oncemq"))
        } else {
            let mut command = Command::new("/usr/bin/unshare");
            let boottime = self.suspended.as_secs().to_string();
            command.args(["--user", "--map-root-user", "--time", "--boottime", &boottime]);
            command.arg(env!("CARGO_BIN_EXE_oncemq"));
            command
        };
        let log = File::options().create(true).append(true).open(path("log")).unwrap();
        command.env_clear().env("LD_PRELOAD", library()).env("CLOCK_CONTROL", path("control"));
        command.env("CLOCK_BOOT_ID", path("boot_id")).env("ONCEMQ_ADMIN_ENABLED", "false");
        command.args(["--listen", &self.address.to_string(), "--log-format", "json", "--data"]).arg(path("data"));
        command.args(&self.settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.broker = Some(command.spawn().unwrap());
        self.starts += 1;
        // Before that, a connection is accepted already, and SIGTERM has its default action.
        wait_for(|| self.log().matches(OPEN).count() == self.starts);
    }

    fn signal(&self, name: &str) {
        let id = self.broker.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    fn kill(&mut self) {
        let mut broker = self.broker.take().unwrap();
        broker.kill().unwrap();
        broker.wait().unwrap();
    }

    fn stop(&mut self) {
        self.signal("TERM");
        assert!(self.broker.take().unwrap().wait().unwrap().success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// The rule by which the last start continued the time.
    fn rule(&self) -> String {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains(RESUMED)).unwrap();
        line.split_once(r#""rule":""#).unwrap().1.split_once('"').unwrap().0.to_owned()
    }

    /// Connects with this Session Expiry Interval in seconds. Returns Session Present, too.
    fn connect(&self, client_id: &str, expiry: u32) -> (Wire, bool) {
        let mut wire = Wire::open(self.address, PATIENCE).unwrap();
        let properties = [&[0x11][..], &expiry.to_be_bytes()].concat();
        let connect = Connect { clean_start: false, properties, keep_alive: 2, ..Connect::new(Version::V5, client_id) };
        wire.send(&connect.bytes());
        let connack = packet(&mut wire);
        assert_eq!(connack.reason_code(), 0);
        (wire, connack.body[0] & 1 == 1)
    }

    /// Creates a Session with one queued QoS 1 message, whose client is away.
    fn queue(&self, client_id: &str, session_expiry: u32, message_expiry: Option<u32>) {
        let (mut wire, _) = self.connect(client_id, session_expiry);
        wire.send(&Version::V5.subscribe(1, client_id, 1));
        assert_eq!(packet(&mut wire).kind(), SUBACK);
        wire.cut();
        let (mut publisher, _) = self.connect("publisher", 0);
        let properties = message_expiry.map_or(vec![0], |expiry| [&[5, 2][..], &expiry.to_be_bytes()].concat());
        let body = [wire::string(client_id), vec![0, 7], properties, b"message".to_vec()].concat();
        publisher.send(&wire::packet(PUBLISH | 0x02, &body));
        let puback = packet(&mut publisher);
        assert_eq!((puback.kind(), puback.reason_code()), (PUBACK, 0));
        // The end of the first connection is in the store.
        thread::sleep(Duration::from_millis(200));
    }

    /// Whether the Session is there, and its message. The message is acknowledged, and the client away again.
    fn find(&self, client_id: &str, session_expiry: u32) -> (bool, bool) {
        let (mut wire, present) = self.connect(client_id, session_expiry);
        let message = match wire.receive(Duration::from_millis(if present { 1_000 } else { 100 })) {
            Received::Packet(packet) => Publish::parse(Version::V5, &packet),
            Received::Nothing | Received::Closed => None,
        };
        wire.cut();
        (present, message.is_some_and(|message| message.payload == b"message"))
    }

    fn has(&self, client_id: &str) -> bool {
        self.find(client_id, HOUR).0
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(broker) = &mut self.broker {
            drop(broker.kill());
            drop(broker.wait());
        }
        if thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// What a wall clock shows.
#[derive(Debug, Clone, Copy)]
enum Wall {
    /// Later than the right time.
    Ahead(Duration),
    Behind(Duration),
    /// Some seconds of 1970.
    Epoch,
}

impl Wall {
    const RIGHT: Self = Self::Ahead(Duration::ZERO);

    /// The time after the machine was off for some minutes.
    const fn after_minutes(minutes: u64) -> Self {
        Self::Ahead(Duration::from_secs(60 * minutes))
    }
}

/// Builds the library that shows other clocks.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/clock.c");
        let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&path).arg(source).status();
        assert!(status.unwrap().success(), "cc: `bash tests/run` installs it");
        path
    })
}

#[track_caller]
fn packet(wire: &mut Wire) -> Packet {
    match wire.receive(PATIENCE) {
        Received::Packet(packet) => packet,
        other @ (Received::Nothing | Received::Closed) => panic!("{other:?}"),
    }
}

#[track_caller]
fn wait_for(mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const RESUMED: &str = r#""event":"time_resumed""#;
const OPEN: &str = r#""event":"listener_open""#;
/// In seconds.
const HOUR: u32 = 3_600;

#[test]
fn a_wall_clock_that_is_corrected_between_two_starts_of_one_boot_ends_nothing() {
    for (first, second) in [(Wall::Epoch, Wall::RIGHT), (Wall::RIGHT, Wall::Epoch)] {
        let mut machine = Machine::new(first, false);
        machine.start();
        assert_eq!(machine.rule(), "first-start");
        machine.queue("device", HOUR, Some(HOUR));
        machine.kill();
        machine.set_wall(second, true);
        machine.start();
        assert_eq!(machine.rule(), "same-boot");
        assert_eq!(machine.find("device", HOUR), (true, true), "{first:?} {second:?}");
    }
}

#[test]
fn within_one_boot_the_time_counts_whatever_the_wall_clock_shows() {
    let mut machine = Machine::new(Wall::RIGHT, true);
    machine.start();
    machine.queue("short", 2, None);
    machine.queue("long", HOUR, Some(2));
    machine.kill();
    thread::sleep(Duration::from_secs(2));
    machine.set_wall(Wall::Epoch, false);
    machine.start();
    assert_eq!(machine.rule(), "same-boot");
    assert!(!machine.has("short"), "it lives for ever");
    assert_eq!(machine.find("long", HOUR), (true, false), "the message lives for ever");
}

#[test]
fn after_another_boot_with_an_unsynchronized_clock_no_time_counts() {
    for (synchronized_then, synchronized_now) in [(false, true), (true, false), (false, false)] {
        let mut machine = Machine::new(Wall::Epoch, synchronized_then);
        machine.start();
        machine.queue("device", HOUR, Some(HOUR));
        machine.kill();
        machine.boot();
        machine.set_wall(Wall::RIGHT, synchronized_now);
        machine.start();
        assert_eq!(machine.rule(), "unknown");
        assert_eq!(machine.find("device", HOUR), (true, true));
    }
}

#[test]
fn after_another_boot_the_time_counts_if_the_clock_was_synchronized_at_both_ends() {
    let mut machine = Machine::new(Wall::RIGHT, true);
    machine.start();
    machine.queue("device", HOUR, None);
    machine.queue("message", 3 * HOUR, Some(HOUR));
    machine.kill();
    machine.boot();
    machine.set_wall(Wall::after_minutes(40), true);
    machine.start();
    assert_eq!(machine.rule(), "synchronized-clocks");
    machine.stop();
    // Both intervals count together: 80 minutes.
    machine.boot();
    machine.set_wall(Wall::after_minutes(80), true);
    machine.start();
    assert!(!machine.has("device"));
    assert_eq!(machine.find("message", 3 * HOUR), (true, false));
    machine.queue("later", HOUR, None);
    machine.stop();
    machine.boot();
    machine.set_wall(Wall::after_minutes(120), true);
    machine.start();
    assert_eq!(machine.find("later", HOUR), (true, true));
}

#[test]
fn synchronization_after_the_start_counts_for_the_next_one() {
    let mut machine = Machine::new(Wall::Epoch, false);
    machine.start();
    machine.queue("device", HOUR, None);
    machine.set_wall(Wall::RIGHT, true);
    // The anchor is stored within a second, and 50 ms later written.
    thread::sleep(Duration::from_millis(2_500));
    machine.kill();
    machine.boot();
    machine.set_wall(Wall::after_minutes(30), true);
    machine.start();
    assert_eq!(machine.rule(), "synchronized-clocks");
    assert_eq!(machine.find("device", HOUR), (true, true));
}

#[test]
fn steps_of_the_wall_clock_while_the_broker_runs_change_nothing() {
    let mut machine = Machine::new(Wall::RIGHT, true);
    machine.start();
    machine.queue("long", HOUR, Some(HOUR));
    machine.queue("short", 3, None);
    machine.set_wall(Wall::Ahead(Duration::from_secs(100_000)), true);
    thread::sleep(Duration::from_millis(1_200));
    assert_eq!(machine.find("long", HOUR), (true, true), "ended early");
    machine.set_wall(Wall::Behind(Duration::from_secs(100_000)), true);
    thread::sleep(Duration::from_secs(4));
    assert!(!machine.has("short"), "it lives for ever");
}

#[test]
fn the_time_of_a_suspended_machine_counts() {
    let mut machine = Machine::new(Wall::RIGHT, false);
    machine.start();
    machine.queue("device", HOUR, None);
    machine.queue("other", 3 * HOUR, None);
    machine.kill();
    machine.suspended = Duration::from_secs(2 * u64::from(HOUR));
    machine.start();
    assert_eq!(machine.rule(), "same-boot");
    assert!(!machine.has("device"));
    assert_eq!(machine.find("other", 3 * HOUR), (true, true));
}

#[test]
fn message_expiry_after_an_unknown_time_is_a_setting() {
    for (setting, lives) in [("keep", true), ("expire", false)] {
        let mut machine = Machine::new(Wall::RIGHT, false);
        let arguments: &[&str] = match setting {
            "keep" => &["--set", "mqtt.message_expiry_after_unknown_time=keep"],
            _ => &["--set", "mqtt.message_expiry_after_unknown_time=expire"],
        };
        machine.settings = arguments.to_vec();
        machine.start();
        machine.queue("expiring", HOUR, Some(HOUR));
        machine.queue("lasting", HOUR, None);
        machine.kill();
        machine.boot();
        machine.start();
        assert_eq!(machine.rule(), "unknown");
        thread::sleep(Duration::from_millis(500));
        machine.kill();
        // Another start of the same boot knows the time, and must not bring the message back.
        machine.start();
        assert_eq!(machine.rule(), "same-boot");
        assert_eq!(machine.find("expiring", HOUR), (true, lives), "{setting}");
        assert_eq!(machine.find("lasting", HOUR), (true, true), "{setting}");
    }
}

#[test]
fn a_device_that_boots_again_and_again_without_a_clock_keeps_nothing_for_ever() {
    let mut machine = Machine::new(Wall::Epoch, false);
    machine.start();
    machine.queue("device", 8, None);
    let mut boots = 0;
    loop {
        thread::sleep(Duration::from_millis(2_600));
        machine.kill();
        machine.boot();
        machine.set_wall(Wall::Epoch, false);
        machine.start();
        boots += 1;
        if machine.log().contains("expired") || boots == 12 {
            break;
        }
        // It must not be touched, so whether it is there is seen in the log at the end.
        let log = machine.log();
        let last = log.lines().rfind(|line| line.contains("store_recovered")).unwrap();
        if last.contains(r#""sessions":0"#) {
            break;
        }
    }
    assert!(boots < 12, "the session lives for ever");
    assert!(boots >= 3, "the session ended early");
}

#[test]
fn clients_that_a_stopped_process_could_not_read_keep_their_connections() {
    let mut machine = Machine::new(Wall::RIGHT, true);
    machine.start();
    let (mut client, _) = machine.connect("client", HOUR);
    machine.signal("STOP");
    // Longer than its Keep Alive, and than the time after which a shard is known to have been stopped.
    thread::sleep(Duration::from_millis(6_500));
    machine.signal("CONT");
    thread::sleep(Duration::from_millis(1_200));
    client.send(&wire::packet(PINGREQ, &[]));
    assert_eq!(packet(&mut client).kind(), PINGRESP);
    // And it still has a Keep Alive.
    thread::sleep(Duration::from_millis(3_500));
    let last = client.receive(PATIENCE);
    assert!(matches!(&last, Received::Packet(packet) if packet.reason_code() == 0x8D), "{last:?}");
}
