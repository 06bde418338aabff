//! Kills the real binary and restarts it with the same data and port.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

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

/// A broker that can be killed and restarted. Dropping it kills it.
pub(crate) struct Broker {
    directory: TempDir,
    pub(crate) address: SocketAddr,
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

    /// Starts it without waiting.
    pub(crate) fn start(&mut self) {
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
    pub(crate) fn kill(&mut self, rng: &mut Rng) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(power_loss) = &self.power_loss {
            power_loss.apply_power_loss(child.id(), rng);
        }
    }

    /// Where it answers operators.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(DATA).join("admin.sock")
    }

    /// Its exit status, if it exited by itself.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().unwrap()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Keeps the data of a failed run, and returns its path.
    pub(crate) fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
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
