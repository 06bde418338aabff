//! A broker process: its configuration, start, log and exit.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use tempfile::TempDir;
use wire::free_port;

use crate::certificates;
use crate::deadline::{self, wait_for_end};
use crate::peer;

/// The configuration of a broker, in terms that also apply to a peer.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) allow_anonymous: bool,
    /// The content of the password file.
    pub(crate) users: Option<String>,
    /// The content of the ACL file.
    pub(crate) access: Option<String>,
    /// `section.key` and its value in TOML.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// One listener; its address is chosen at startup.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) transport: Transport,
    pub(crate) ipv6: bool,
    /// Client certificates are required, and their Common Name is the user name.
    pub(crate) client_certificates: bool,
    /// Client certificates that `client.crl` names are refused.
    pub(crate) revocation_list: bool,
    /// Further settings in TOML, for OnceMQ only.
    pub(crate) extra: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
    Unix,
    Quic,
}

/// A running broker. Dropping it kills the process, and prints its log if the test has failed.
pub(crate) struct Broker {
    directory: TempDir,
    child: Child,
    places: Vec<Place>,
}

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl Default for Setup {
    /// One plain TCP listener without authentication.
    fn default() -> Self {
        Self::new([Transport::Tcp])
    }
}

impl Setup {
    pub(crate) fn new(transports: impl IntoIterator<Item = Transport>) -> Self {
        let listeners = transports.into_iter().map(Listener::new).collect();
        Self { listeners, allow_anonymous: true, users: None, access: None, settings: Vec::new() }
    }

    /// Sets `section.key` to a value written in TOML.
    pub(crate) fn set(mut self, key: &'static str, value: &str) -> Self {
        self.settings.push((key, value.to_owned()));
        self
    }

    /// Accepts only these users with these passwords.
    pub(crate) fn users(mut self, users: &[(&str, &str)]) -> Self {
        self.users = Some(password_file(users));
        self.allow_anonymous = false;
        self
    }

    pub(crate) fn access(mut self, rules: &str) -> Self {
        self.access = Some(rules.to_owned());
        self
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Broker {
        // A port that was free may be taken in the meantime, so there are several attempts.
        for _ in 0..3 {
            if let Some(broker) = Broker::start(self) {
                return broker;
            }
        }
        panic!("the broker does not start");
    }
}

impl Listener {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, ipv6: false, client_certificates: false, revocation_list: false, extra: "" }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls | Transport::Wss | Transport::Quic)
    }

    fn place(&self, directory: &Path) -> Place {
        match (self.transport, self.ipv6) {
            (Transport::Unix, _) => Place::Unix(directory.join("mqtt.sock")),
            (_, false) => Place::Ip(SocketAddr::from(([127, 0, 0, 1], free_port()))),
            (_, true) => Place::Ip(SocketAddr::from((Ipv6Addr::LOCALHOST, free_port()))),
        }
    }
}

