use std::sync::Arc;

use bytestring::ByteString;

use super::{Delivery, Limits, Link, Parking, Rights};
use crate::codec::{ClientPacket, Connack, Late, PacketId, Qos, ReasonCode, ServerPacket, UserProperties};

/// The number of a record that a shard passed to the store. Each shard counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ticket(pub u64);

/// An event for a Session.
#[derive(Debug)]
pub enum Event {
    /// A Network Connection is attached. CONNACK is sent when `wait` is stable, followed by the queued messages.
    Connected {
        /// The negotiated values.
        link: Box<Link>,
        /// The response to CONNECT.
        connack: Box<Connack>,
        /// The ticket that must be stable before.
        wait: Option<Ticket>,
    },
    /// The client sent a packet other than CONNECT.
    Packet(ClientPacket),
    /// The result of an [`Action::Publish`](super::Action::Publish) at QoS 1 or 2.
    Answered {
        /// The Packet Identifier of the PUBLISH.
        packet_id: PacketId,
        /// The QoS of the PUBLISH: 1 or 2.
        qos: Qos,
        /// The Reason Code of PUBACK or PUBREC.
        reason_code: ReasonCode,
        /// The ticket that must be stable before.
        wait: Option<Ticket>,
        /// Whether a message with the same `dedup-id` was accepted before.
        duplicate: bool,
    },
    /// The same as [`Answered`](Self::Answered) for an accepted message whose client wants to know what was done.
    AnsweredInDetail {
        /// The Packet Identifier of the PUBLISH.
        packet_id: PacketId,
        /// The QoS of the PUBLISH: 1 or 2.
        qos: Qos,
        /// The Reason Code of PUBACK or PUBREC, not an error.
        reason_code: ReasonCode,
        /// The ticket that must be stable before.
        wait: Option<Ticket>,
        /// The User Properties, if they fit.
        told: UserProperties,
        /// Further ones, which are known when `wait` is stable.
        late: Option<Late>,
    },
    /// The [`Action::Publish`](super::Action::Publish) of a message at QoS 1 or 2 is refused.
    Refused {
        /// The Packet Identifier of the PUBLISH.
        packet_id: PacketId,
        /// The QoS of the PUBLISH: 1 or 2.
        qos: Qos,
        /// The Reason Code of PUBACK or PUBREC, an error.
        reason_code: ReasonCode,
        /// The Reason String: the cause, without anything that only the operator may know.
        sentence: ByteString,
    },
    /// An [`Action::Publish`](super::Action::Publish) at QoS 2 gets no response, because its connection ends. If the
    /// client sends it again, it counts as new.
    Withdrawn(PacketId),
    /// A response to the client, in order with others: PUBREL, PUBCOMP, SUBACK, UNSUBACK or AUTH.
    Respond {
        /// The response.
        packet: ServerPacket,
        /// The ticket that must be stable before.
        wait: Option<Ticket>,
    },
    /// The last response that waits for a stable ticket, and those behind it, wait also until the hold with this number ends. Numbers ascend, from 1.
    HoldLast(u64),
    /// The hold with this number has ended, and all before it.
    HoldEnded(u64),
    /// A QoS 0 message for this Session: sent or dropped at once.
    DeliverQos0(Delivery),
    /// A QoS 1 or 2 message for this Session, with its sequence in the queue. Sequences may arrive out of order, but
    /// each arrives once.
    Deliver(u64, Delivery),
    /// The result of the [`Action::Fetch`](super::Action::Fetch) with this number.
    Fetched(u32, Vec<FetchedMessage>),
    /// What was decided about a parked message.
    Parking(Parking),
    /// All tickets up to this one are stable.
    Persisted(Ticket),
    /// The transport's buffer can take this many bytes of queued messages now.
    Room(usize),
    /// What the client may receive has changed. Queued messages that were never sent are checked before they are sent; those of Shared
    /// Subscriptions that it may not receive are given away at once.
    RightsChanged(Arc<dyn Rights>),
    /// Drop the messages that have expired without having been sent. The client is away.
    Expire,
    /// The limits have changed: by a reload, or because memory is short or no longer. What CONNACK announced stays until the next one.
    LimitsChanged(Arc<Limits>),
    /// The Network Connection has ended.
    Disconnected,
}

/// A message with its sequence, or why it can't be read.
pub type FetchedMessage = (u64, Result<Delivery, ByteString>);
