//! A reload changes listeners, limits and the other settings under connected clients; what can't be used has no effect.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use wire::free_port;

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::certificates;
use crate::deadline::{SILENCE, wait_for};
use crate::listeners::with_admin;
use crate::mosquitto::try_publish;
use crate::peer;
use crate::raw::{CONNACK, Connect, Received, Version, Wire};

const V5: Version = Version::V5;

/// Changes the configuration file, sends SIGHUP, and returns the lines of the log from then on to the one with `last`.
#[track_caller]
fn reconfigure(broker: &Broker, change: impl FnOnce(String) -> String, last: &str) -> String {
    let file = broker.path().join("oncemq.toml");
    let text = change(fs::read_to_string(&file).unwrap());
    fs::write(&file, text).unwrap();
    reload(broker, last)
}

#[track_caller]
fn reload(broker: &Broker, last: &str) -> String {
    let before = broker.log().len();
    broker.signal("HUP");
    wait_for(last, || broker.log()[before..].contains(last).then_some(()));
    broker.log()[before..].to_owned()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn listener(address: SocketAddr, settings: &str) -> String {
    format!("[[listeners]]\naddress = \"{address}\"\n{settings}\n")
}

/// The configuration without its listener at this address.
fn without(text: &str, address: SocketAddr) -> String {
    let address = format!("address = \"{address}\"");
    let sections = text.split("[[listeners]]").filter(|section| !section.contains(&address));
    sections.collect::<Vec<_>>().join("[[listeners]]")
}

fn accepts(address: SocketAddr, client_id: &str) -> bool {
    TcpStream::connect(address).is_ok() && Wire::connect(address, &Connect::new(V5, client_id)).1.reason_code() == 0
}

#[test]
fn a_listener_is_added_changed_and_removed_under_connected_clients() {
    if peer::is_chosen() {
        return; // its listeners need a restart
    }
    for shards in ["1", "2"] {
        let broker = Setup::new([Transport::Tcp, Transport::Tcp]).set("server.shards", shards).start();
        let (kept, removed, added) = (broker.address(), broker.address_of(1), local(free_port()));
        let mut stays = Wire::connected(kept, &Connect::new(V5, "stays"));
        assert_eq!(stays.subscribe(V5, "t", 1), 1);
        let mut leaves: Vec<_> = (0..200)
            .map(|number| {
                let version = if number % 2 == 0 { V5 } else { Version::V311 };
                (version, Wire::connected(removed, &Connect::new(version, &format!("leaves {number}"))))
            })
            .collect();
        let mut silent = Wire::open(removed);

        reconfigure(&broker, |text| text + &listener(added, "name = \"added\""), "listener added is open");
        wait_for("the new listener", || TcpStream::connect(added).ok());
        let mut new = Wire::connected(added, &Connect::new(V5, "new"));
        // The next reload must not be taken for the cause of this line.
        wait_for("its line in the log", || broker.log().contains("client \"new\"").then_some(()));
        stays.ping();
        leaves[0].1.ping();

        let log = reconfigure(&broker, |text| without(&text, removed), "is closed");
        assert!(!log.contains("added"), "{log}");
        for (version, wire) in &mut leaves {
            wire.expect_disconnect(*version, 0x98);
        }
        silent.expect_closed();
        assert!(TcpStream::connect(removed).is_err());
        new.publish(V5, "t", "still");
        assert_eq!(stays.expect_publish(V5).payload, b"still");

        // Other settings of the same listener: its connections stay, and new ones get the settings.
        let only_users = listener(added, "name = \"renamed\"\nallow_anonymous = false");
        reconfigure(&broker, |text| without(&text, added) + &only_users, "listener renamed has other settings");
        let refused = || Wire::connect(added, &Connect::new(V5, "stranger")).1.reason_code() == 0x87;
        wait_for("the new setting", || refused().then_some(()));
        new.ping();
        let log = reconfigure(&broker, |text| without(&text, added), "listener renamed is closed");
        new.expect_disconnect(V5, 0x98);
        assert!(!log.contains("ERROR"), "{log}");
        stays.ping();
    }
}

#[test]
fn a_listener_that_cannot_be_opened_is_named_and_the_rest_applies() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::new([Transport::Tcp, Transport::Tcp]).start();
    let (kept, moved) = (broker.address(), broker.address_of(1));
    let mut client = Wire::connected(moved, &Connect::new(V5, "client"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_address = taken.local_addr().unwrap();
    let added = local(free_port());
    let change = |text: String| {
        let text = text.replace(&format!("\"{moved}\""), &format!("\"{taken_address}\""));
        format!("limits.client_id_length_max = 25\n{text}{}", listener(added, "name = \"added\""))
    };
    let log = reconfigure(&broker, change, "listener added is open");
    assert!(
        log.contains(&format!("listener {taken_address}: kept as it was: cannot listen at {taken_address}")),
        "{log}"
    );
    client.ping();
    assert!(accepts(moved, "old") && accepts(kept, "kept") && accepts(added, "added"));
    let mut long = Wire::open(kept);
    long.send(&Connect::new(V5, &"x".repeat(26)).bytes());
    assert_eq!(long.expect(CONNACK).reason_code(), 0x85);

    // The next reload tries it again.
    drop(taken);
    reload(&broker, &format!("listener {taken_address} is open"));
    client.expect_disconnect(V5, 0x98);
    wait_for("the moved listener", || accepts(taken_address, "moved").then_some(()));
    assert!(TcpStream::connect(moved).is_err());
}

#[test]
fn a_listener_moves_between_addresses_that_cannot_be_open_at_once() {
    if peer::is_chosen() {
        return;
    }
    for shards in ["1", "2"] {
        let broker = Setup::default().set("server.shards", shards).start();
        let address = broker.address();
        let all = format!("\":{}\"", address.port());
        let log = reconfigure(&broker, |text| text.replace(&format!("\"{address}\""), &all), "is closed");
        assert!(!log.contains("ERROR"), "{log}");
        wait_for("the listener", || TcpStream::connect(address).ok());
        assert!(accepts(address, "all"));
        let log = reconfigure(&broker, |text| text.replace(&all, &format!("\"{address}\"")), "is closed");
        assert!(!log.contains("ERROR"), "{log}");
        assert!(accepts(address, "one"));
    }
}

#[test]
fn a_listener_that_cannot_move_is_opened_again_where_it_was() {
    if peer::is_chosen() {
        return;
    }
    for shards in ["1", "2"] {
        let broker = Setup::default().set("server.shards", shards).start();
        let address = broker.address();
        let mut client = Wire::connected(address, &Connect::new(V5, "client"));
        let _taken = TcpListener::bind(("::1", address.port())).unwrap();
        let all = format!("\":{}\"", address.port());
        reconfigure(&broker, |text| text.replace(&format!("\"{address}\""), &all), "kept as it was");
        wait_for("the listener", || TcpStream::connect(address).ok());
        assert!(accepts(address, "as before"));
        client.ping();
    }
}

#[test]
fn a_listener_gets_other_certificates_and_the_clients_of_the_old_ones_are_judged_by_them() {
    if peer::is_chosen() {
        return;
    }
    let secured = Listener { client_certificates: true, ..Listener::new(Transport::Tls) };
    let mut setup = Setup::default();
    setup.listeners.push(secured);
    let broker = setup.start();
    let file = |name: &str| broker.file(name);
    let with = |ca: &str| {
        let certificates = [("--cafile", ca), ("--cert", "client.pem"), ("--key", "client.key")];
        let options = certificates.iter().flat_map(|(option, name)| [(*option).to_owned(), file(name)]);
        [broker.target_of(1), options.collect()].concat()
    };
    let publishes = |ca: &str| try_publish(&with(ca), &["-t", "t", "-q", "1", "-m", "x"], "").status.success();
    assert!(publishes("ca.pem"));
    // A certificate that can't be used keeps the listener as it is.
    let server = format!("{:?}", file("server.pem"));
    let missing = format!("{:?}", file("users.pem"));
    fs::write(file("users.pem"), "nothing").unwrap();
    let log = reconfigure(&broker, |text| text.replace(&server, &missing), "kept as it was");
    assert!(log.contains("users.pem"), "{log}");
    assert!(publishes("ca.pem"));
    // The list of revoked certificates is new: nobody has looked into one before.
    let revoked = format!("key = {:?}\ncrl = {:?}", file("server.key"), file("revoked.crl"));
    let key = format!("key = {:?}", file("server.key"));
    let change = |text: String| text.replace(&missing, &server).replace(&key, &revoked);
    reconfigure(&broker, change, "has other settings");
    wait_for("the list", || (!publishes("ca.pem")).then_some(()));
}

#[test]
fn limits_apply_to_new_connections_and_a_wrong_file_changes_nothing() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(Setup::default());
    let broker = setup.start();
    let original = fs::read_to_string(broker.path().join("oncemq.toml")).unwrap();
    let mut first = Wire::connected(broker.address(), &Connect::new(V5, "first"));
    let _second = Wire::connected(broker.address(), &Connect::new(V5, "second"));
    reconfigure(&broker, |_| format!("limits.connections_max = 2\n{original}"), "these settings have new values");
    let is_refused = || {
        let mut wire = Wire::open(broker.address());
        wire.send(&Connect::new(V5, "third").bytes());
        wire.receive(SILENCE) == Received::Closed
    };
    assert!(is_refused());
    first.ping();
    // Each of these is wrong, in its own way.
    for wrong in ["limits.connections_max = 0", "limits.conections_max = 9", "log.level = \"loud\"", "nonsense"] {
        let log = reconfigure(&broker, |_| format!("{wrong}\n{original}"), "reloaded the password file");
        assert!(log.contains("kept the previous configuration"), "{wrong}: {log}");
        assert!(!log.contains("new values"), "{wrong}: {log}");
        assert!(is_refused(), "{wrong}");
    }
    let needs_restart = format!("server.shards = 3\nlimits.connections_max = 9\n{original}");
    let log = reconfigure(&broker, |_| needs_restart, "these settings have new values");
    assert!(log.contains("need a restart: server.shards\n"), "{log}");
    assert!(accepts(broker.address(), "third"));

    let small = format!("limits.maximum_packet_size = \"1KiB\"\nlimits.receive_maximum = 1\n{original}");
    reconfigure(&broker, |_| small, "these settings have new values");
    first.publish(V5, "t", &"x".repeat(2_000));
    wait_for("the limit", || {
        let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "small"));
        wire.send(&V5.publish(0x32, "t", 1, &[0; 2_000]));
        (wire.expect_any().reason_code() == 0x95).then_some(())
    });
    first.ping();
    admin.wait_for("oncemq_connections", 2);
}

