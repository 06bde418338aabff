//! A hand-over after a reload: what listens is what the reload has left, not what was there at the start.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use wire::{CONNACK, Connect, Version, free_port};

use crate::broker::{Broker, Place};
use crate::{PATIENCE, run};

/// The ports, the Unix socket and the configuration file of a broker.
struct Reloaded {
    place: Place,
    /// Of a listener that stays, one that moves from the second to the third, one that is removed, and one that is added.
    ports: [u16; 5],
    admin: u16,
    /// Of a listener that is added.
    unix: PathBuf,
}

impl Reloaded {
    fn new() -> Self {
        let place = Place::new();
        let unix = place.directory.path().join("mqtt.sock");
        Self { place, ports: [(); 5].map(|()| free_port()), admin: free_port(), unix }
    }

    fn configure(&self, is_reloaded: bool) {
        let [stays, from, to, removed, added] = self.ports;
        let listener = |name: &str, address: String| format!("[[listeners]]\nname = {name:?}\naddress = {address:?}\n");
        let tcp = |name: &str, port: u16| listener(name, format!("127.0.0.1:{port}"));
        let listeners = match is_reloaded {
            false => [tcp("stays", stays), tcp("moves", from), tcp("removed", removed)].concat(),
            true => {
                let unix = listener("unix", format!("unix:{}", self.unix.display())) + "transport = \"unix\"\n";
                [tcp("stays", stays), tcp("moves", to), tcp("added", added), unix].concat()
            }
        };
        let data = self.data();
        let text = format!(
            "{listeners}[server]\ndata = {data:?}\nshards = 2\ndrain_timeout = \"20s\"\n[security]\nallow_anonymous = true\n\
             [admin]\nrequired = true\naddress = \"127.0.0.1:{}\"\n",
            self.admin
        );
        fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.place.directory.path().join("oncemq.toml")
    }

    fn data(&self) -> PathBuf {
        self.place.directory.path().join("data")
    }

    fn start(&self, arguments: &[&str]) -> Broker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.env_clear().arg("--config").arg(self.file()).args(arguments).stdin(Stdio::null());
        Broker::spawn(&self.place, command)
    }

    /// Starts a broker, and reloads it.
    async fn start_and_reload(&self) -> Broker {
        self.configure(false);
        let broker = self.start(&[]);
        self.place.logged("listener removed is open", PATIENCE, 0).await;
        self.place.logged("admin listener started", PATIENCE, 0).await;
        assert!(self.are_served(&[self.ports[0], self.ports[1], self.ports[3]]), "{}", self.place.log());
        self.configure(true);
        broker.hang_up();
        self.place.logged("listener removed is closed", PATIENCE, 0).await;
        self.place.logged("listener moves is closed", PATIENCE, 0).await;
        broker
    }

    /// Whether the listeners after the reload serve clients, and the ports of those before it are free.
    fn assert_reloaded(&self) {
        let [stays, from, to, removed, added] = self.ports;
        assert!(self.are_served(&[stays, to, added]), "{}", self.place.log());
        let stream = UnixStream::connect(&self.unix).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(is_served(stream), "{}", self.place.log());
        for port in [from, removed] {
            TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| panic!("{error}\n{}", self.place.log()));
        }
    }

    fn are_served(&self, ports: &[u16]) -> bool {
        ports.iter().all(|port| is_served(self.connect(*port)))
    }

    fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", port));
        let stream = stream.unwrap_or_else(|error| panic!("{port}: {error}\n{}", self.place.log()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A command on the running broker.
    fn ask(&self, command: &str) -> ExitStatus {
        let mut asking = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        asking.env_clear().args([command, "--data"]).arg(self.data());
        asking.stdout(self.place.log_file()).stderr(self.place.log_file()).status().unwrap()
    }

    /// Whether the admin listener says over TCP that clients can connect.
    fn is_ready_over_tcp(&self) -> bool {
        let mut stream = self.connect(self.admin);
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200")
    }
}

fn is_served(mut stream: impl Read + Write) -> bool {
    stream.write_all(&Connect::new(Version::V5, "reloaded").bytes()).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).is_ok() && answer[0] == CONNACK && answer[3] == 0
}

#[test]
fn listeners_that_a_reload_added_move_and_the_ports_of_removed_ones_are_free() {
    run(async {
        let reloaded = Reloaded::new();
        let mut broker = reloaded.start_and_reload().await;
        reloaded.assert_reloaded();
        // It does not close its connection, so the old process waits for it.
        let mut slow = reloaded.connect(reloaded.ports[0]);
        slow.write_all(&Connect::new(Version::V5, "slow").bytes()).unwrap();
        slow.read_exact(&mut [0; 4]).unwrap();
        let mut next = reloaded.start(&["--take-over"]);
        reloaded.place.logged("took over from process", PATIENCE, 0).await;
        // The old process is not ready, so the new one has answered.
        for _ in 0..5 {
            assert!(reloaded.ask("health").success(), "{}", reloaded.place.log());
            assert!(reloaded.ask("status").success(), "{}", reloaded.place.log());
            assert!(reloaded.is_ready_over_tcp(), "{}", reloaded.place.log());
        }
        assert!(broker.is_running(), "{}", reloaded.place.log());
        reloaded.assert_reloaded();
        drop(slow);
        assert_eq!(broker.exit_code().await, Some(0), "{}", reloaded.place.log());
        let socket = reloaded.data().join("admin.sock");
        assert!(socket.exists() && reloaded.unix.exists(), "the old process has left the files of the new one");
        reloaded.assert_reloaded();
        assert!(reloaded.ask("status").success(), "{}", reloaded.place.log());
        let log = reloaded.place.log();
        assert!(!log.contains("running without the admin") && !log.contains("no listener is at"), "{log}");
        next.terminate();
        assert_eq!(next.exit_code().await, Some(0), "{}", reloaded.place.log());
        assert!(!socket.exists() && !reloaded.unix.exists(), "the new process removes them");
    });
}

/// This test in the place of the new process.
#[test]
fn a_broker_that_serves_again_has_the_listeners_of_its_last_reload() {
    run(async {
        let reloaded = Reloaded::new();
        let mut broker = reloaded.start_and_reload().await;
        let mut stream = UnixStream::connect(reloaded.data().join("handover.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"{\"take_over\":{\"protocol\":1,\"process\":1}}\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let sockets = lines.by_ref().take_while(|line| !line.contains("\"sockets\"")).count();
        assert_eq!(sockets, 6, "four listeners, and two sockets of the admin listener");
        stream.write_all(b"\"go\"\n").unwrap();
        assert_eq!(lines.next().as_deref(), Some("\"released\""));
        // Before, the sockets are open and nobody serves them.
        drop((stream, lines));
        reloaded.place.logged("this one serves again", PATIENCE, 0).await;
        reloaded.assert_reloaded();
        assert!(reloaded.ask("health").success() && reloaded.ask("status").success(), "{}", reloaded.place.log());
        assert!(reloaded.is_ready_over_tcp(), "{}", reloaded.place.log());
        broker.terminate();
        assert_eq!(broker.exit_code().await, Some(0), "{}", reloaded.place.log());
        assert!(!reloaded.data().join("admin.sock").exists() && !reloaded.unix.exists());
    });
}
