use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::alias::{InboundAliases, OutboundAliases};
use super::limits::Limits;
use crate::codec::{AnswerTerms, Matched, OutgoingPublish, ProtocolVersion, Qos, ServerPacket};
use crate::topic::MountPoint;

/// A Session's view of its Network Connection: negotiated values, and state that ends with it.
#[derive(Debug)]
pub struct Link {
    /// The version of the client.
    pub version: ProtocolVersion,
    /// Maximum number of unacknowledged PUBLISH packets at QoS 1 and 2 to the client: the lower of its Receive Maximum
    /// and our limit.
    pub send_maximum: NonZeroU16,
    /// The client's Maximum Packet Size in bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Whether acknowledgements may have a Reason String. [MQTT-3.1.2-29]
    pub request_problem_information: bool,
    /// What is taken away from topics before they are sent to the client.
    pub mount_point: Option<MountPoint>,
    /// Maximum QoS of its CONNACK, which stays until the next one.
    pub maximum_qos: Qos,
    /// Retain Available of its CONNACK.
    pub retain_available: bool,
    /// Receive Maximum of its CONNACK: later changes of the limits are not for this connection.
    pub(super) receive_maximum: u16,
    /// Whether the client requested the identity of each message.
    pub(super) message_ids: bool,
    /// If it is to another cell: what tells that with which QoS a message was published, by QoS; behind these, for a share.
    pub(super) published: Option<Box<[Option<Arc<Matched>>; 6]>>,
    /// Whether the owner decides when a message with RETAIN that the client sends again is answered: see [`Action::Repeated`](super::Action::Repeated).
    pub tells_repeats: bool,
    /// Whether CONNACK was sent, before which no other packet may be sent. [MQTT-3.2.0-1]
    pub(super) open: bool,
    /// Space for queued messages in the transport's buffer, in bytes.
    pub(super) room: usize,
    /// Aliases set by the client.
    pub(super) inbound_aliases: InboundAliases,
    /// Aliases set by us.
    pub(super) outbound_aliases: OutboundAliases,
}

impl Link {
    /// A connection with the standard's defaults, a window of `send_maximum`, and no aliases.
    pub fn new(version: ProtocolVersion, send_maximum: NonZeroU16) -> Self {
        Self {
            version,
            send_maximum,
            maximum_packet_size: None,
            request_problem_information: true,
            mount_point: None,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            receive_maximum: u16::MAX,
            message_ids: false,
            published: None,
            tells_repeats: false,
            open: false,
            room: 0,
            inbound_aliases: InboundAliases::new(0),
            outbound_aliases: OutboundAliases::new(0),
        }
    }

    /// Permits aliases up to these numbers: our Topic Alias Maximum, and the client's or a lower one.
    pub fn with_aliases(mut self, inbound: u16, outbound: u16) -> Self {
        self.inbound_aliases = InboundAliases::new(inbound);
        self.outbound_aliases = OutboundAliases::new(outbound);
        self
    }

    /// Makes it one to another cell: it is told what it needs to know of each message.
    pub fn to_cell(mut self) -> Self {
        let kinds = [0, 1, 2, 3, 4, 5].map(|kind| Matched::published(Qos::new(kind % 3)?, kind >= 3));
        self.published = Some(Box::new(kinds));
        self
    }

    /// If it is to another cell: makes a PUBLISH say what that needs to know of the message, instead of the subscriptions that it matched.
    pub(super) fn tell_cell(&self, publish: &mut OutgoingPublish) {
        let Some(published) = &self.published else { return };
        let share_copy = publish.matched.as_ref().and_then(|matched| matched.share_copy());
        let kind = publish.message.qos.level() + if share_copy.is_some() { 3 } else { 0 };
        let of_kind = published.get(usize::from(kind)).cloned().flatten();
        let matched = std::mem::replace(&mut publish.matched, of_kind);
        if let Some(share_copy) = share_copy {
            let properties = share_copy.put_before(&publish.message.properties);
            Arc::make_mut(&mut publish.message).properties = properties;
        } else if publish.retain {
            publish.message_id = true;
            let source = matched.map(|matched| matched.source.clone()).unwrap_or_default();
            publish.matched.iter_mut().for_each(|matched| Arc::make_mut(matched).source = source.clone());
        }
    }

    /// Notes what CONNACK announces.
    pub(super) const fn announce(&mut self, limits: &Limits) {
        self.receive_maximum = limits.receive_maximum;
    }

    /// Whether a packet fits the client's Maximum Packet Size. [MQTT-3.1.2-24]
    pub(super) fn takes(&self, packet: &ServerPacket) -> bool {
        self.terms().fits(packet)
    }

    /// What the client accepts in our packets.
    pub(super) const fn terms(&self) -> AnswerTerms {
        AnswerTerms {
            version: self.version,
            maximum_packet_size: self.maximum_packet_size,
            request_problem_information: self.request_problem_information,
        }
    }
}