impl Broker {
    #[track_caller]
    fn start(setup: &Setup) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        certificates::write(path);
        if let Some(users) = &setup.users {
            fs::write(path.join("users"), users).unwrap();
        }
        if let Some(access) = &setup.access {
            fs::write(path.join("access"), access).unwrap();
        }
        let places: Vec<Place> = setup.listeners.iter().map(|listener| listener.place(path)).collect();
        let mut command = if peer::is_chosen() {
            peer::command(setup, &places, path)
        } else {
            fs::write(path.join("oncemq.toml"), configuration(setup, &places, path)).unwrap();
            with_config(path)
        };
        let mut broker = Self { child: spawn(&mut command, path), directory, places };
        broker.is_up().then_some(broker)
    }

    /// Starts OnceMQ with only these arguments, in a new empty directory, without waiting.
    pub(crate) fn start_with_arguments(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.args(arguments).current_dir(directory.path());
        Self { child: spawn(&mut command, directory.path()), directory, places: Vec::new() }
    }

    /// Waits until every listener is ready; returns false if the broker exits before.
    #[track_caller]
    fn is_up(&mut self) -> bool {
        let deadline = deadline::now() + deadline::PATIENCE;
        while !self.listens() {
            if self.child.try_wait().unwrap().is_some() {
                println!("{}", self.log());
                return false;
            }
            assert!(deadline::now() < deadline, "the broker does not listen");
            thread::sleep(std::time::Duration::from_millis(5));
        }
        true
    }

    /// OnceMQ prints every address on standard output when all listeners are bound; for a peer, a connection is
    /// attempted.
    fn listens(&self) -> bool {
        let output = fs::read_to_string(self.path().join("stdout")).unwrap_or_default();
        self.places.iter().all(|place| match place {
            Place::Ip(address) if peer::is_chosen() => TcpStream::connect(address).is_ok(),
            Place::Unix(path) if peer::is_chosen() => path.exists(),
            Place::Ip(address) => output.contains(&address.to_string()),
            Place::Unix(path) => output.contains(&path.display().to_string()),
        })
    }

    /// Its directory, with `users`, `access` and the certificates.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file in its directory, as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address of the first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    /// The address of a listener.
    pub(crate) fn address_of(&self, listener: usize) -> SocketAddr {
        match &self.places[listener] {
            Place::Ip(address) => *address,
            Place::Unix(path) => panic!("{} has no IP address", path.display()),
        }
    }

    /// The arguments that connect mosquitto's clients to the first listener.
    pub(crate) fn target(&self) -> Vec<String> {
        self.target_of(0)
    }

    /// The arguments that connect mosquitto's clients to a listener.
    pub(crate) fn target_of(&self, listener: usize) -> Vec<String> {
        match &self.places[listener] {
            Place::Ip(address) => {
                ["-h", &address.ip().to_string(), "-p", &address.port().to_string()].map(str::to_owned).into()
            }
            Place::Unix(path) => ["--unix".to_owned(), path.display().to_string()].into(),
        }
    }

    /// Its output so far.
    pub(crate) fn log(&self) -> String {
        ["stdout", "stderr"].map(|name| fs::read_to_string(self.path().join(name)).unwrap_or_default()).concat()
    }

    /// Sends a signal by its name: `HUP`, `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.id())).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// Ends OnceMQ by a signal, and starts it again with the same data and addresses.
    #[track_caller]
    pub(crate) fn restart(&mut self, signal: &str) {
        self.signal(signal);
        self.end();
        self.start_again();
    }

    /// Starts OnceMQ, which has ended, with the same data and addresses.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&mut with_config(self.path()), self.path());
        assert!(self.is_up(), "the broker does not start again");
    }

    /// `kill -9`, and a start with the same data and addresses. A peer is left alone: it need not survive that.
    #[track_caller]
    pub(crate) fn crash_and_restart(&mut self) {
        if !peer::is_chosen() {
            self.restart("KILL");
        }
    }

    /// SIGTERM, and a start with the same data and addresses. A peer is left alone.
    #[track_caller]
    pub(crate) fn stop_and_restart(&mut self) {
        if !peer::is_chosen() {
            self.restart("TERM");
        }
    }

    /// Waits for its exit.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        wait_for_end("the broker", &mut self.child)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            println!("the end of the broker's log:\n{}", tail.join("\n"));
        }
    }
}

/// Runs `oncemq passwd` for each user, as an operator would, and returns the file.
fn password_file(users: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    for (user, password) in users {
        peer::add_user(&file, user, password);
    }
    fs::read_to_string(file).unwrap()
}

/// The command that starts OnceMQ with the configuration file in its directory.
fn with_config(path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.arg("--config").arg(path.join("oncemq.toml"));
    command
}

fn spawn(command: &mut Command, path: &Path) -> Child {
    let stdout = File::create(path.join("stdout")).unwrap();
    let stderr = File::create(path.join("stderr")).unwrap();
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap()
}

/// The configuration file for OnceMQ.
fn configuration(setup: &Setup, places: &[Place], path: &Path) -> String {
    let file = |name: &str| format!("{:?}", path.join(name).display().to_string());
    let mut settings = vec![
        ("server.data", file("data")),
        ("admin.enabled", "false".to_owned()),
        ("security.allow_anonymous", setup.allow_anonymous.to_string()),
    ];
    if setup.users.is_some() {
        settings.push(("security.password_file", file("users")));
    }
    if setup.access.is_some() {
        settings.push(("security.acl_file", file("access")));
    }
    settings.retain(|(key, _)| setup.settings.iter().all(|(own, _)| own != key));
    settings.extend(setup.settings.iter().cloned());
    settings.sort();

    let mut text = String::new();
    for (key, value) in settings {
        writeln!(text, "{key} = {value}").unwrap();
    }
    for (listener, place) in setup.listeners.iter().zip(places) {
        let transport = format!("{:?}", listener.transport).to_lowercase();
        let address = match place {
            Place::Ip(address) => address.to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        };
        writeln!(text, "[[listeners]]\naddress = {address:?}\ntransport = {transport:?}\n{}", listener.extra).unwrap();
        if listener.is_encrypted() {
            let (certificate, key, client_ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
            writeln!(text, "[listeners.tls]\ncertificate = {certificate}\nkey = {key}").unwrap();
            if listener.client_certificates {
                writeln!(text, "client_certificate = \"required\"\nclient_ca = {client_ca}").unwrap();
                writeln!(text, "identity_as_user_name = true").unwrap();
                if listener.revocation_list {
                    writeln!(text, "crl = {}", file("client.crl")).unwrap();
                }
            }
        }
    }
    text
}

const LOG_LINES_SHOWN: usize = 60;
