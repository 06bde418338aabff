//! Kills the real binary and restarts it with the same data and port.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;
use wire::free_port;

use crate::power_loss::PowerLoss;
use crate::rng::Rng;

/// The data that a kill loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Memory of the process.
    Process,
    /// Also data that was written and not synced.
    Power,
}

/// What becomes of connections when a service is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// They end.
    Lost,
    /// They stay, though perhaps with a broker that does not serve any more.
    Kept,
}

/// What the clients use, and what is killed.
pub(crate) trait Service {
    /// Where it may answer clients.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// Starts it, or what of it is not to stay down. Does not wait.
    fn start(&mut self);

    /// Gets ready for the next kill: decides what it will be.
    fn prepare(&mut self, _: &mut Rng) {}

    /// Kills it, or a part of it.
    fn kill(&mut self, rng: &mut Rng) -> Connections;

    /// Whether it may refuse messages for want of space.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Whether it may end connections by itself, such as those of a cell that moves: their Wills are published before the clients know.
    fn may_disconnect(&self) -> bool {
        false
    }

    /// Does what is due at this time.
    fn pass(&mut self, _: Instant) {}

    /// What ended by itself, if something did.
    fn end(&mut self) -> Option<String>;

    /// Where it answers operators.
    fn socket(&self) -> PathBuf;

    /// The end of its log.
    fn log(&self) -> String;

    /// Keeps the data of a failed run, and returns its path.
    fn keep(&mut self) -> PathBuf;
}

/// A broker that can be killed and restarted. Dropping it kills it.
pub(crate) struct Broker {
    directory: TempDir,
    address: SocketAddr,
    durability: &'static str,
    child: Option<Child>,
    power_loss: Option<PowerLoss>,
}

impl Broker {
    /// A broker with this configuration file.
    pub(crate) fn new(durability: &'static str, loss: Loss, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(CONFIG), config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let power_loss = (loss == Loss::Power).then(|| PowerLoss::new(directory.path()));
        Self { directory, address, durability, child: None, power_loss }
    }
}

impl Service for Broker {
    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    fn start(&mut self) {
        let path = self.directory.path();
        let data = path.join(DATA);
        let binary = Path::new(env!("CARGO_BIN_EXE_oncemq"));
        let mut command = self.power_loss.as_ref().map_or_else(|| Command::new(binary), |loss| loss.command(binary));
        command.args(["--listen", &self.address.to_string(), "--admin", "off", "--shards", "2", "--allow-anonymous"]);
        command.args(["--durability", self.durability, "--data"]).arg(data);
        command.arg("--config").arg(path.join(CONFIG));
        command.stdin(Stdio::null()).stdout(log(path)).stderr(log(path));
        self.child = Some(command.spawn().unwrap());
        if let Some(power_loss) = &self.power_loss {
            power_loss.await_start();
        }
    }

    /// Kills it with SIGKILL, and discards unsynced data if configured.
    fn kill(&mut self, rng: &mut Rng) -> Connections {
        let Some(mut child) = self.child.take() else { return Connections::Lost };
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(power_loss) = &self.power_loss {
            power_loss.apply_power_loss(child.id(), rng);
        }
        Connections::Lost
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(DATA).join("admin.sock")
    }

    fn end(&mut self) -> Option<String> {
        self.child.as_mut()?.try_wait().unwrap().map(|status| status.to_string())
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn log(directory: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(directory.join(LOG)).unwrap()
}

/// Name of the broker's data directory within the run's directory.
pub(crate) const DATA: &str = "data";
const CONFIG: &str = "oncemq.toml";
const LOG: &str = "log";
const LOG_LINES_SHOWN: usize = 40;
