//! An MQTT client for tests.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec::client::{ServerDecoder, encode_client};
use crate::codec::{
    ClientPacket, Connect, EncodedUserProperties, OutgoingPublish, PacketId, ProtocolVersion, Publish, Qos, ReasonCode,
    ServerPacket, Subscribe, Subscription, SubscriptionOptions,
};
use crate::topic::{Filter, TopicName};

/// The protocol version of all test clients.
pub(super) const VERSION: ProtocolVersion = ProtocolVersion::V5;

/// A client that sends any packet and checks no rule of MQTT.
pub(super) struct Client<S> {
    pub(super) stream: S,
    read: BytesMut,
    decoder: ServerDecoder,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, read: BytesMut::new(), decoder: ServerDecoder::new(VERSION, u32::MAX, 0) }
    }

    /// Sends CONNECT. Returns the Reason Code of CONNACK as an error if it isn't success.
    pub(super) async fn connect(&mut self, connect: Connect) -> Result<(), ReasonCode> {
        self.send(&ClientPacket::Connect(Box::new(connect))).await;
        match self.receive().await {
            Some(ServerPacket::Connack(connack)) if connack.reason_code == ReasonCode::Success => Ok(()),
            Some(ServerPacket::Connack(connack)) => Err(connack.reason_code),
            other => panic!("not a CONNACK: {other:?}"),
        }
    }

    pub(super) async fn subscribe(&mut self, filter: &str, qos: Qos) {
        let filter = Filter::new(filter.to_owned().into()).unwrap();
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            subscription_id: None,
            user_properties: EncodedUserProperties::new(),
            subscriptions: vec![Subscription { filter, options: SubscriptionOptions::new(qos) }],
        };
        self.send(&ClientPacket::Subscribe(Box::new(subscribe))).await;
        assert!(matches!(self.receive().await, Some(ServerPacket::Suback(_))));
    }

    pub(super) async fn send(&mut self, packet: &ClientPacket) {
        self.stream.write_all(&encoded(packet)).await.unwrap();
    }

    /// The next packet, or `None` at the end of the stream.
    pub(super) async fn receive(&mut self) -> Option<ServerPacket> {
        loop {
            let mut bytes = self.read.split().freeze();
            let packet = self.decoder.decode(&mut bytes).unwrap();
            self.read = BytesMut::from(bytes);
            if packet.is_some() {
                return packet;
            }
            if self.stream.read_buf(&mut self.read).await.unwrap() == 0 {
                return None;
            }
        }
    }

    pub(super) async fn receive_publish(&mut self) -> OutgoingPublish {
        match self.receive().await {
            Some(ServerPacket::Publish(publish)) => publish,
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }
}

pub(super) fn encoded(packet: &ClientPacket) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_client(packet, VERSION, &mut bytes);
    bytes
}

/// A PUBLISH at QoS 0.
pub(super) fn publish(topic: &str, payload: impl Into<Bytes>) -> ClientPacket {
    ClientPacket::Publish(Publish::new(TopicName::new(topic.to_owned().into()).unwrap(), payload))
}
