//! Starts, stops and restarts the broker process.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::clock;
use crate::failure::{Failure, Outcome};

/// How the broker is terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: a clean shutdown.
    Term,
    /// SIGKILL: no shutdown.
    Kill,
}

/// The command line of a broker, with the placeholders `{port}`, `{data}` and optionally `{websocket}`.
#[derive(Debug, Clone)]
pub struct Template(String);

impl Template {
    /// A command line; arguments with spaces are in single or double quotes.
    pub fn new(command: impl Into<String>) -> Self {
        Self(command.into())
    }

    fn words(&self, port: u16, websocket: u16, data: &str) -> Vec<String> {
        let replaced = |word: String| {
            let ports = word.replace("{port}", &port.to_string()).replace("{websocket}", &websocket.to_string());
            ports.replace("{data}", data)
        };
        split(&self.0).into_iter().map(replaced).collect()
    }
}

/// A running broker. Dropping it kills the process and removes its data.
#[derive(Debug)]
pub struct Broker {
    template: Template,
    child: Child,
    /// Kills the broker if the suite ends without dropping this.
    watch: Watch,
    port: u16,
    websocket: u16,
    directory: TempDir,
}

impl Broker {
    /// Starts a broker with its own data directory on free ports.
    pub fn start(template: &Template) -> io::Result<Self> {
        // Another process may take a port between the check and the broker's bind, so there is a second attempt.
        Self::start_once(template).or_else(|_| Self::start_once(template))
    }

    fn start_once(template: &Template) -> io::Result<Self> {
        let directory = TempDir::new()?;
        let (port, websocket) = free_ports()?;
        fs::create_dir(data_of(&directory))?;
        let child = spawn(template, port, websocket, &directory)?;
        let watch = Watch::over(&child)?;
        let mut broker = Self { template: template.clone(), child, watch, port, websocket, directory };
        broker.wait_until_it_listens()?;
        Ok(broker)
    }

    /// Its TCP address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its WebSocket address, if its command has the placeholder.
    pub fn websocket(&self) -> Option<SocketAddr> {
        self.template.0.contains("{websocket}").then(|| (Ipv4Addr::LOCALHOST, self.websocket).into())
    }

    /// Terminates the broker and starts it again on the same port with the same data.
    pub fn restart(&mut self, signal: Signal) -> Outcome {
        self.end(signal)?;
        self.start_again()
    }

    /// Terminates the broker and waits for its exit.
    pub fn end(&mut self, signal: Signal) -> Outcome {
        let failed = |error: io::Error| Failure::new("the broker's process can be terminated", error.to_string());
        self.watch.end();
        match signal {
            Signal::Kill => self.child.kill().map_err(failed)?,
            Signal::Term => {
                let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
                let killed = pid.map_or(Ok(()), |pid| kill_process(pid, rustix::process::Signal::TERM));
                killed.map_err(|error| failed(error.into()))?;
            }
        }
        self.wait_for_end().map(|_| ()).map_err(failed)
    }

    /// Starts the broker again after `end`.
    pub fn start_again(&mut self) -> Outcome {
        let failed = |error: io::Error| Failure::new("the broker starts again with its data", error.to_string());
        self.child = spawn(&self.template, self.port, self.websocket, &self.directory).map_err(failed)?;
        self.watch = Watch::over(&self.child).map_err(failed)?;
        self.wait_until_it_listens().map_err(failed)
    }

    fn wait_for_end(&mut self) -> io::Result<ExitStatus> {
        const TIME: Duration = Duration::from_secs(20);
        let until = clock::now() + TIME;
        while clock::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        self.child.wait()?;
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("still running {} s after SIGTERM", TIME.as_secs())))
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        const TIME: Duration = Duration::from_secs(20);
        let until = clock::now() + TIME;
        let addresses = [Some(self.address()), self.websocket()];
        for address in addresses.into_iter().flatten() {
            while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
                if let Some(status) = self.child.try_wait()? {
                    return Err(io::Error::other(format!("the broker ended with {status}")));
                }
                if clock::now() > until {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no process listens on {address}")));
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The process may have exited already; `drop` can't report an error.
        self.watch.end();
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A helper process that kills the broker when its standard input closes, which happens however the suite ends.
#[derive(Debug)]
struct Watch(Child);

impl Watch {
    fn over(broker: &Child) -> io::Result<Self> {
        const SCRIPT: &str = "trap '' HUP INT TERM; read -r _; kill -9 \"$0\"";
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, &broker.id().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self)
    }

    /// Ends the helper before the broker's process id can be reused.
    fn end(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn spawn(template: &Template, port: u16, websocket: u16, directory: &TempDir) -> io::Result<Child> {
    let data = data_of(directory);
    let mut words = template.words(port, websocket, &data.to_string_lossy()).into_iter();
    let program = words.next().ok_or_else(|| io::Error::other("the command is empty"))?;
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))
}

fn data_of(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// Two free ports below the range of ephemeral ports. The system gives none of them to a connection, so the port is
/// still free when the broker restarts.
fn free_ports() -> io::Result<(u16, u16)> {
    Ok((free_port()?, free_port()?))
}

fn free_port() -> io::Result<u16> {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        // Concurrent suites start their search at different ports.
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).map_err(io::Error::other)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no port is free"))
}

fn split(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in command.chars() {
        match (character, quote) {
            (_, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (' ' | '\n' | '\t', None) => words.extend(word.take()),
            (_, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_at_spaces_outside_of_quotes() {
        let template = Template::new("broker --listen 127.0.0.1:{port}  -d '{data}/a b' \"\"");
        assert_eq!(template.words(7, 8, "/d"), ["broker", "--listen", "127.0.0.1:7", "-d", "/d/a b", ""]);
    }
}
