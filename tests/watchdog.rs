//! systemd's watchdog, with a socket in the place of systemd's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

struct Broker {
    process: Child,
    socket: UnixDatagram,
}

impl Broker {
    /// Starts the broker as systemd does, with these variables.
    fn start(directory: &TempDir, variables: &[(&str, &str)]) -> Self {
        let path = directory.path().join("notify");
        let _removed = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut command = Command::new("/bin/sh");
        // The process keeps the number of the shell.
        command.args(["-c", "export WATCHDOG_PID=${WATCHDOG_PID:-$$}; exec \"$@\"", "sh"]);
        command
            .arg(env!("CARGO_BIN_EXE_oncemq"))
            .env_clear()
            .env("NOTIFY_SOCKET", &path)
            .envs(variables.iter().copied())
            .current_dir(directory);
        command.args(["--listen", "127.0.0.1:0"]).env("ONCEMQ_ADMIN_ENABLED", "false").stdin(Stdio::null());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { process, socket }
    }

    /// The messages that arrive within this time.
    fn messages(&self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let (mut messages, mut buffer) = (Vec::new(), [0; 256]);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.recv(&mut buffer) {
                Ok(length) => messages.push(String::from_utf8_lossy(buffer.get(..length).unwrap()).trim().to_owned()),
                Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
            }
        }
        messages
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const ALIVE: &str = "WATCHDOG=1";

#[test]
fn a_healthy_broker_answers_the_watchdog_and_a_stopped_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(&directory, &[("WATCHDOG_USEC", "4000000")]);
    let messages = broker.messages(Duration::from_secs(6));
    assert!(messages.contains(&"READY=1".to_owned()), "{messages:?}");
    // At most 2 seconds pass between two messages, half of the watchdog's time.
    assert!(messages.iter().filter(|message| *message == ALIVE).count() >= 3, "{messages:?}");
    broker.signal("STOP");
    broker.messages(Duration::from_millis(200));
    assert_eq!(broker.messages(Duration::from_secs(2)), [""; 0]);
    broker.signal("CONT");
    assert!(broker.messages(Duration::from_secs(3)).contains(&ALIVE.to_owned()));
    broker.signal("TERM");
    assert!(broker.messages(Duration::from_secs(2)).contains(&"STOPPING=1".to_owned()));
}

#[test]
fn without_a_watchdog_or_with_that_of_another_process_there_are_no_messages() {
    for variables in [&[][..], &[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")]] {
        let directory = tempfile::tempdir().unwrap();
        let broker = Broker::start(&directory, variables);
        assert_eq!(broker.messages(Duration::from_secs(2)), ["READY=1"], "{variables:?}");
    }
}

#[test]
fn systemd_is_asked_for_time_for_each_segment_of_the_store_that_is_read_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let first = Broker::start(&directory, &[]);
    assert_eq!(first.messages(Duration::from_secs(2)), ["READY=1"], "the store is new");
    drop(first);
    let second = Broker::start(&directory, &[]);
    assert_eq!(second.messages(Duration::from_secs(2)), ["EXTEND_TIMEOUT_USEC=60000000", "READY=1"]);
}
