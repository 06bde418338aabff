//! Starts a broker for a run, and ends it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::clock;
use crate::packet::{self, SessionKind};
use crate::process;
use crate::scenario::Target;

/// A broker to compare: a name and how to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerSpec {
    pub(crate) name: String,
    command: String,
}

/// A broker that runs, with a directory of its own. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    directory: TempDir,
    pub(crate) target: Target,
}

impl std::str::FromStr for BrokerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("write NAME='COMMAND {port} {data}'")?;
        if name.is_empty() || !command.contains("{port}") {
            return Err("a broker needs a name, and {port} in its command".to_owned());
        }
        Ok(Self { name: name.to_owned(), command: command.to_owned() })
    }
}

impl BrokerSpec {
    /// Starts the broker on a core and waits until it greets a client.
    pub(crate) fn start(&self, core: usize) -> Result<Broker> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let data = directory.path().join("data");
        fs::create_dir(&data)?;
        let port = free_port()?;
        let command = self.shell_command(port, &data.to_string_lossy());
        let log = File::create(directory.path().join(LOG))?;
        let child = Command::new("taskset")
            .args(["--cpu-list", &core.to_string(), "sh", "-c", &command])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start taskset")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target = Target { address, pid: child.id() };
        let mut broker = Broker { child, directory, target };
        broker.wait_until_ready().with_context(|| format!("{} did not start: `{command}`", self.name))?;
        Ok(broker)
    }

    /// The command with its places filled in. A single one replaces the shell, so that the broker is what is measured.
    fn shell_command(&self, port: u16, data: &str) -> String {
        let command = self.command.replace("{port}", &port.to_string()).replace("{data}", data);
        let single = !command.contains([';', '|', '&', '\n']) && !command.starts_with("exec ");
        if single { format!("exec {command}") } else { command }
    }
}

impl Broker {
    /// The end of what the broker wrote.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.directory.path().join(LOG)).unwrap_or_default();
        let start = log.len().saturating_sub(LAST_WORDS_LEN);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).trim().to_owned()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = clock::now();
        while !greets(self.target.address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{status}: {}", self.last_words());
            }
            if clock::now() - started > START_TIMEOUT {
                bail!("no CONNACK in {} s: {}", START_TIMEOUT.as_secs(), self.last_words());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let program = process::program(self.target.pid)?;
        if SHELLS.contains(&program.as_str()) {
            bail!("{program} would be measured: begin the broker's own command with `exec`");
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A shell that wasn't replaced leaves the broker behind as its child.
        for pid in process::children(self.target.pid).into_iter().chain([self.target.pid]) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let started = clock::now();
        while clock::now() - started < STOP_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether a client gets a CONNACK.
pub(crate) fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, GREETING_TIMEOUT) else { return false };
    let mut connect = Vec::new();
    packet::encode_connect(&mut connect, "bench-first", SessionKind::Clean);
    let mut connack = [0; 4];
    let greeted = stream.set_read_timeout(Some(GREETING_TIMEOUT)).is_ok()
        && stream.write_all(&connect).is_ok()
        && stream.read_exact(&mut connack).is_ok()
        && connack == [0x20, 2, 0, 0];
    let mut disconnect = Vec::new();
    packet::encode_disconnect(&mut disconnect);
    greeted && stream.write_all(&disconnect).is_ok()
}

const LOG: &str = "log";
const LAST_WORDS_LEN: usize = 1_000;
const SHELLS: [&str; 4] = ["sh", "dash", "bash", "taskset"];
const START_TIMEOUT: Duration = Duration::from_secs(15);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_a_name_and_a_command_with_a_port() {
        let spec: BrokerSpec = "a=b --c=d {port}".parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.command.as_str()), ("a", "b --c=d {port}"));
        assert!("=b {port}".parse::<BrokerSpec>().is_err());
        assert!("a=b".parse::<BrokerSpec>().is_err());
        assert!("{port}".parse::<BrokerSpec>().is_err());
    }

    #[test]
    fn a_single_command_replaces_the_shell() {
        let command = |text: &str| text.parse::<BrokerSpec>().unwrap().shell_command(7, "/d");
        assert_eq!(command("a=b {port} {data}"), "exec b 7 /d");
        assert_eq!(command("a=exec b {port}"), "exec b 7");
        assert_eq!(command("a=c > {data}/f; exec b {port}"), "c > /d/f; exec b 7");
    }

    #[test]
    fn a_broker_that_ends_at_once_says_why() {
        let spec: BrokerSpec = "a=echo port {port} is taken; exit 7".parse().unwrap();
        let error = format!("{:#}", spec.start(0).unwrap_err());
        assert!(error.contains("is taken") && error.contains('7'), "{error}");
    }
}
