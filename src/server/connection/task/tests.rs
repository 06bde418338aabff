use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::*;
use crate::auth::{self, Authenticator};
use crate::broker::{Detail, Shard, Shared};
use crate::codec::{
    AliasUse, Connect, Disconnect, Matched, Message, MessageProperties, OutgoingPublish, PacketId, ProtocolVersion,
    Qos, ReasonCode, ServerPacket, Will,
};
use crate::config::Config;
use crate::routing::ShardId;
use crate::server::clock::Clock;
use crate::server::memory::MemoryBudget;
use crate::server::settings;
use crate::server::shard::driver::Parts;
use crate::server::shard::mailbox::Mailbox;
use crate::server::shard::task::flush_receivers;
use crate::server::store::handle::StoreHandle;
use crate::server::test_client::{Client, VERSION, encoded, publish};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// A shard and its connections, without listeners and threads.
struct Broker {
    driver: Rc<RefCell<Driver>>,
}

impl Broker {
    fn new(config: &Config) -> Self {
        let mailboxes: Arc<[Mailbox]> = [Mailbox::new(16)].into();
        let authenticator = Authenticator::new(&config.security, &[], &[]).unwrap();
        let shared = Arc::new(Shared::new(1, settings::retained_limits(config, u64::MAX, 0)));
        let parts = Parts {
            memory: Arc::new(MemoryBudget::new(u64::MAX)),
            id: ShardId(0),
            shard: Shard::new(ShardId(0), Arc::new(settings::broker_settings(config)), Arc::clone(&shared), [1; 32]),
            shared,
            clock: Clock::start(Timestamp::default()),
            write_timeout: config.limits.write_timeout,
            authentication: Arc::new(auth::Pool::start(authenticator).unwrap()),
            bans: Arc::new(crate::server::bans::Bans::new(&config.bans)),
            mailboxes,
            store: StoreHandle::new(0, None, Arc::new(crate::broker::MessageCache::new(0)), mpsc::channel(1).0),
            restored: Vec::new(),
            orphans: Vec::new(),
            delayed: Vec::new(),
            traces: Arc::default(),
            detail: Detail::default(),
        };
        Self { driver: Rc::new(RefCell::new(Driver::new(parts))) }
    }

    /// A connection that has sent nothing, and its task.
    fn connect(&self) -> (Client<UnixStream>, JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = Box::new(Peer {
            is_local: true,
            address: None,
            listener: "test".into(),
            certificate_identity: None,
            client_ids: Default::default(),
            maximum_packet_size: 1 << 20,
            link: None,
        });
        let driver = Rc::clone(&self.driver);
        let task = spawn_local(async move {
            let mut connection = Connection::open(&driver, Stream::Unix(ours), peer).unwrap();
            let end = poll_fn(|cx| connection.poll(&driver, cx)).await;
            if let Some(closing) = connection.finish(&driver, end) {
                closing.await;
            }
        });
        (Client::new(theirs), task)
    }

    /// A connected client, and the task of its connection.
    async fn client(&self, name: &'static str) -> (Client<UnixStream>, JoinHandle<()>) {
        let (mut client, task) = self.connect();
        client.connect(Connect::new(VERSION, name, true)).await.unwrap();
        (client, task)
    }

    async fn subscriber(&self, name: &'static str, filter: &str) -> (Client<UnixStream>, JoinHandle<()>) {
        let (mut client, task) = self.client(name).await;
        client.subscribe(filter, Qos::AtMostOnce).await;
        (client, task)
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(20), test).await.expect("in time") });
}

