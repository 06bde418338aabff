//! The processes of the real binary on one data directory and one address.

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;
use wire::free_port;

use crate::{now, variable};

/// What the processes have in common.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
}

/// One process. Dropping it kills it.
pub(crate) struct Broker(Child);

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), address: SocketAddr::from(([127, 0, 0, 1], free_port())) }
    }

    /// Waits until a process listens.
    pub(crate) async fn listens(&self) {
        let end = now() + Duration::from_secs(30);
        while TcpStream::connect(self.address).is_err() {
            assert!(now() < end, "{}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The log of all processes.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default()
    }

    /// Waits for a line of the log behind its first `from` bytes. Gives up silently.
    pub(crate) async fn logged(&self, text: &str, patience: Duration, from: usize) {
        let end = now() + patience;
        while now() < end && !self.log().get(from..).is_some_and(|log| log.contains(text)) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn log_file(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.directory.path().join(LOG)).unwrap()
    }

    /// The command of a broker on this place.
    pub(crate) fn command(&self, arguments: &[&str]) -> Vec<String> {
        let data = self.directory.path().join("data").display().to_string();
        let address = self.address.to_string();
        let binary = variable("ONCEMQ_HANDOVER_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_oncemq").to_owned());
        let mut command = vec![&*binary, "--listen", &address, "--data", &data, "--allow-anonymous"];
        if !arguments.contains(&"--admin") {
            command.extend(["--admin", "off"]);
        }
        if !arguments.contains(&"--shards") {
            command.extend(["--shards", "2"]);
        }
        command.extend(arguments);
        command.into_iter().map(str::to_owned).collect()
    }
}

impl Broker {
    /// Starts a process without waiting.
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        let words = place.command(arguments);
        let mut command = Command::new(&words[0]);
        command.env_clear().args(&words[1..]).stdin(Stdio::null());
        Self::spawn(place, command)
    }

    pub(crate) fn spawn(place: &Place, mut command: Command) -> Self {
        Self::spawn_with(command.stdout(place.log_file()).stderr(place.log_file()))
    }

    pub(crate) fn spawn_with(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for its exit.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        assert!(self.ends_within(Duration::from_secs(30)).await, "it does not end");
        self.0.wait().unwrap().code()
    }

    pub(crate) async fn ends_within(&mut self, patience: Duration) -> bool {
        let end = now() + patience;
        while self.is_running() && now() < end {
            sleep(Duration::from_millis(2)).await;
        }
        !self.is_running()
    }

    pub(crate) fn kill(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

const LOG: &str = "log.txt";
