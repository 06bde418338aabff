use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{sleep, timeout};

use crate::codec::{ClientPacket, PacketId, ProtocolVersion, Publish, Qos, ServerPacket};
use crate::config::{Config, Durability, Listener};
use crate::server::own_client::Kind;
use crate::server::packet_link::{PacketLink, Reading};
use crate::server::{Server, SinkFigures};
use crate::sink::Counts;
use crate::topic::TopicName;

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.expect("in time") });
}

fn server(port: u16) -> Server {
    let mut config = Config { listeners: vec![Listener::new("127.0.0.1:0".parse().unwrap())], ..Config::default() };
    config.server.durability = Durability::None;
    config.server.shards = 2;
    let sink = format!(
        "name = 'a'\ntype = 'webhook'\nfilters = ['a/#']\nurl = 'http://127.0.0.1:{port}/secret'\n\
         allow_private_addresses = true\nretry_min = '20ms'\nretry_max = '20ms'\nretries_max = 2\n"
    );
    config.sinks.push(toml::from_str(&sink).unwrap());
    Server::start(config).unwrap()
}

async fn figures(server: &Server, is_expected: impl Fn(&SinkFigures) -> bool) -> SinkFigures {
    loop {
        let figures = server.status().sinks().pop().unwrap();
        if is_expected(&figures) {
            return figures;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes a message at QoS 1.
async fn publish(server: &mut Server, topic: &str) {
    let stream = server.own_clients().connect(Kind::Bridge, "b", "b").unwrap();
    let mut link = PacketLink::new(stream, ProtocolVersion::V5, u32::MAX);
    link.send(&ClientPacket::Connect(Box::new(Kind::Bridge.connect_packet("b"))));
    let topic = TopicName::new(topic.to_owned().into()).unwrap();
    let packet_id = PacketId::new(1);
    link.send(&ClientPacket::Publish(Publish { qos: Qos::AtLeastOnce, packet_id, ..Publish::new(topic, "x") }));
    loop {
        match link.next_packet().unwrap() {
            Some(ServerPacket::Puback(ack)) => return assert!(!ack.reason_code.is_error()),
            Some(_) => {}
            None => link.step(Reading::On).await.unwrap(),
        }
    }
}

/// Answers a request of a connection.
async fn answer(listener: &TcpListener, status: u16) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = [0; 4_096];
    assert!(stream.read(&mut bytes).await.unwrap() > 0);
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

#[test]
fn figures_say_what_a_sink_does_and_how_it_is() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = server(port);
        assert!(server.status().sinks().is_empty());
        server.apply_sinks().await;
        let new = figures(&server, |figures| figures.connected_since.is_some()).await;
        assert_eq!((&*new.name, &*new.endpoint), ("a", &*format!("http://127.0.0.1:{port}")));
        assert_eq!((new.counts, new.failing_since, new.reason, new.held), (Counts::default(), None, None, 0));
        // The sink subscribes when it is connected.
        sleep(Duration::from_millis(100)).await;
        publish(&mut server, "a/1").await;
        answer(&listener, 503).await;
        let failing = figures(&server, |figures| figures.failing_since.is_some()).await;
        assert_eq!((failing.last_status, failing.reason.as_deref()), (Some(503), Some("the answer is 503")));
        assert_eq!((failing.held, failing.last_success), (1, None));
        answer(&listener, 200).await;
        let well = figures(&server, |figures| figures.counts.delivered == 1).await;
        let expected = Counts { delivered: 1, batches: 1, retries: 1, ..Counts::default() };
        assert_eq!((well.counts, well.failing_since, well.reason), (expected, None, None));
        assert_eq!((well.answered, well.unanswered, well.latency.count(), well.last_status), (2, 0, 2, Some(200)));
        assert!(well.last_success.is_some());
        drop(listener);
        publish(&mut server, "a/2").await;
        let lost = figures(&server, |figures| figures.counts.dropped == 1).await;
        assert_eq!((lost.last_status, lost.unanswered, lost.held), (None, 3, 0));
        assert!(lost.failing_since.is_some() && lost.reason.is_some());
        // What was counted goes on after a reload.
        server.config.sinks[0].timeout = Duration::from_secs(3);
        server.apply_sinks().await;
        let again = figures(&server, |figures| figures.connected_since.is_some()).await;
        assert_eq!(again.counts, lost.counts);
        server.config.sinks[0].headers_file = Some("/does/not/exist".into());
        server.apply_sinks().await;
        assert!(figures(&server, |_| true).await.unavailable.unwrap().starts_with("headers_file "));
        server.stop_sinks().await;
        figures(&server, |figures| figures.connected_since.is_none()).await;
    });
}
