//! The store of the real binary: `oncemq store`, backups, damage, and two brokers on one store. It uses mosquitto's
//! clients.

#![cfg(test)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wire::free_address;

/// A broker on a data directory. Dropping it kills the process with SIGKILL.
struct Broker {
    child: Child,
    mqtt: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
}

impl Broker {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let broker = Self::spawn(data, data.with_extension("txt"), arguments);
        wait_for("the broker", || broker.is_ready().then_some(()));
        broker
    }

    fn spawn(data: &Path, log: PathBuf, arguments: &[&str]) -> Self {
        let (mqtt, admin, output) = (free_address(), free_address(), File::create(&log).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.env_clear().args(["--listen", &mqtt.to_string(), "--admin", &admin.to_string()]);
        command.arg("--data").arg(data).args(arguments).stdin(Stdio::null());
        let child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        Self { child, mqtt, admin, log }
    }

    /// Waits for its exit, and returns the exit code.
    fn exit_code(&mut self) -> Option<i32> {
        wait_for("the broker's end", || self.child.try_wait().unwrap()).code()
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.admin) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
    }

    /// Runs one of mosquitto's clients, which must succeed, and returns its output.
    #[track_caller]
    fn client(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("timeout");
        command.args([PATIENCE_SECONDS, program, "-V", "mqttv5", "-h", &self.mqtt.ip().to_string()]);
        command.args(["-p", &self.mqtt.port().to_string()]).args(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {HOW_TO_INSTALL}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Queues these messages for an offline durable Session, each acknowledged before the next is sent.
    #[track_caller]
    fn queue(&self, client_id: &str, payloads: &[&str]) {
        self.client("mosquitto_sub", &["-i", client_id, "-c", "-x", "3600", "-q", "1", "-t", client_id, "-E"]);
        self.publish(client_id, payloads);
    }

    #[track_caller]
    fn publish(&self, topic: &str, payloads: &[&str]) {
        for payload in payloads {
            self.client("mosquitto_pub", &["-q", "1", "-t", topic, "-m", payload]);
        }
    }

    /// The queued messages of a Session, received after its client reconnects.
    #[track_caller]
    fn receive(&self, client_id: &str, count: usize) -> Vec<String> {
        let count = count.to_string();
        let arguments = ["-i", client_id, "-c", "-x", "3600", "-q", "1", "-t", client_id, "-C", &count];
        self.client("mosquitto_sub", &arguments).lines().map(str::to_owned).collect()
    }

    /// Publishes these lines in order with one client.
    #[track_caller]
    fn publish_lines(&self, topic: &str, lines: &[String]) {
        let mut command = Command::new("timeout");
        command.args([PATIENCE_SECONDS, "mosquitto_pub", "-V", "mqttv5", "-h", &self.mqtt.ip().to_string()]);
        command.args(["-p", &self.mqtt.port().to_string(), "-q", "1", "-t", topic, "-l"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.concat().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "mosquitto_pub: {HOW_TO_INSTALL}");
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!("the broker's log:\n{}", self.log());
        }
    }
}

/// Runs `oncemq store` with the data directory.
fn store(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.env_clear().arg("store").args(arguments).arg("--data").arg(data);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Its output; it must succeed.
#[track_caller]
fn output_of(data: &Path, arguments: &[&str]) -> String {
    let output = store(data, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Its exit code and what it complains about.
fn error_of(data: &Path, arguments: &[&str]) -> (i32, String) {
    let output = store(data, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn directories() -> (TempDir, PathBuf, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let [data, backup, elsewhere] = ["data", "backup", "elsewhere"].map(|name| directory.path().join(name));
    (directory, data, backup, elsewhere)
}

/// Repeats `ask` until it returns a value, or fails after a time limit.
#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "timeout while waiting for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The lines of a table, with single spaces.
fn rows(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn stats_describe_the_store_of_a_killed_broker() {
    let (_directory, data, ..) = directories();
    let broker = Broker::start(&data);
    broker.queue("few", &["1", "2"]);
    broker.queue("many", &["12345678", "12345678", "12345678"]);
    broker.client("mosquitto_pub", &["-q", "1", "-r", "-t", "state", "-m", "on"]);
    drop(broker);

    let report = rows(&output_of(&data, &["check"]));
    assert!(report.contains(&"segments 1".to_owned()), "{report:?}");
    assert_eq!(report.last().unwrap(), "sound", "{report:?}");
    let stats = rows(&output_of(&data, &["stats"]));
    assert_eq!(stats[..3], ["sessions 2", "retained messages 1 (7 B)", "queued messages 5 (44 B)"]);
    assert_eq!(stats[4..], ["bytes messages client", "36 B 3 many", "8 B 2 few"]);
    assert_eq!(
        output_of(&data, &["stats", "--json"]),
        "{\"retained\":{\"messages\":1,\"bytes\":7},\"unreadable_records\":0,\"sessions\":[\
         {\"client_id\":\"many\",\"queued_messages\":3,\"queued_bytes\":36},\
         {\"client_id\":\"few\",\"queued_messages\":2,\"queued_bytes\":8}]}\n"
    );
}

/// The queue is much longer than its head in memory.
#[test]
fn long_queue_survives_a_kill_and_is_drained_in_order() {
    let (_directory, data, ..) = directories();
    let lines: Vec<String> = (0..20_000).map(|number| format!("message-{number}\n")).collect();
    let (before, after) = lines.split_at(19_000);
    let broker = Broker::start_with(&data, &["--durability", "crash"]);
    broker.queue("away", &[]);
    broker.publish_lines("away", before);
    drop(broker);

    let broker = Broker::start_with(&data, &["--durability", "crash"]);
    broker.publish_lines("away", after);
    let received = broker.receive("away", lines.len());
    assert!(received.iter().eq(lines.iter().map(|line| line.trim_end())), "{} messages", received.len());
}

#[test]
fn after_kill_9_messages_remain_according_to_the_level_of_their_topic() {
    let levels: [&[&str]; 3] = [
        &["--durability-rule", "telemetry/#=none"],
        &["--durability", "none", "--durability-rule", "commands/#=power-loss"],
        &["--durability-rule", "telemetry/#=none", "--durability-rule", "#=crash"],
    ];
    for arguments in levels {
        let (_directory, data, ..) = directories();
        let start = |log: &str| {
            let broker = Broker::spawn(&data, data.with_extension(log), arguments);
            wait_for("the broker", || broker.is_ready().then_some(()));
            broker
        };
        let broker = start("first");
        assert!(broker.log().contains("topics that match one of "), "{}", broker.log());
        let session = ["-i", "s", "-c", "-x", "3600", "-q", "1", "-t", "telemetry/#", "-t", "commands/#"];
        broker.client("mosquitto_sub", &[&session[..], &["-E"]].concat());
        broker.publish("telemetry/a", &["1", "2"]);
        broker.publish("commands/a", &["3"]);
        let received = broker.client("mosquitto_sub", &[&session[..], &["-C", "3"]].concat());
        assert_eq!(received.lines().collect::<Vec<_>>(), ["1", "2", "3"], "while the process runs");
        broker.publish("telemetry/a", &["4", "5"]);
        broker.publish("commands/a", &["6"]);
        drop(broker);
        let broker = start("second");
        broker.publish("commands/a", &["7"]);
        let receive = |count| broker.client("mosquitto_sub", &[&session[..], &["-C", count]].concat());
        let mut received = receive("2");
        // A QoS 1 message is sent again if the broker had not read its PUBACK when it was killed.
        if let Some(rest) = received.strip_prefix("3\n") {
            received = format!("{rest}{}", receive("1"));
        }
        assert_eq!(received.lines().collect::<Vec<_>>(), ["6", "7"], "{arguments:?}");
    }
}

#[test]
fn a_backup_of_a_running_broker_is_restored_elsewhere() {
    let (directory, data, _, elsewhere) = directories();
    let backup = directory.path().join("new/backup");
    let backup = backup.to_str().unwrap();
    let broker = Broker::start(&data);
    let admin = broker.admin.to_string();
    broker.queue("away", &["first", "second"]);
    assert!(output_of(&data, &["backup", backup, "--admin", &admin]).contains(" entries in 1 segments"));
    let left = fs::read_dir(data.join("backups")).unwrap().count();
    assert_eq!(left, 0, "it is moved, not copied");
    broker.publish("away", &["third"]);
    let (code, error) = error_of(&data, &["backup", backup, "--admin", &admin]);
    assert_eq!(code, 5);
    assert!(error.ends_with("new/backup exists and is not an empty directory\n"), "{error}");
    drop(broker);

    assert_eq!(rows(&output_of(&elsewhere, &["check", backup])).last().unwrap(), "sound");
    assert!(output_of(&elsewhere, &["restore", backup]).contains(" entries in 1 segments"));
    let (code, error) = error_of(&elsewhere, &["restore", backup]);
    assert_eq!(code, 5);
    assert!(error.ends_with("elsewhere/log exists and is not an empty directory\n"), "{error}");

    let broker = Broker::start(&elsewhere);
    broker.publish("away", &["last"]);
    assert_eq!(broker.receive("away", 3), ["first", "second", "last"], "later messages are not in the backup");
}

#[test]
fn a_backup_of_a_stopped_broker_is_restored_elsewhere() {
    let (_directory, data, backup, elsewhere) = directories();
    Broker::start(&data).queue("away", &["first"]);
    let backup = backup.to_str().unwrap();
    fs::create_dir(backup).unwrap();
    output_of(&data, &["backup", backup]);
    assert_eq!(error_of(&data, &["backup", backup]).0, 5);
    output_of(&elsewhere, &["restore", backup]);
    assert_eq!(Broker::start(&elsewhere).receive("away", 1), ["first"]);
    let (code, error) = error_of(&data.join("nothing"), &["check"]);
    assert_eq!(code, 5);
    assert!(error.ends_with("nothing/log contains no store\n"), "{error}");
}

/// The binary under a umask that takes nothing away.
fn under_umask_0(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.env_clear().args(["-c", "umask 000 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_oncemq")]).args(arguments);
    command
}

/// Every file and directory below a path, and itself, with its mode.
fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut found = vec![(path.to_owned(), metadata.permissions().mode() & 0o777)];
    if metadata.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.flat_map(|path| modes(&path)));
    }
    found
}

#[test]
fn what_is_written_is_for_its_owner_only_whatever_the_umask() {
    let (directory, _, backup, elsewhere) = directories();
    let (data, socket) = (directory.path().join("new/data"), directory.path().join("mqtt.sock"));
    let (mqtt, admin) = (free_address(), free_address());
    let log = directory.path().join("log.txt");
    let (listen, output) = (format!("unix:{}", socket.display()), File::create(&log).unwrap());
    let mut command =
        under_umask_0(&["--listen", &mqtt.to_string(), "--listen", &listen, "--admin", &admin.to_string()]);
    command.arg("--data").arg(&data).stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let child = command.spawn().unwrap();
    // As many looks as possible at the moment when the file of the socket appears.
    let mut widest = 0;
    let broker = Broker { child, mqtt, admin, log };
    while !broker.log().contains("mqtt.sock") {
        for _ in 0..2_000 {
            widest |= fs::symlink_metadata(&socket).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
        }
    }
    wait_for("the broker", || broker.is_ready().then_some(()));
    widest |= fs::symlink_metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(widest, 0o600, "{widest:o}");

    broker.queue("away", &["secret"]);
    let backup = backup.to_str().unwrap();
    output_of(&data, &["backup", backup, "--admin", &admin.to_string()]);
    assert!(!broker.log().contains("server.data"), "{}", broker.log());
    drop(broker);
    let elsewhere_text = elsewhere.to_str().unwrap();
    assert!(under_umask_0(&["store", "restore", backup, "--data", elsewhere_text]).output().unwrap().status.success());
    let users = directory.path().join("users");
    let mut passwd = under_umask_0(&["passwd", "--create", "--password-stdin", users.to_str().unwrap(), "alice"]);
    let mut passwd = passwd.stdin(Stdio::piped()).spawn().unwrap();
    passwd.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    assert!(passwd.wait().unwrap().success());

    let written: Vec<_> = [&data, Path::new(backup), &elsewhere, &users].into_iter().flat_map(modes).collect();
    for name in ["0000000001.seg", "lock", "backups", "users"] {
        assert!(written.iter().any(|(path, _)| path.ends_with(name)), "{name} in {written:?}");
    }
    for (path, mode) in written {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_wide_data_directory_is_reported_and_not_changed() {
    let (_directory, data, ..) = directories();
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let broker = Broker::start(&data);
    let line = format!("`server.data` can be entered by others than its owner: {} has the mode 0755", data.display());
    assert!(broker.log().contains(&line), "{}", broker.log());
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_store_in_use_is_neither_read_nor_replaced_nor_opened_twice() {
    let (_directory, data, backup, elsewhere) = directories();
    Broker::start(&elsewhere).queue("away", &["first"]);
    output_of(&elsewhere, &["backup", backup.to_str().unwrap()]);

    let broker = Broker::start(&data);
    let in_use = format!("is in use by process {}", broker.child.id());
    for arguments in [["check"].as_slice(), &["stats"], &["restore", backup.to_str().unwrap()]] {
        let (code, error) = error_of(&data, arguments);
        assert_eq!(code, 5, "{error}");
        assert!(error.contains(&in_use), "{error}");
    }
    let mut second = Broker::spawn(&data, data.with_file_name("second.txt"), &[]);
    assert_eq!(second.exit_code(), Some(5));
    assert!(second.log().contains(&in_use), "{}", second.log());
}

#[test]
fn a_backup_is_not_taken_from_another_broker() {
    let (_directory, data, backup, elsewhere) = directories();
    let (broker, other) = (Broker::start(&data), Broker::start(&elsewhere));
    let asked = ["backup", backup.to_str().unwrap(), "--admin", &other.admin.to_string()];
    let (code, error) = error_of(&data, &asked);
    assert_eq!(code, 5);
    assert!(error.contains(&format!("answered 409: this is process {}", other.child.id())), "{error}");
    assert!(!backup.exists() && !elsewhere.join("backups").exists());
    assert_eq!(error_of(&data, &["backup", backup.to_str().unwrap(), "--admin", &free_address().to_string()]).0, 5);
    drop(broker);
}

#[test]
fn a_damaged_store_is_reported_and_starts_unless_recovery_is_strict() {
    let (_directory, data, backup, _) = directories();
    Broker::start(&data).queue("away", &["payload-1", "payload-2", "payload-3", "payload-4"]);
    let segment = data.join("log/0000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let damaged = bytes.windows(9).position(|window| window == b"payload-2").unwrap();
    bytes[damaged..damaged + 4].fill(b'!');
    fs::write(&segment, bytes).unwrap();

    let output = store(&data, &["check"]);
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("damaged     bytes ") && report.contains("of 0000000001.seg (1 entries)"), "{report}");
    let (code, error) = error_of(&data, &["backup", backup.to_str().unwrap()]);
    assert_eq!(code, 6, "{error}");
    assert!(!backup.exists());

    let mut strict = Broker::spawn(&data, data.with_file_name("strict.txt"), &["--strict-recovery"]);
    assert_eq!(strict.exit_code(), Some(5));
    assert!(strict.log().contains("1 damaged regions, the first: bytes "), "{}", strict.log());

    let broker = Broker::start(&data);
    assert!(broker.log().contains("set a damaged part aside: bytes "), "{}", broker.log());
    assert_eq!(broker.receive("away", 3), ["payload-1", "payload-3", "payload-4"]);
    assert_eq!(fs::read_dir(data.join("log/quarantine")).unwrap().count(), 1);
    let (code, error) = error_of(&data, &["backup", backup.to_str().unwrap(), "--admin", &broker.admin.to_string()]);
    assert_eq!(code, 6, "the damage is still in the log: {error}");
    assert!(output_of(&data, &["stats", backup.to_str().unwrap()]).starts_with("sessions           1\n"));
}

/// Runs `oncemq` with this on standard input.
fn run_with_input(arguments: &[&str], input: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{arguments:?}");
}

#[test]
fn a_store_of_the_first_format_starts() {
    let (_directory, data, ..) = directories();
    fs::create_dir_all(data.join("log")).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promise/format-1.seg");
    fs::copy(golden, data.join("log/0000000001.seg")).unwrap();
    assert_eq!(rows(&output_of(&data, &["check"])).last().unwrap(), "sound");
    let stats = rows(&output_of(&data, &["stats"]));
    assert_eq!(stats[..2], ["sessions 3", "retained messages 1 (7 B)"]);
    // The records name the user.
    let passwords = data.with_extension("passwords").display().to_string();
    run_with_input(&["passwd", "--create", "--password-stdin", &passwords, "ada"], "secret\n");
    let broker = Broker::start_with(&data, &["--password-file", &passwords]);
    // The Session was connected when the log was written, and its message is still queued.
    let arguments = ["-i", "busy", "-c", "-x", "3600", "-q", "2", "-t", "t/1", "-C", "1", "-u", "ada", "-P", "secret"];
    assert_eq!(broker.client("mosquitto_sub", &arguments), "first\n");
    let log = fs::read_to_string(&broker.log).unwrap();
    assert!(log.contains("it belonged to user \"ada\", and"), "{log}");
    assert_eq!(broker.client("mosquitto_sub", &["-t", "r/1", "-C", "1"]), "kept\n");
}

#[test]
fn an_older_store_is_upgraded_and_works() {
    let (_directory, data, ..) = directories();
    fs::create_dir_all(data.join("log")).unwrap();
    let golden = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promise/format-1-owners.seg")).unwrap();
    let segment = data.join("log/0000000001.seg");
    fs::write(&segment, &golden).unwrap();
    let stats = output_of(&data, &["stats"]);
    let dry = output_of(&data, &["upgrade", "--dry-run"]);
    assert!(dry.contains(&format!("would rewrite 1 segments ({} bytes)\n", golden.len())), "{dry}");
    assert!(dry.contains("this version reads all "), "{dry}");
    assert_eq!(fs::read(&segment).unwrap(), golden, "nothing was changed");

    let output = output_of(&data, &["upgrade"]);
    assert!(output.contains("rewrote 0000000001.seg (1 of 1)\n") && output.contains(" in format 2; "), "{output}");
    assert_eq!(fs::read(&segment).unwrap()[8], 2);
    assert_eq!(output_of(&data, &["stats"]), stats);
    assert_eq!(rows(&output_of(&data, &["check"])).last().unwrap(), "sound");
    assert!(output_of(&data, &["upgrade"]).ends_with("nothing to rewrite\n"));

    let broker = Broker::start(&data);
    assert_eq!(broker.client("mosquitto_sub", &["-t", "r/1", "-C", "1"]), "kept\n");
    let (code, error) = error_of(&data, &["upgrade"]);
    assert_eq!((code, error.as_str()), (0, ""), "a broker has it open, but there is nothing to do");
    assert!(output_of(&data, &["upgrade", "--dry-run"]).contains(&format!("process {} has", broker.child.id())));
}

#[test]
fn a_store_in_use_is_not_upgraded() {
    let (_directory, data, ..) = directories();
    fs::create_dir_all(data.join("log")).unwrap();
    fs::copy("tests/promise/format-1.seg", data.join("log/0000000001.seg")).unwrap();
    let _broker = Broker::start(&data);
    let (code, error) = error_of(&data, &["upgrade"]);
    assert_eq!(code, 5);
    assert!(error.contains("is in use by process") && error.contains("stop that broker"), "{error}");
}

#[test]
fn a_store_of_a_later_format_is_refused_and_not_changed() {
    let (_directory, data, ..) = directories();
    Broker::start(&data).queue("away", &["first"]);
    let segment = data.join("log/0000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8..12].copy_from_slice(&3u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, &bytes).unwrap();

    let refusal = "0000000001.seg has format version 3, and this version reads up to 2: \
                   use the version that wrote it, or a later one; a store can't be changed back to an older format, \
                   but a backup of that time can be restored";
    let mut broker = Broker::spawn(&data, data.with_extension("txt"), &[]);
    assert_eq!(broker.exit_code(), Some(5));
    assert!(broker.log().contains(refusal), "{}", broker.log());
    for arguments in [&["check"][..], &["upgrade"], &["upgrade", "--dry-run"]] {
        let (code, error) = error_of(&data, arguments);
        assert_eq!(code, 5, "{arguments:?}");
        assert!(error.contains(refusal), "{arguments:?}: {error}");
        assert_eq!(fs::read(&segment).unwrap(), bytes);
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
/// The same time limit, for programs.
const PATIENCE_SECONDS: &str = "20";
const HOW_TO_INSTALL: &str = "mosquitto's clients run: `bash tests/run` installs them";