#[test]
fn packets_are_delivered_for_any_fragmentation() {
    run(async {
        let broker = Broker::new(&Config::default());
        let (mut subscriber, _task) = broker.subscriber("s", "a/#").await;
        let (mut publisher, _publisher) = broker.client("p").await;
        // Small packets, one that is copied, one larger than any read, and consecutive large ones.
        let lengths =
            [0, 1, 100, 20_000, 3, 40_000, 400_000, 7, 70_000, 70_000, 70_001, 65_536, 90_000, 20, 33_000, 33_000, 3];
        let payloads = lengths.map(|length| (0..length).map(|index| (index % 251) as u8).collect::<Vec<_>>());
        let all = payloads.iter().map(|payload| encoded(&publish("a/b", payload.clone())).to_vec());
        let all = all.collect::<Vec<_>>().concat();
        for step in [1_000_000, 70_000, 30_011, 4_093] {
            let expected = payloads.clone();
            let received = async {
                for payload in &expected {
                    assert_eq!(&subscriber.receive_publish().await.message.payload, payload);
                }
            };
            let sent = async {
                for part in all.chunks(step) {
                    publisher.stream.write_all(part).await.unwrap();
                    yield_now().await;
                }
            };
            tokio::join!(sent, received);
        }
    });
}

#[test]
fn a_client_that_closes_in_the_middle_of_a_packet_is_removed() {
    run(async {
        let broker = Broker::new(&Config::default());
        let (mut client, task) = broker.client("partial").await;
        let header = encoded(&publish("a", vec![0; 1_000_000]))[..40_000].to_vec();
        client.stream.write_all(&header).await.unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!task.is_finished());
        drop(client.stream);
        task.await.unwrap();
        assert!(broker.driver.borrow().connections.ids().is_empty());
    });
}

#[test]
fn mqtt5_4_13_1_1_a_malformed_packet_is_answered_by_disconnect_before_the_close() {
    run(async {
        let broker = Broker::new(&Config::default());
        let (mut client, _task) = broker.client("broken").await;
        // A PUBLISH at QoS 3, followed by bytes that the broker doesn't decode.
        client.stream.write_all(&[0x36, 3, 0, 1, b'a']).await.unwrap();
        client.stream.write_all(&[0; 100_000]).await.unwrap();
        assert!(matches!(client.receive().await, Some(ServerPacket::Disconnect(_))));
        assert_eq!(client.receive().await, None);
    });
}

#[test]
fn mqtt5_3_14_4_2_a_client_that_sent_disconnect_receives_all_earlier_output_before_the_close() {
    run(async {
        let broker = Broker::new(&Config::default());
        let (mut client, task) = broker.client("with output").await;
        let mut last = encoded(&ClientPacket::Pingreq);
        last.extend_from_slice(&encoded(&ClientPacket::Disconnect(Box::new(Disconnect::new(
            ReasonCode::NormalDisconnection,
        )))));
        client.stream.write_all(&last).await.unwrap();
        assert_eq!(client.receive().await, Some(ServerPacket::Pingresp));
        assert_eq!(client.receive().await, None);
        task.await.unwrap();

        let (mut client, task) = broker.client("without output").await;
        client.send(&ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection)))).await;
        task.await.unwrap();
        assert_eq!(client.receive().await, None);
    });
}

#[test]
fn a_receiver_that_reads_nothing_is_closed_after_the_write_timeout_and_others_are_served() {
    run(async {
        let mut config = Config::default();
        config.limits.write_timeout = Duration::from_millis(50);
        config.limits.slow_receiver_grace = Duration::from_millis(10);
        let broker = Broker::new(&config);
        let (_stuck, task) = broker.subscriber("stuck", "#").await;
        let (mut reader, _reader) = broker.subscriber("reader", "#").await;
        let (mut publisher, _publisher) = broker.client("p").await;
        let flow = async {
            loop {
                publisher.send(&publish("a", vec![1; 100_000])).await;
                reader.receive_publish().await;
            }
        };
        let swept = async {
            while !task.is_finished() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert!(broker.driver.borrow_mut().poll_deadline(std::task::Waker::noop()).is_some());
                broker.driver.borrow_mut().sweep();
            }
        };
        tokio::select! {
            () = flow => {}
            () = swept => {}
        }
        assert_eq!(broker.driver.borrow().snapshot(Duration::ZERO).traffic.write_timeouts, 1);
    });
}

