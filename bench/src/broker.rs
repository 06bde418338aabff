//! Starts and stops a broker for a run.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::clock;
use crate::packet::{self, Protocol, SessionKind};
use crate::peers::{self, BrokerSpec};
use crate::process;
use crate::scenario::Target;
use crate::transport::{Endpoint, SERVER_NAME, Transport};

/// Resources for brokers: a certificate, and a parent of their data directories.
#[derive(Debug)]
pub(crate) struct Launcher {
    data_root: PathBuf,
    directory: TempDir,
}

/// A running broker with its own data directory. Dropping it kills the broker.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    directory: TempDir,
    ports: Ports,
    pub(crate) target: Target,
}

/// Free ports for one broker.
#[derive(Debug, Clone, Copy)]
struct Ports {
    tcp: u16,
    tls: u16,
    ws: u16,
    admin: u16,
}

impl Launcher {
    /// Creates the data directories of its brokers below `data_root`.
    pub(crate) fn new(data_root: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&data_root)
            .with_context(|| format!("cannot create directory {}", data_root.display()))?;
        let launcher = Self { data_root, directory: tempfile::Builder::new().prefix("bench-").tempdir()? };
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
        fs::write(launcher.certificate(), cert.pem())?;
        fs::write(launcher.key(), signing_key.serialize_pem())?;
        Ok(launcher)
    }

    /// Starts a broker on the first `cores` cores and waits until it answers a CONNECT.
    pub(crate) fn start(&self, spec: &BrokerSpec, cores: usize, transport: Transport) -> Result<Broker> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.data_root)?;
        fs::create_dir(directory.path().join(DATA))?;
        let ports = Ports::free()?;
        let fill = |text: &str| self.fill(text, &directory, ports, cores);
        fs::write(directory.path().join(CONFIG), fill(&spec.config))?;
        let command = replace_shell(fill(&spec.command));
        let log = File::create(directory.path().join(LOG))?;
        let child = Command::new("taskset")
            .args(["--cpu-list", &format!("0-{}", cores.saturating_sub(1)), "sh", "-c", &command])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start taskset")?;
        let port = match transport {
            Transport::Tcp => ports.tcp,
            Transport::Tls => ports.tls,
            Transport::Ws => ports.ws,
        };
        let endpoint = Endpoint::new(loopback(port), transport, Some(&self.certificate()))?;
        let target = Target { endpoint, pid: child.id(), beside: Vec::new(), cells: None };
        let mut broker = Broker { child, directory, ports, target };
        broker.wait_until_ready().with_context(|| format!("{} did not start: `{command}`", spec.name))?;
        Ok(broker)
    }

    /// The median time in microseconds that the disk of `data_root` needs to sync a small write.
    pub(crate) fn sync_time_us(&self) -> Result<f64> {
        let mut file = tempfile::tempfile_in(&self.data_root)?;
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            let started = clock::now();
            file.write_all(&[0; SYNC_WRITE_LEN])?;
            file.sync_data()?;
            times.push((clock::now() - started).as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        times.get(SYNCS / 2).copied().context("no sync was measured")
    }

    fn fill(&self, text: &str, directory: &TempDir, ports: Ports, cores: usize) -> String {
        let path = |name: &str| directory.path().join(name).display().to_string();
        [
            ("{port}", ports.tcp.to_string()),
            ("{tls_port}", ports.tls.to_string()),
            ("{ws_port}", ports.ws.to_string()),
            ("{admin_port}", ports.admin.to_string()),
            ("{data}", path(DATA)),
            ("{config}", path(CONFIG)),
            ("{cert}", self.certificate().display().to_string()),
            ("{key}", self.key().display().to_string()),
            ("{cores}", cores.to_string()),
            ("{bin}", peers::bin()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (place, value)| text.replace(place, value))
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}

impl Ports {
    /// Binds all ports at the same time, so that they differ, and then releases them.
    fn free() -> Result<Self> {
        let bind = || TcpListener::bind(loopback(0));
        let [tcp, tls, ws, admin] = [bind()?, bind()?, bind()?, bind()?];
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Self { tcp: port(&tcp)?, tls: port(&tls)?, ws: port(&ws)?, admin: port(&admin)? })
    }
}

impl Broker {
    /// The end of the broker's output.
    pub(crate) fn output_tail(&self) -> String {
        let log = fs::read(self.directory.path().join(LOG)).unwrap_or_default();
        let start = log.len().saturating_sub(LAST_WORDS_LEN);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).trim().to_owned()
    }

    /// The values of its Prometheus counters, under the names of the figures.
    pub(crate) fn counters(&self, spec: &BrokerSpec) -> Result<Vec<(String, f64)>> {
        if spec.counters.is_empty() {
            return Ok(Vec::new());
        }
        // Brokers update these counters about once a second.
        thread::sleep(COUNTERS_AGE);
        let mut stream = TcpStream::connect_timeout(&loopback(self.ports.admin), GREETING_TIMEOUT)?;
        stream.set_read_timeout(Some(GREETING_TIMEOUT))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let counters = spec.counters.iter();
        Ok(counters.filter_map(|(figure, counter)| Some((figure.clone(), sample(&text, counter)?))).collect())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = clock::now();
        while !greets(loopback(self.ports.tcp)) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{status}: {}", self.output_tail());
            }
            if clock::now() - started > START_TIMEOUT {
                bail!("no CONNACK in {} s: {}", START_TIMEOUT.as_secs(), self.output_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let program = process::program(self.target.pid)?;
        if SHELLS.contains(&program.as_str()) {
            bail!("the measured process is {program}, not the broker: start the broker's command with `exec`");
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // If the shell didn't `exec` the broker, the broker is its child.
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

/// Prefixes a single command with `exec`, so that the measured process is the broker.
fn replace_shell(command: String) -> String {
    let single = !command.contains([';', '|', '&', '\n']) && !command.starts_with("exec ");
    if single { format!("exec {command}") } else { command }
}

/// The value of a counter without labels in Prometheus' text format.
fn sample(text: &str, counter: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(counter)?.strip_prefix(' ')?.trim().parse().ok())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether the broker answers a CONNECT with CONNACK.
pub(crate) fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, GREETING_TIMEOUT) else { return false };
    let mut connect = Vec::new();
    packet::encode_connect(&mut connect, "bench-first", SessionKind::Clean, Protocol::V311);
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
const DATA: &str = "data";
/// The suffix matters: some brokers derive the format from it.
const CONFIG: &str = "config.toml";
const SYNCS: usize = 100;
const SYNC_WRITE_LEN: usize = 256;
const COUNTERS_AGE: Duration = Duration::from_millis(1_200);
const LAST_WORDS_LEN: usize = 1_000;
const SHELLS: [&str; 4] = ["sh", "dash", "bash", "taskset"];
const START_TIMEOUT: Duration = Duration::from_secs(15);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_single_command_replaces_the_shell() {
        let command = |text: &str| replace_shell(text.to_owned());
        assert_eq!(command("b 7 /d"), "exec b 7 /d");
        assert_eq!(command("exec b 7"), "exec b 7");
        assert_eq!(command("c > /d/f; exec b 7"), "c > /d/f; exec b 7");
    }

    #[test]
    fn a_counter_is_found_by_its_full_name() {
        let text = "# TYPE a_total counter\na_total_2 7\na_total 42\n";
        assert_eq!(sample(text, "a_total"), Some(42.0));
        assert_eq!(sample(text, "a"), None);
    }

    #[test]
    fn the_error_for_a_broker_that_exits_has_its_output() {
        let spec = BrokerSpec {
            name: "a".to_owned(),
            command: "cat {config}; exit {cores}".to_owned(),
            config: "port {port} is taken".to_owned(),
            version: None,
            qos_max: 2,
            counters: BTreeMap::new(),
        };
        let launcher = Launcher::new(std::env::temp_dir()).unwrap();
        let error = format!("{:#}", launcher.start(&spec, 1, Transport::Tcp).unwrap_err());
        assert!(error.contains("is taken") && error.contains("exit status: 1"), "{error}");
    }
}
