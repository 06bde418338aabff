//! The processes: mosquitto, and OnceMQ with the same file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::clock::wait_for;
use crate::script::Step;
use crate::tree::Tree;

/// Which broker runs, and from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The real one.
    Mosquitto,
    /// `oncemq --mosquitto-conf FILE`.
    Direct,
    /// `oncemq import mosquitto FILE --out OURS`, and `oncemq --config OURS`.
    Imported,
}

/// A broker with the files of its machine.
pub(crate) struct Broker {
    kind: Kind,
    pub(crate) tree: Tree,
    /// What it printed.
    output: PathBuf,
    child: Option<Child>,
    /// Whether mosquitto is 2.1 or later.
    is_newer: bool,
}

impl Broker {
    /// `directory` is for what the test itself writes.
    pub(crate) fn new(kind: Kind, tree: Tree, directory: &Path) -> Self {
        let output = directory.join("output");
        File::create(&output).unwrap();
        let is_newer = kind == Kind::Mosquitto && version().is_some_and(|version| !version.contains(" 2.0."));
        Self { kind, tree, output, child: None, is_newer }
    }

    /// The outcome of a step with this broker.
    pub(crate) fn expected<'a>(&self, step: &'a Step) -> Option<&'a str> {
        let ours = step.ours.as_ref().map(|difference| difference.expected.as_str());
        let differs = match (self.kind, self.is_newer) {
            (Kind::Mosquitto, false) => step.older.as_deref(),
            (Kind::Mosquitto, true) => step.newer.as_deref(),
            (Kind::Direct | Kind::Imported, _) => ours,
        };
        differs.or(step.expected.as_deref())
    }

    /// Starts it; `runs` when all its listeners are open, `stops` if it ends before.
    pub(crate) fn start(&mut self) -> String {
        if self.kind == Kind::Imported {
            let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
            command
                .args(["import", "mosquitto"])
                .arg(&self.tree.config)
                .arg("--out")
                .arg(self.imported())
                .arg("--force");
            if !self.run(command).wait().unwrap().success() {
                return "stops".to_owned();
            }
        }
        let mut child = self.run(self.command());
        let started = wait_for(|| match child.try_wait().unwrap() {
            Some(_) => Some("stops"),
            None => self.is_open().then_some("runs"),
        });
        // mosquitto opens its ports before it reads certificates.
        thread::sleep(SETTLING);
        let started = started.map(|started| if child.try_wait().unwrap().is_some() { "stops" } else { started });
        self.child = Some(child);
        started.unwrap_or("is not open in time").to_owned()
    }

    /// Ends it by a signal.
    pub(crate) fn stop(&mut self, signal: &str) {
        self.signal(signal);
        let mut child = self.child.take().unwrap();
        if wait_for(|| child.try_wait().unwrap()).is_none() {
            drop(child.kill());
            drop(child.wait());
            panic!("it does not end\n{}", self.log());
        }
    }

    /// Ends it by a signal, and starts it again.
    pub(crate) fn restart(&mut self, signal: &str) {
        self.stop(signal);
        assert_eq!(self.start(), "runs", "{}", self.log());
    }

    pub(crate) fn reload(&self) {
        self.signal("HUP");
    }

    /// Its output and log files.
    pub(crate) fn log(&self) -> String {
        let mut logs = vec![self.output.clone()];
        logs.extend(files_ending(&self.tree.place("/"), ".log"));
        logs.iter().map(|log| fs::read_to_string(log).unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    fn command(&self) -> Command {
        let mut command = match self.kind {
            Kind::Mosquitto => {
                let mut command = Command::new(mosquitto());
                command.arg("-c").arg(&self.tree.config);
                // Keeps the listeners of a file without listeners, at another port.
                if self.tree.is_local_only {
                    command.arg("-p").arg(self.tree.ports.get(&1883).unwrap().to_string());
                }
                return command;
            }
            Kind::Direct => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
                command.arg("--mosquitto-conf").arg(&self.tree.config);
                command
            }
            Kind::Imported => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
                command.arg("--config").arg(self.imported());
                command
            }
        };
        command.args(["--admin", "off"]);
        if self.tree.is_local_only {
            let port = self.tree.ports.get(&1883).unwrap();
            command.args(["--listen", &format!("127.0.0.1:{port}"), "--listen", &format!("[::1]:{port}")]);
        }
        command
    }

    fn run(&self, mut command: Command) -> Child {
        let output = File::options().append(true).open(&self.output).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        command.current_dir(self.output.parent().unwrap());
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}: {HOW_TO_INSTALL}", command.get_program().display()))
    }

    fn imported(&self) -> PathBuf {
        self.output.with_file_name("oncemq.toml")
    }

    /// Whether all its TCP ports and sockets are open.
    fn is_open(&self) -> bool {
        let open = listening_ports();
        self.tree.ports.values().all(|port| open.contains(port)) && self.tree.sockets.iter().all(|path| is_socket(path))
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

/// Asked without a connection, which mosquitto 2.0.11 would count as one less for `max_connections` when it ends.
fn listening_ports() -> BTreeSet<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let listening = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let (_, port) = local.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok().filter(|_| state == LISTEN)
    };
    tables.iter().flat_map(|table| table.lines().filter_map(listening)).collect()
}

/// How long a broker may take to end because of what it finds behind its ports.
const SETTLING: Duration = Duration::from_millis(150);
/// A state of a socket.
const LISTEN: &str = "0A";

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn files_ending(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    files.chain(directories.iter().flat_map(|directory| files_ending(directory, ending))).collect()
}

/// The program of mosquitto.
#[expect(clippy::disallowed_methods, reason = "the choice is made on the command line that runs the tests")]
fn mosquitto() -> OsString {
    let installed = || {
        // `/usr/sbin` is not on every user's path.
        let path = Path::new("/usr/sbin/mosquitto");
        if path.exists() { path.into() } else { "mosquitto".into() }
    };
    std::env::var("ONCEMQ_TEST_MOSQUITTO").map_or_else(|_| installed(), Into::into)
}

/// The first line that it prints about itself.
fn version() -> Option<String> {
    let output =
        Command::new(mosquitto()).arg("-h").output().unwrap_or_else(|error| panic!("{error}: {HOW_TO_INSTALL}"));
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// Whether a broker is left out, to judge the other one alone.
#[expect(clippy::disallowed_methods, reason = "the choice is made on the command line that runs the tests")]
pub(crate) fn is_left_out(kind: Kind) -> bool {
    match std::env::var("ONCEMQ_MOVING_ONLY").as_deref() {
        Ok("mosquitto") => kind != Kind::Mosquitto,
        Ok("oncemq") => kind == Kind::Mosquitto,
        _ => false,
    }
}

const HOW_TO_INSTALL: &str = "mosquitto itself runs: `bash tests/run` installs it";
