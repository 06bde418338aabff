use std::sync::Arc;

use smallvec::SmallVec;

use super::Link;
use crate::codec::{ClientPacket, Connack, Message, PacketId, Qos, ReasonCode, ServerPacket, SubscriptionId};
use crate::timestamp::Timestamp;
use crate::topic::Filter;

/// The number of a record that a shard gave to the store: each shard counts its own, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ticket(pub u64);

/// What happens to a Session.
#[derive(Debug)]
pub enum Event {
    /// A Network Connection is given to it: CONNACK is sent when `wait` is stable, and then what the client is owed.
    Connected {
        /// What was negotiated.
        link: Box<Link>,
        /// The answer to CONNECT.
        connack: Box<Connack>,
        /// What must be stable first.
        wait: Option<Ticket>,
    },
    /// The client sent a packet. CONNECT never comes here.
    Packet(ClientPacket),
    /// What became of an [`Action::Publish`](super::Action::Publish) at QoS 1 or 2.
    Answered {
        /// Of the PUBLISH.
        packet_id: PacketId,
        /// Of the PUBLISH: 1 or 2.
        qos: Qos,
        /// For PUBACK or PUBREC.
        reason_code: ReasonCode,
        /// What must be stable first.
        wait: Option<Ticket>,
        /// Whether it was accepted before, by its `dedup-id`.
        duplicate: bool,
    },
    /// An [`Action::Publish`](super::Action::Publish) at QoS 2 is not answered, because its connection ends: the client will send it
    /// again, and then it is new.
    Withdrawn(PacketId),
    /// A response to the client, in order with the others: PUBREL, PUBCOMP, SUBACK, UNSUBACK or AUTH.
    Respond {
        /// The response.
        packet: ServerPacket,
        /// What must be stable first.
        wait: Option<Ticket>,
    },
    /// A message for this Session at QoS 0: sent or lost.
    DeliverQos0(Delivery),
    /// A message for this Session at QoS 1 or 2, with its place in the Session's queue. Places may come out of order, but each comes once.
    Deliver(u64, Delivery),
    /// Everything up to this ticket is stable.
    Persisted(Ticket),
    /// So many bytes of messages from the queue may be put before the transport now.
    Room(usize),
    /// The Network Connection is gone.
    Disconnected,
}

/// A message for one Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The QoS of this delivery.
    pub qos: Qos,
    /// RETAIN as the subscription wants it.
    pub retain: bool,
    /// When its Message Expiry Interval runs out.
    pub expires_at: Option<Timestamp>,
    /// Of all matching subscriptions.
    pub subscription_ids: SmallVec<[SubscriptionId; 2]>,
    /// The Shared Subscription it was chosen by, so that it can go to another member if this Session ends.
    pub share: Option<Arc<Filter>>,
    /// Where it is until the Session is done with it.
    pub place: DeliveryPlace,
}

/// Where a message is until its Session is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPlace {
    /// In memory alone: it ends with the process.
    Memory,
    /// In a record as well, from which it can be read again, and which ends when the message is done with.
    Record,
}
