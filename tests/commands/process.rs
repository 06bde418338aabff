//! Processes: brokers, commands, and what they print.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use wire::free_address;

/// A running broker. Dropping it kills the process.
pub(crate) struct Broker {
    pub(crate) directory: TempDir,
    /// What started it.
    command: Command,
    child: Child,
    pub(crate) mqtt: SocketAddr,
}

impl Broker {
    /// OnceMQ with these further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mqtt = free_address();
        let mut command = oncemq();
        command.args(["--listen", &mqtt.to_string(), "--data"]).arg(directory.path().join("data"));
        if !arguments.contains(&"--admin") {
            command.args(["--admin", "off"]);
        }
        command.args(arguments);
        Self::spawn(command, directory, mqtt).with_socket()
    }

    /// OnceMQ with a configuration file.
    pub(crate) fn with_config(text: &str, directory: TempDir, mqtt: SocketAddr) -> Self {
        let file = directory.path().join("oncemq.toml");
        fs::write(&file, text).unwrap();
        let mut command = oncemq();
        command.arg("--config").arg(file).args(["--admin", "off", "--data"]).arg(directory.path().join("data"));
        Self::spawn(command, directory, mqtt).with_socket()
    }

    /// A real mosquitto.
    pub(crate) fn mosquitto() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mqtt = free_address();
        let file = directory.path().join("mosquitto.conf");
        fs::write(&file, format!("listener {} 127.0.0.1\nallow_anonymous true\n", mqtt.port())).unwrap();
        let path = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let mut command = Command::new(path);
        command.arg("-c").arg(file);
        Self::spawn(command, directory, mqtt)
    }

    pub(crate) fn spawn(mut command: Command, directory: TempDir, mqtt: SocketAddr) -> Self {
        let log = File::create(directory.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let broker = Self { directory, command, child, mqtt };
        wait_for("the broker", || TcpStream::connect(broker.mqtt).is_ok());
        broker
    }

    /// Waits for the socket of the commands, which opens after the listeners.
    fn with_socket(self) -> Self {
        let socket = self.directory.path().join("data/admin.sock");
        wait_for("admin.sock", || UnixStream::connect(&socket).is_ok());
        self
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with the same arguments and data, after its end.
    pub(crate) fn start_again(&mut self) {
        self.child = self.command.spawn().unwrap();
        wait_for("the broker", || TcpStream::connect(self.mqtt).is_ok());
        let socket = self.directory.path().join("data/admin.sock");
        wait_for("admin.sock", || UnixStream::connect(&socket).is_ok());
    }

    /// `-h` and `-p`.
    pub(crate) fn target(&self) -> Vec<String> {
        ["-h".to_owned(), self.mqtt.ip().to_string(), "-p".to_owned(), self.mqtt.port().to_string()].into()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!("{}", fs::read_to_string(self.directory.path().join("output")).unwrap_or_default());
        }
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.output
    }

    #[track_caller]
    pub(crate) fn failed(self, code: i32, text: &str) {
        assert!(self.code == code && self.errors.contains(text), "{self:?}");
    }
}

/// A running command. Its output is read all the time.
pub(crate) struct Running {
    child: Child,
    output: Text,
    errors: Text,
}

/// What a pipe has given so far, and the thread that reads it.
struct Text {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Text {
    fn read(mut pipe: impl std::io::Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                shared.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn whole(&mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.so_far()
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (output, errors) = (Text::read(child.stdout.take().unwrap()), Text::read(child.stderr.take().unwrap()));
        Self { child, output, errors }
    }

    pub(crate) fn input(&mut self, text: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(text).unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.so_far().is_empty()
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.output.so_far().contains(text)
    }

    /// The output so far.
    pub(crate) fn so_far(&self) -> String {
        self.output.so_far()
    }

    pub(crate) fn ends_with(&self, text: &str) -> bool {
        self.output.so_far().ends_with(text)
    }

    /// Closes the input and waits for the end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Done {
        drop(self.child.stdin.take());
        wait_for("the end of the command", || !self.is_running());
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Done { code, output: self.output.whole(), errors: self.errors.whole() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn oncemq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.env_remove("ONCEMQ_CONFIG");
    command
}

/// Runs `oncemq` to its end.
#[track_caller]
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Done {
    let mut command = oncemq();
    command.args(arguments);
    Running::start(command).end()
}

#[track_caller]
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within 40 seconds");
}
