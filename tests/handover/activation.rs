//! Socket activation, with this test in the place of systemd.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use wire::{CONNACK, Connect, Version};

use crate::PATIENCE;
use crate::broker::{Broker, Place};
use crate::run;

fn start(place: &Place, sockets: [OwnedFd; 2], names: &str, listeners: &[&str]) -> Broker {
    let listeners = listeners.iter().flat_map(|listener| ["--listen", listener]);
    start_with(place, sockets, names, &["--admin", "off"].into_iter().chain(listeners).collect::<Vec<_>>())
}

/// Starts the broker with two sockets, as systemd does.
pub(crate) fn start_with(place: &Place, sockets: [OwnedFd; 2], names: &str, arguments: &[&str]) -> Broker {
    let mut command = Command::new("/bin/sh");
    // The process keeps the number of the shell.
    let script = "exec 3<&0 4<&1 </dev/null >&2; export LISTEN_PID=$$; exec \"$@\"";
    command.env_clear().env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names).args(["-c", script, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_oncemq")).args(["--data"]).arg(place.directory.path().join("data")).args(arguments);
    let [first, second] = sockets;
    Broker::spawn_with(command.stdin(Stdio::from(first)).stdout(Stdio::from(second)).stderr(place.log_file()))
}

fn is_served(mut stream: impl Read + Write) -> bool {
    stream.write_all(&Connect::new(Version::V5, "activated").bytes()).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).is_ok() && answer[0] == CONNACK && answer[3] == 0
}

#[test]
fn sockets_of_systemd_are_used_and_connects_wait_while_no_broker_runs() {
    run(async {
        let place = Place::new();
        let path = place.directory.path().join("mqtt.sock");
        let (tcp, unix) = (TcpListener::bind(place.address).unwrap(), UnixListener::bind(&path).unwrap());
        let sockets = || [tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into()];
        let listeners = [place.address.to_string(), format!("unix:{}", path.display())];
        let listeners = listeners.each_ref().map(String::as_str);
        let connect = || {
            let stream = TcpStream::connect(place.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        for _ in 0..2 {
            // Connected before the broker runs, and served when it does.
            let waiting = connect();
            let mut broker = start(&place, sockets(), "oncemq.socket:oncemq.socket", &listeners);
            assert!(is_served(waiting), "{}", place.log());
            let stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(is_served(stream), "{}", place.log());
            broker.terminate();
            assert_eq!(broker.exit_code().await, Some(0));
            assert!(path.exists(), "systemd listens there");
        }
        assert!(place.log().contains("gets its socket at"), "{}", place.log());
    });
}

#[test]
fn a_socket_of_systemd_that_no_listener_has_prevents_the_start() {
    run(async {
        let place = Place::new();
        let (one, other) = (TcpListener::bind(place.address).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = other.local_addr().unwrap();
        let listener = place.address.to_string();
        let mut broker = start(&place, [one.into(), other.into()], "plain:extra", &[&listener]);
        assert_eq!(broker.exit_code().await, Some(3));
        let expected =
            format!("socket extra of systemd is at {address}, and no listener of the configuration has that address");
        assert!(place.log().contains(&expected), "{}", place.log());
    });
}

#[test]
fn sockets_of_systemd_move_to_a_process_that_takes_over() {
    run(async {
        let place = Place::new();
        let path = place.directory.path().join("mqtt.sock");
        let (tcp, unix) = (TcpListener::bind(place.address).unwrap(), UnixListener::bind(&path).unwrap());
        let unix_listener = format!("unix:{}", path.display());
        let listener = place.address.to_string();
        let listeners = [listener.as_str(), &unix_listener];
        let mut broker = start(&place, [tcp.into(), unix.into()], "a:b", &listeners);
        let is_there = || is_served(TcpStream::connect(place.address).unwrap());
        assert!(is_there());
        let data = place.directory.path().join("data").display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.env_clear().args(["--take-over", "--admin", "off", "--data", &data]);
        command.args(listeners.iter().flat_map(|listener| ["--listen", listener])).stdin(Stdio::null());
        tokio::time::sleep(Duration::from_millis(200)).await;
        let next = Broker::spawn(&place, command);
        assert_eq!(broker.exit_code().await, Some(0), "{}", place.log());
        assert!(is_there());
        assert!(is_served(UnixStream::connect(&path).unwrap()));
        next.terminate();
        drop(next);
        assert!(path.exists(), "it was never the broker's own");
    });
}
