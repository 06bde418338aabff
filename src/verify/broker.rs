//! A broker of its own, with a port that the system chooses, which can be killed.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oncemq::codec::PacketType;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;

use super::stop::Stop;
use super::trouble::Trouble;

/// The binary, and where its brokers work.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub(super) binary: PathBuf,
    pub(super) directory: &'a Path,
    pub(super) stop: &'a Stop,
}

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    pub(super) address: SocketAddr,
    /// How long it took until it listened.
    pub(super) starting: Duration,
    pub(super) trap: Trap,
}

/// Kills the broker, at a time or as soon as a client has received a packet of some type.
#[derive(Debug)]
pub(super) struct Trap {
    /// `None`: it was killed.
    process: Mutex<Option<Pid>>,
    packet: Mutex<Option<PacketType>>,
}

impl Program<'_> {
    /// Starts a broker with the data in `data`, a name in the directory, and waits until it listens.
    pub(super) fn start(&self, data: &str, durability: &str) -> Result<Broker, Trouble> {
        let started = Instant::now();
        let log = self.directory.join(LOG);
        let output = File::create(&log)?;
        let mut command = Command::new(&self.binary);
        // Nothing of the operator's environment: it could name a configuration, and listeners.
        command.env_clear().current_dir(self.directory).args(ARGUMENTS).args([
            "--durability",
            durability,
            "--data",
            data,
        ]);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // A Ctrl-C is for this process, which ends the broker.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| self.trouble(error.to_string()))?;
        let mut address = None;
        let mut has_ended = false;
        let is_up = self.stop.wait(started + START_TIMEOUT, || {
            address = fs::read_to_string(&log).ok().and_then(|log| listening(&log));
            has_ended = !matches!(child.try_wait(), Ok(None));
            address.is_some() || has_ended
        });
        match (is_up, address) {
            (Ok(true), Some(address)) if !has_ended => {
                let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                let trap = Trap { process: Mutex::new(process), packet: Mutex::new(None) };
                Ok(Broker { child, address, starting: started.elapsed(), trap })
            }
            (result, _) => {
                // It may have ended.
                let _killed = child.kill();
                let _status = child.wait();
                result?;
                Err(self.trouble(self.last_words().unwrap_or_else(|| "it does not listen".to_owned())))
            }
        }
    }

    /// The last line of the log of the last broker.
    pub(super) fn last_words(&self) -> Option<String> {
        let log = fs::read_to_string(self.directory.join(LOG)).ok()?;
        let last = log.lines().last()?;
        let message =
            serde_json::from_str(last).ok().and_then(|line: Value| Some(line.get("message")?.as_str()?.to_owned()));
        Some(message.unwrap_or_else(|| last.chars().take(LINE_MAX).collect()))
    }

    fn trouble(&self, cause: String) -> Trouble {
        Trouble::NoBroker { binary: self.binary.display().to_string(), cause }
    }
}

impl Broker {
    /// Kills it with SIGKILL, if that was not done, and waits for its end.
    pub(super) fn kill(mut self) -> Result<(), Trouble> {
        self.trap.kill();
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended although nobody has killed it.
    pub(super) fn has_ended(&mut self) -> bool {
        let mut process = self.trap.process.lock().unwrap_or_else(PoisonError::into_inner);
        let has_ended = process.is_some() && !matches!(self.child.try_wait(), Ok(None));
        if has_ended {
            // Its number may be that of another process from now on.
            *process = None;
        }
        has_ended
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.trap.kill();
        let _status = self.child.wait();
    }
}

impl Trap {
    /// The next packet of this type kills the broker.
    pub(super) fn arm(&self, packet: PacketType) {
        *self.packet.lock().unwrap_or_else(PoisonError::into_inner) = Some(packet);
    }

    /// A client has received a packet.
    pub(super) fn on_packet(&self, packet: PacketType) {
        if *self.packet.lock().unwrap_or_else(PoisonError::into_inner) == Some(packet) {
            self.kill();
        }
    }

    pub(super) fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It is our child that nobody has waited for, so the number is still its own.
            let _killed = kill_process(process, Signal::KILL);
        }
    }

    /// Whether the broker was killed.
    pub(super) fn is_sprung(&self) -> bool {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// The address in the line of the log that says where the broker listens.
fn listening(log: &str) -> Option<SocketAddr> {
    log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_it = line.get("event")? == "listening";
        line.get("url").filter(|_| is_it)?.as_str()?.strip_prefix("mqtt://")?.parse().ok()
    })
}

/// Small segments, because the directory is bounded.
const ARGUMENTS: [&str; 15] = [
    "--listen",
    "127.0.0.1:0",
    "--admin",
    "off",
    "--allow-anonymous",
    "--shards",
    "2",
    "--log-format",
    "json",
    "--log-level",
    "info",
    "--set",
    "server.segment_size=4MiB",
    "--set",
    "limits.queued_messages_max=100000",
];
const LOG: &str = "log";
const START_TIMEOUT: Duration = Duration::from_secs(20);
const LINE_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_where_the_broker_listens() {
        let log = "no json\n{\"event\":\"stopped\"}\n{\"event\":\"listening\",\"url\":\"mqtt://127.0.0.1:7\"}\n";
        assert_eq!(listening(log), Some("127.0.0.1:7".parse().unwrap()));
        assert_eq!(listening("{\"event\":\"listening\"}\n{\"event\":\"x\",\"url\":\"mqtt://127.0.0.1:7\"}"), None);
    }
}
