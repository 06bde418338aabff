//! TLS: whom a bridge trusts, and who it is.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use wire::free_port;

use crate::certificates;
use crate::client::Client;
use crate::node::{Kind, Node};
use crate::passing::bridge;

/// A broker with an encrypted listener, with these settings of TLS, and its URL.
fn encrypted(settings: &str) -> (Node, String, String) {
    let mut there = Node::new(Kind::Oncemq);
    certificates::write(there.path());
    let (port, path) = (free_port(), there.path().display().to_string());
    let files = format!("certificate = \"{path}/server.pem\"\nkey = \"{path}/server.key\"");
    let settings = settings.replace("PATH", &path);
    there.configure(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:{port}\"\ntransport = \"tls\"\n[listeners.tls]\n{files}\n{settings}\n"
    ));
    there.start();
    (there, format!("mqtts://localhost:{port}"), path)
}

#[test]
fn a_bridge_presents_its_certificate() {
    let required = "client_ca = \"PATH/ca.pem\"\nclient_certificate = \"required\"";
    let (there, url, path) = encrypted(required);
    let with = |name: &str| {
        let identity = format!("certificate = \"{path}/{name}.pem\"\nkey = \"{path}/{name}.key\"");
        bridge(&url, &format!("ca = \"{path}/ca.pem\"\n{identity}"), &["filter = \"a\""])
    };
    let without = bridge(&url, &format!("ca = \"{path}/ca.pem\""), &["filter = \"a\""]);
    for (refused, reason) in
        [(without, "CertificateRequired"), (with("stranger"), "DecryptError"), (with("expired"), "Expired")]
    {
        let here = Node::started(Kind::Oncemq, &refused);
        here.wait_for_log("bridge_failed");
        assert!(here.log().contains(reason) || here.log().contains("UnknownCA"), "{reason}: {}", here.log());
    }
    let here = Node::started(Kind::Oncemq, &with("client"));
    here.wait_for_log("bridge_connected");
    let mut at_there = Client::subscribed(there.address, "at-there", "a");
    Client::new(here.address, "publisher").publish_now("a", "x", 2, false);
    at_there.expect(&["a x 2"]);
}

#[test]
fn a_bridge_trusts_authorities_and_the_certificate_of_the_broker_itself() {
    let (_there, url, path) = encrypted("");
    for trusted in ["ca", "server"] {
        let here =
            Node::started(Kind::Oncemq, &bridge(&url, &format!("ca = \"{path}/{trusted}.pem\""), &["filter = \"a\""]));
        here.wait_for_log("bridge_connected");
    }
    for stranger in ["stranger-ca", "stranger", "client"] {
        let here =
            Node::started(Kind::Oncemq, &bridge(&url, &format!("ca = \"{path}/{stranger}.pem\""), &["filter = \"a\""]));
        here.wait_for_log("bridge_failed");
        assert!(here.log().contains("UnknownIssuer"), "{stranger}: {}", here.log());
    }
}

#[test]
fn a_bridge_asks_for_its_protocol_by_alpn() {
    for (settings, expected) in [("alpn = \"x-amzn-mqtt-ca\"\n", Some(b"x-amzn-mqtt-ca".as_slice())), ("", None)] {
        let directory = tempfile::tempdir().unwrap();
        certificates::write(directory.path());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtts://localhost:{}", listener.local_addr().unwrap().port());
        let settings = format!("{settings}ca = \"{}/ca.pem\"", directory.path().display());
        let _here = Node::started(Kind::Oncemq, &bridge(&url, &settings, &["filter = \"a\""]));
        let mut config = ServerConfig::clone(&certificates::server_config(directory.path()));
        config.alpn_protocols = vec![b"mqtt".to_vec(), b"x-amzn-mqtt-ca".to_vec()];
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        assert_eq!((first[0], stream.conn.alpn_protocol()), (wire::CONNECT, expected));
    }
}
