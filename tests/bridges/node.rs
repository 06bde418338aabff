//! A broker process of either kind, which can be killed and started again with the same data and address.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;
use wire::free_port;

use crate::wait_for;

/// Which broker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Oncemq,
    Mosquitto,
}

/// A broker. Dropping it kills the process, and prints its log if the test has failed.
pub(crate) struct Node {
    kind: Kind,
    directory: TempDir,
    pub(crate) address: SocketAddr,
    child: Option<Child>,
}

impl Node {
    /// One that is not started.
    pub(crate) fn new(kind: Kind) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { kind, directory: tempfile::tempdir().unwrap(), address, child: None }
    }

    /// One that runs, with these lines at the end of its configuration.
    #[track_caller]
    pub(crate) fn started(kind: Kind, extra: &str) -> Self {
        let mut node = Self::new(kind);
        node.configure(extra);
        node.start();
        node
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its URL for a bridge.
    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Writes the configuration: defaults, a listener without passwords, and `extra`.
    pub(crate) fn configure(&self, extra: &str) {
        let (path, address) = (self.path().display(), self.address);
        let (name, text) = match self.kind {
            Kind::Oncemq => (
                "oncemq.toml",
                format!(
                    "server.data = \"{path}/data\"\nserver.shards = 2\nsecurity.allow_anonymous = true\nadmin.enabled = false\nlog.format = \"json\"\n\
                     [[listeners]]\naddress = \"{address}\"\n{extra}"
                ),
            ),
            Kind::Mosquitto => (
                "mosquitto.conf",
                format!(
                    "user root\nlistener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\npersistence true\n\
                     persistence_location {path}/\n{extra}",
                    address.port()
                ),
            ),
        };
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Lets commands ask it, from its next start on.
    pub(crate) fn enable_commands(&self) {
        let path = self.path().join("oncemq.toml");
        let text = fs::read_to_string(&path).unwrap();
        let admin = format!("admin.address = \"127.0.0.1:{}\"", free_port());
        fs::write(&path, text.replace("admin.enabled = false", &admin)).unwrap();
    }

    /// Runs a command on it.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        let output = command.env_clear().args(arguments).arg("--data").arg(self.path().join("data")).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&mut self) {
        let path = self.directory.path();
        let log = File::options().create(true).append(true).open(path.join("log")).unwrap();
        let mut command = match self.kind {
            Kind::Oncemq => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
                command.arg("--config").arg(path.join("oncemq.toml"));
                command
            }
            Kind::Mosquitto => {
                // Debian's place, which is not in the PATH of every user.
                let installed = Path::new("/usr/sbin/mosquitto");
                let mut command = Command::new(if installed.exists() { installed } else { Path::new("mosquitto") });
                command.arg("-v").arg("-c").arg(path.join("mosquitto.conf"));
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("the broker runs: `bash tests/run` installs mosquitto"));
    }

    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.spawn();
        wait_for("the broker", || TcpStream::connect(self.address).ok());
    }

    /// Ends it by a signal.
    pub(crate) fn end(&mut self, signal: &str) {
        self.signal(signal);
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let status = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{signal}");
    }

    /// Its output so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait_for_log_times(text, 1);
    }

    #[track_caller]
    pub(crate) fn wait_for_log_times(&self, text: &str, times: usize) {
        wait_for(text, || (self.log().matches(text).count() >= times).then_some(()));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        if thread::panicking() {
            self.directory.disable_cleanup(true);
            println!("kept: {}", self.path().display());
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            println!("the end of the log of {:?} at {}:\n{}", self.kind, self.address, tail.join("\n"));
        }
    }
}

const LOG_LINES_SHOWN: usize = 40;