#[test]
fn anonymous_clients_that_are_not_allowed_any_more_leave() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let mut client = Wire::connected(broker.address(), &Connect::new(V5, "client"));
    let change = |text: String| text.replace("allow_anonymous = true", "allow_anonymous = false");
    reconfigure(&broker, change, "these settings have new values: security.allow_anonymous");
    client.expect_disconnect(V5, 0x87);
    assert_eq!(Wire::connect(broker.address(), &Connect::new(V5, "client")).1.reason_code(), 0x87);
}

#[test]
fn files_are_read_again_when_they_change_if_that_is_set() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = Setup::new([Transport::Tcp, Transport::Tls]).access("topic readwrite old/#\n");
    setup = setup.set("server.watch_files", "true");
    let broker = setup.start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "stays"));
    assert_eq!(wire.publish(V5, "new/x", ""), 0x87);
    fs::write(broker.path().join("access"), "nonsense\n").unwrap();
    wait_for("the error", || broker.log().contains("access:1: unknown keyword").then_some(()));
    fs::write(broker.path().join("access"), "topic readwrite new/#\n").unwrap();
    certificates::replace(broker.path());
    wait_for("the new rules", || (wire.publish(V5, "new/x", "") != 0x87).then_some(()));
    wait_for("the new certificate", || broker.log().contains("reloaded the certificates").then_some(()));
    let errors = broker.log().matches("access:1: unknown keyword").count();
    assert_eq!(errors, 1, "it is read once for each change");
    thread::sleep(Duration::from_secs(6));
    assert_eq!(broker.log().matches("reloaded the certificates").count(), 1);
}
