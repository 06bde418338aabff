//! A client for single exchanges: it sends a packet and waits for another.

use std::net::SocketAddr;
use std::time::Duration;

use oncemq::codec::{
    Ack, ClientPacket, Connack, Connect, EncodedUserProperties, OutgoingPublish, PacketId, ProtocolVersion, Publish,
    Qos, ReasonCode, ServerPacket, Suback, Subscribe, Subscription, SubscriptionOptions,
};
use oncemq::topic::{Filter, TopicName};
use tokio::time::Instant;

use super::link::{Link, LinkError, PATIENCE};

/// What went wrong, in words.
pub(super) type Outcome<T = ()> = Result<T, String>;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) link: Link,
    pub(super) connack: Connack,
    next_id: u16,
}

/// A CONNECT.
pub(super) fn connect(version: ProtocolVersion, client_id: &str, session: Session) -> Connect {
    let mut connect = Connect::new(version, client_id.to_owned(), session != Session::Resumed);
    let is_kept = session != Session::Transient;
    if version.has_properties() {
        connect.properties.session_expiry_interval = if is_kept { 3_600 } else { 0 };
    }
    connect
}

/// Which Session a CONNECT asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// Ends with the connection.
    Transient,
    /// New, and kept; in 3.1.1 Clean Session is 1, so it ends with the connection.
    New,
    /// The one that there is, kept; a new one if there is none.
    Resumed,
}

impl Client {
    pub(super) fn open(address: SocketAddr, connect: &Connect) -> Outcome<Self> {
        let (link, connack) = Link::connect(address, connect).map_err(words)?;
        Ok(Self { link, connack, next_id: 1 })
    }

    /// A connection on which no CONNACK was received.
    pub(super) fn without_connack(link: Link) -> Self {
        Self { link, connack: Connack::refused(ReasonCode::UnspecifiedError), next_id: 1 }
    }

    /// Connects and asserts that CONNACK accepts.
    pub(super) fn accepted(address: SocketAddr, connect: &Connect) -> Outcome<Self> {
        let client = Self::open(address, connect)?;
        let reason_code = client.connack.reason_code;
        if reason_code == ReasonCode::Success { Ok(client) } else { Err(format!("CONNECT was refused: {reason_code}")) }
    }

    pub(super) fn send(&mut self, packet: &ClientPacket) -> Outcome {
        self.link.send(packet);
        self.link.flush().map_err(words)
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.link.send_bytes(bytes);
        self.link.flush().map_err(words)
    }

    /// The next packet.
    pub(super) fn next(&mut self, expected: &str) -> Outcome<ServerPacket> {
        match self.link.receive(Instant::now() + PATIENCE).map_err(|error| format!("expected {expected}: {error}"))? {
            Some(packet) => Ok(packet),
            None => Err(format!("expected {expected}, and nothing came")),
        }
    }

    /// The next packet, a PUBLISH.
    pub(super) fn publish(&mut self) -> Outcome<OutgoingPublish> {
        let packet = self.next("PUBLISH")?;
        if let ServerPacket::Publish(publish) = packet {
            return Ok(publish);
        }
        Err(format!("expected PUBLISH, and {packet:?} came"))
    }

    /// The next packet, a PUBLISH with this payload, which is acknowledged.
    pub(super) fn message(&mut self, payload: &str) -> Outcome<OutgoingPublish> {
        let publish = self.publish()?;
        if publish.message.payload != payload.as_bytes() {
            return Err(format!("expected the message {payload:?}, and {:?} came", publish.message.payload));
        }
        match (publish.qos, publish.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => self.send(&ClientPacket::Puback(Ack::new(id, ReasonCode::Success)))?,
            (Qos::ExactlyOnce, Some(id)) => {
                self.send(&ClientPacket::Pubrec(Ack::new(id, ReasonCode::Success)))?;
                self.expect("PUBREL", |packet| matches!(packet, ServerPacket::Pubrel(ack) if ack.packet_id == id))?;
                self.send(&ClientPacket::Pubcomp(Ack::new(id, ReasonCode::Success)))?;
            }
            _ => {}
        }
        Ok(publish)
    }

    pub(super) fn expect(&mut self, expected: &str, is_it: impl Fn(&ServerPacket) -> bool) -> Outcome<ServerPacket> {
        let packet = self.next(expected)?;
        if is_it(&packet) { Ok(packet) } else { Err(format!("expected {expected}, and {packet:?} came")) }
    }