#[test]
fn packets_that_were_sent_before_the_client_closed_without_reading_are_handled() {
    run(async {
        let broker = Broker::new(&Config::default());
        let (mut watcher, _watcher) = broker.subscriber("watcher", "#").await;
        let (mut other, _other) = broker.client("other").await;
        let (mut client, task) = broker.connect();
        let mut connect = Connect::new(VERSION, "client", true);
        connect.will = Some(Will {
            topic: TopicName::new("will".into()).unwrap(),
            payload: "will".into(),
            qos: Qos::AtMostOnce,
            retain: false,
            will_delay_interval: 0,
            message_expiry_interval: None,
            properties: MessageProperties::default(),
        });
        client.connect(connect).await.unwrap();
        client.subscribe("other", Qos::AtMostOnce).await;
        let mut last: Vec<u8> = (0..1_000).flat_map(|_| encoded(&publish("last", vec![0; 100])).to_vec()).collect();
        last.extend(encoded(&ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection)))));
        // The message of the other client makes the first write fail.
        other.stream.try_write(&encoded(&publish("other", "x"))).unwrap();
        assert_eq!(client.stream.try_write(&last).unwrap(), last.len());
        drop(client.stream);
        let mut received = 0;
        while received < 1_001 {
            let publish = watcher.receive_publish().await;
            assert_ne!(publish.message.topic.as_str(), "will");
            received += 1;
        }
        task.await.unwrap();
        other.send(&publish("end", "")).await;
        assert_eq!(watcher.receive_publish().await.message.topic.as_str(), "end", "no Will");
    });
}

#[test]
fn more_receivers_than_a_turn_wakes_get_its_messages_in_order() {
    run(async {
        let broker = Broker::new(&Config::default());
        spawn_local(flush_receivers(Rc::clone(&broker.driver)));
        let mut subscribers = Vec::new();
        for _ in 0..100 {
            subscribers.push(broker.subscriber("", "t").await);
        }
        let (mut publisher, _publisher) = broker.client("p").await;
        for number in 0..300_u32 {
            publisher.send(&publish("t", number.to_be_bytes().to_vec())).await;
        }
        for (subscriber, _task) in &mut subscribers {
            for number in 0..300_u32 {
                assert_eq!(subscriber.receive_publish().await.message.payload[..], number.to_be_bytes());
            }
        }
    });
}

#[test]
fn one_publish_is_the_same_for_all_receivers_but_for_its_packet_identifier() {
    let topic = crate::topic::TopicName::new("a/b".into()).unwrap();
    for length in [5, 300, 5_000] {
        let message = Arc::new(Message::new(topic.clone(), vec![7; length]));
        let mut encoder = crate::server::connection::publish_encoder::PublishEncoder::default();
        let mut pool = crate::server::connection::outgoing::BufferPool::default();
        let mut variants = Vec::new();
        for (qos, dup, retain, expiry) in [
            (Qos::AtMostOnce, false, false, None),
            (Qos::AtLeastOnce, false, false, None),
            (Qos::AtLeastOnce, true, false, None),
            (Qos::ExactlyOnce, false, true, Some(9)),
        ] {
            for packet_id in [1, 2, 0x1234] {
                let mut publish = OutgoingPublish::new(Arc::clone(&message));
                publish.qos = qos;
                publish.dup = dup;
                publish.retain = retain;
                publish.message_expiry_interval = expiry;
                publish.packet_id = PacketId::new(packet_id).filter(|_| qos != Qos::AtMostOnce);
                variants.push(publish.clone());
                publish.matched = Matched::new([3.try_into().unwrap()].into_iter().collect(), None);
                publish.topic_alias = Some((1.try_into().unwrap(), AliasUse::Set));
                variants.push(publish);
            }
        }
        for version in [ProtocolVersion::V5, ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
            for publish in &variants {
                let mut outgoing = Outgoing::default();
                encoder.append(publish.clone(), version, &mut outgoing, &mut pool);
                let mut expected = BytesMut::new();
                publish.encode(version, &mut expected);
                assert_eq!(outgoing.contents(), expected, "{publish:?} in {version:?}");
            }
        }
    }
}
