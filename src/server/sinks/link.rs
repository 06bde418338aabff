//! The connection of a sink to its Session.

use std::num::NonZeroU16;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::plan::Plan;
use crate::codec::{
    ClientPacket, Connack, Disconnect, EncodedUserProperties, PacketId, ProtocolVersion, Qos, ReasonCode,
    RetainHandling, ServerPacket, Subscribe, Subscription, SubscriptionOptions, Unsubscribe,
};
use crate::server::own_client::{Kind, OwnClients};
use crate::server::packet_link::{LinkError, PacketLink, Reading};
use crate::topic::Filter;

/// A connection of which the Session is resumed or new.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) packets: PacketLink<UnixStream>,
    /// The PUBLISH packets of ours that may be unacknowledged.
    pub(super) receive_maximum: u16,
    /// The highest QoS of ours.
    pub(super) maximum_qos: Qos,
    /// What one of ours may have in bytes.
    pub(super) maximum_packet_size: usize,
}

/// Why a sink has no Session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSession {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Transport(#[from] std::io::Error),
    #[error("its Session belongs to another user")]
    OfAnother,
    #[error("its CONNECT was refused: {}", in_words(*.0, .1.as_deref()))]
    Refused(ReasonCode, Option<String>),
    #[error("the broker ended its connection: {}", in_words(*.0, .1.as_deref()))]
    Ended(ReasonCode, Option<String>),
    #[error("the broker does not answer")]
    Silent,
}

impl Link {
    /// Connects the sink with this name and user. `receive_maximum` bounds what the Session sends before it is acknowledged.
    pub(super) async fn connect(
        clients: &OwnClients,
        (name, user): (&str, &str),
        receive_maximum: NonZeroU16,
    ) -> Result<Self, NoSession> {
        let mut packets = PacketLink::new(clients.connect(Kind::Sink, name, user)?, VERSION, u32::MAX);
        let mut connect = Kind::Sink.connect_packet(name);
        connect.properties.receive_maximum = receive_maximum;
        packets.send(&ClientPacket::Connect(Box::new(connect)));
        let connack = timeout(CONNECT_TIMEOUT, connack(&mut packets)).await.map_err(|_| NoSession::Silent)??;
        let properties = connack.properties;
        let code = connack.reason_code;
        if code == ReasonCode::ClientIdentifierNotValid {
            return Err(NoSession::OfAnother);
        }
        if code.is_error() {
            return Err(NoSession::Refused(code, properties.reason_string.as_deref().map(str::to_owned)));
        }
        Ok(Self {
            packets,
            receive_maximum: properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get),
            maximum_qos: properties.maximum_qos,
            maximum_packet_size: properties.maximum_packet_size.map_or(usize::MAX, |size| size.get() as usize),
        })
    }

    /// Sends SUBSCRIBE for all filters, and UNSUBSCRIBE for those that the Session has besides. Retained messages are not sent: a sink gets
    /// what is published from then on.
    pub(super) fn subscribe(&mut self, plan: &Plan, others: Vec<Filter>) {
        let options = SubscriptionOptions {
            qos: plan.settings.qos,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        let filters = plan.settings.filters.iter();
        let filters = filters.filter_map(|filter| Filter::new(filter.as_str().into()).ok());
        let subscribe = Subscribe {
            packet_id: SUBSCRIBE_ID,
            subscription_id: None,
            user_properties: [("message-id", "true")].into_iter().collect(),
            subscriptions: filters.map(|filter| Subscription { filter, options }).collect(),
        };
        self.packets.send(&ClientPacket::Subscribe(Box::new(subscribe)));
        if !others.is_empty() {
            let user_properties = EncodedUserProperties::new();
            let unsubscribe = Unsubscribe { packet_id: UNSUBSCRIBE_ID, user_properties, filters: others };
            self.packets.send(&ClientPacket::Unsubscribe(Box::new(unsubscribe)));
        }
    }

    /// Ends the connection. With an interval in seconds, the Session ends after that.
    pub(super) async fn finish(mut self, session_expiry_interval: Option<u32>) {
        let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
        disconnect.session_expiry_interval = session_expiry_interval;
        self.packets.send(&ClientPacket::Disconnect(Box::new(disconnect)));
        // The broker may be stopping.
        let _finished_or_not = timeout(FINISH_TIMEOUT, self.packets.finish()).await;
    }
}

async fn connack(packets: &mut PacketLink<UnixStream>) -> Result<Connack, NoSession> {
    loop {
        match packets.next_packet()? {
            Some(ServerPacket::Connack(connack)) => return Ok(*connack),
            Some(ServerPacket::Disconnect(end)) => return Err(ended(&end)),
            Some(_) => {}
            None => packets.step(Reading::On).await?,
        }
    }
}

/// The broker has ended the connection.
pub(super) fn ended(end: &Disconnect) -> NoSession {
    NoSession::Ended(end.reason_code, end.reason_string.as_deref().map(str::to_owned))
}

/// A Reason Code with the sentence of the broker, if it sent one.
pub(super) fn in_words(code: ReasonCode, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{code} (0x{:02X}): {reason}", code.number()),
        None => format!("{code} (0x{:02X})", code.number()),
    }
}

/// It has User Properties and reasons.
const VERSION: ProtocolVersion = ProtocolVersion::V5;
/// Those of SUBSCRIBE and UNSUBSCRIBE; dead letters have others.
const SUBSCRIBE_ID: PacketId = PacketId(NonZeroU16::MAX);
const UNSUBSCRIBE_ID: PacketId = PacketId(NonZeroU16::new(u16::MAX - 1).unwrap());
/// The store may be reading the queue of the Session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the last acknowledgements.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);
