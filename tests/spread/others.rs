//! Brokers that are not of the cluster.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use wire::free_port;

use crate::client::{PATIENCE, now};

/// Dropping it kills the process.
pub(crate) struct Other {
    pub(crate) address: SocketAddr,
    command: Command,
    child: Child,
    _directory: TempDir,
}

impl Other {
    pub(crate) fn oncemq() -> Self {
        Self::start(|directory, address| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
            command.args(["--listen", &address.to_string(), "--allow-anonymous", "--data"]).arg(directory.join("data"));
            command
        })
    }

    /// mosquitto with default settings, and a bridge of its own to `to`: `up/#` goes there, and `down/#` comes from there.
    pub(crate) fn mosquitto(to: SocketAddr) -> Self {
        Self::start(|directory, address| {
            let config = format!(
                "user root\nlistener {} 127.0.0.1\nallow_anonymous true\n\
                 connection up\naddress {to}\nrestart_timeout 1\ntopic up/# out 2\ntopic down/# in 2\n",
                address.port()
            );
            let path = directory.join("mosquitto.conf");
            fs::write(&path, config).unwrap();
            // Debian's place, which is not in the PATH of every user.
            let installed = Path::new("/usr/sbin/mosquitto");
            let mut command = Command::new(if installed.exists() { installed } else { Path::new("mosquitto") });
            command.arg("-c").arg(path);
            command
        })
    }

    fn start(command: impl FnOnce(&Path, SocketAddr) -> Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = command(directory.path(), address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the broker runs: `bash tests/run` installs mosquitto");
        let other = Self { address, command, child, _directory: directory };
        other.wait();
        other
    }

    fn wait(&self) {
        let deadline = now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            assert!(now() < deadline, "the broker does not listen");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    pub(crate) fn start_again(&mut self) {
        self.child = self.command.spawn().unwrap();
        self.wait();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}
