use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Recovery, RestoredMessage};
use crate::codec::{ClientPacket, MessageId, ServerPacket};

fn subscribe_with_identity(filter: &str) -> ClientPacket {
    let ClientPacket::Subscribe(mut subscribe) = subscribe(filter, Q2) else { panic!() };
    subscribe.user_properties = [("message-id", "true")].into_iter().collect();
    ClientPacket::Subscribe(subscribe)
}

fn identities(harness: &mut Harness, client: Client) -> Vec<Option<MessageId>> {
    let identity = |packet: ServerPacket| {
        let ServerPacket::Publish(publish) = packet else { return None };
        Some(publish.message.id.filter(|_| publish.message_id))
    };
    harness.packets(client).into_iter().filter_map(identity).collect()
}

#[test]
fn identity_of_a_message_is_sent_only_on_request() {
    let mut harness = Harness::new();
    let asks = harness.connect(durable("a"));
    let other = harness.connect(transient("b"));
    harness.run(asks, [subscribe_with_identity("t")]);
    harness.run(other, [subscribe("t", Q2)]);
    harness.run(other, [publish("t", "0", Q0, 0), publish("t", "1", Q1, 1), publish("t", "2", Q2, 2)]);
    let got = identities(&mut harness, asks);
    assert_eq!(got[0], None, "QoS 0 has none");
    assert!(got[1].is_some() && got[2].is_some() && got[1] != got[2]);
    harness.run(other, []);
    assert_eq!(identities(&mut harness, other), [None; 0]);
}

#[test]
fn identity_is_the_same_for_every_receiver_and_resend_and_after_a_restart() {
    let mut harness = Harness::new();
    let first = harness.connect(durable("a"));
    let second = harness.connect(durable("b"));
    for client in [first, second] {
        harness.run(client, [subscribe_with_identity("t")]);
    }
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    let identity = identities(&mut harness, first);
    assert!(identity[0].is_some());
    assert_eq!(identities(&mut harness, second), identity);
    harness.lose(first);
    let first = harness.connect(durable("a"));
    assert_eq!(identities(&mut harness, first), identity, "resent");
    let mut recovery = Recovery::default();
    for record in &harness.records {
        let bytes = record.to_bytes();
        recovery.apply(&bytes.body, (&bytes.puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
    }
    for session in recovery.finish().sessions {
        assert!(session.message_ids);
        assert!(matches!(session.queue.get(&1), Some(RestoredMessage::Queued { .. })));
    }
    harness.restart(settings());
    for client in ["a", "b"] {
        let client = harness.connect(durable(client));
        assert_eq!(identities(&mut harness, client), identity, "resent after a restart");
    }
}

#[test]
fn retained_message_has_the_identity_it_was_accepted_with() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe_with_identity("t")]);
    harness.send(client, retain("t", "x", Q1, 1));
    let identity = identities(&mut harness, client);
    let late = harness.connect(transient("b"));
    harness.send(late, subscribe_with_identity("t"));
    assert_eq!(identities(&mut harness, late), identity);
}

#[test]
fn identities_of_two_shards_differ() {
    let mut harness = Harness::with(2, super::harness::settings());
    let reader = harness.connect(transient("r"));
    harness.run(reader, [subscribe_with_identity("t")]);
    for shard in 0..2 {
        let publisher = harness.connect_to(shard, transient(["p", "q"][shard]));
        harness.run(publisher, [publish("t", "x", Q1, 1)]);
    }
    let got = identities(&mut harness, reader);
    assert_eq!(got.len(), 2);
    assert_ne!(got[0], got[1]);
}

#[test]
fn identity_is_a_user_property_on_the_wire() {
    use crate::codec::{Message, OutgoingPublish, ProtocolVersion};
    let id = MessageId { run: 1, number: 2 };
    let message = Message { id: Some(id), ..Message::new(topic("t"), "x") };
    let publish = OutgoingPublish { message_id: true, ..OutgoingPublish::new(std::sync::Arc::new(message)) };
    let mut bytes = bytes::BytesMut::new();
    publish.encode(ProtocolVersion::V5, &mut bytes);
    assert_eq!(bytes.len(), publish.encoded_len(ProtocolVersion::V5));
    let wanted = b"\x26\0\x0Amessage-id\0\x210000000000000001-0000000000000002x";
    assert!(bytes.ends_with(wanted), "{bytes:?}");
}