    /// Asserts that nothing comes for a while.
    pub(super) fn expect_nothing(&mut self) -> Outcome {
        match self.link.receive(Instant::now() + SILENCE).map_err(words)? {
            None => Ok(()),
            Some(packet) => Err(format!("nothing may come, and {packet:?} did")),
        }
    }

    /// Asserts that the connection is closed, before which DISCONNECT may come. Returns its Reason Code.
    pub(super) fn expect_close(&mut self) -> Outcome<Option<ReasonCode>> {
        self.expect_close_within(PATIENCE)
    }

    pub(super) fn expect_close_within(&mut self, limit: Duration) -> Outcome<Option<ReasonCode>> {
        let until = Instant::now() + limit;
        let mut reason_code = None;
        loop {
            match self.link.receive(until) {
                Err(LinkError::Closed(_)) => return Ok(reason_code),
                Ok(Some(ServerPacket::Disconnect(disconnect))) => reason_code = Some(disconnect.reason_code),
                Ok(Some(packet)) => return Err(format!("the connection must be closed, and {packet:?} came")),
                Ok(None) => return Err("the connection was not closed".to_owned()),
                Err(error) => return Err(words(error)),
            }
        }
    }

    pub(super) fn packet_id(&mut self) -> PacketId {
        self.next_id = self.next_id % 60_000 + 1;
        PacketId::new(self.next_id).unwrap_or(PacketId(std::num::NonZeroU16::MIN))
    }

    /// Subscribes and returns the SUBACK.
    pub(super) fn subscribe(&mut self, filters: &[(&str, Qos)]) -> Outcome<Suback> {
        let options: Vec<_> = filters.iter().map(|(filter, qos)| (*filter, SubscriptionOptions::new(*qos))).collect();
        self.subscribe_with(&options, None)
    }

    pub(super) fn subscribe_with(
        &mut self,
        filters: &[(&str, SubscriptionOptions)],
        subscription_id: Option<std::num::NonZeroU32>,
    ) -> Outcome<Suback> {
        let mut subscriptions = Vec::new();
        for (text, options) in filters {
            let filter = Filter::try_from(*text).map_err(|error| error.to_string())?;
            subscriptions.push(Subscription { filter, options: *options });
        }
        let packet_id = self.packet_id();
        let user_properties = EncodedUserProperties::new();
        let subscribe = Subscribe { packet_id, subscription_id, user_properties, subscriptions };
        self.send(&ClientPacket::Subscribe(Box::new(subscribe)))?;
        let packet = self.next("SUBACK")?;
        if let ServerPacket::Suback(suback) = packet {
            let is_ours = suback.packet_id == packet_id;
            return if is_ours { Ok(*suback) } else { Err(format!("SUBACK has another identifier: {suback:?}")) };
        }
        Err(format!("expected SUBACK, and {packet:?} came"))
    }

    /// A PUBLISH with the next Packet Identifier, not sent.
    pub(super) fn compose(&mut self, topic: &str, payload: &str, qos: Qos) -> Outcome<Publish> {
        let topic = TopicName::new(topic.to_owned().into()).map_err(|error| error.to_string())?;
        let packet_id = (qos > Qos::AtMostOnce).then(|| self.packet_id());
        Ok(Publish { qos, packet_id, ..Publish::new(topic, payload.to_owned()) })
    }

    /// Publishes and completes the exchange.
    pub(super) fn put(&mut self, topic: &str, payload: &str, qos: Qos) -> Outcome {
        let publish = self.compose(topic, payload, qos)?;
        self.put_packet(publish)
    }

    pub(super) fn put_packet(&mut self, publish: Publish) -> Outcome {
        let (qos, id) = (publish.qos, publish.packet_id);
        self.send(&ClientPacket::Publish(publish))?;
        let Some(id) = id else { return Ok(()) };
        let is_good = |ack: &Ack| ack.packet_id == id && !ack.reason_code.is_error();
        if qos == Qos::AtLeastOnce {
            self.expect("PUBACK", |packet| matches!(packet, ServerPacket::Puback(ack) if is_good(ack)))?;
            return Ok(());
        }
        self.expect("PUBREC", |packet| matches!(packet, ServerPacket::Pubrec(ack) if is_good(ack)))?;
        self.send(&ClientPacket::Pubrel(Ack::new(id, ReasonCode::Success)))?;
        self.expect("PUBCOMP", |packet| matches!(packet, ServerPacket::Pubcomp(ack) if is_good(ack)))?;
        Ok(())
    }
}

pub(super) fn words(error: LinkError) -> String {
    error.to_string()
}

/// Long enough for what a broker sends at once.
const SILENCE: Duration = Duration::from_millis(120);
