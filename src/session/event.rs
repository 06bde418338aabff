use bytestring::ByteString;

use super::{Delivery, Link};
use crate::codec::{ClientPacket, Connack, PacketId, Qos, ReasonCode, ServerPacket};

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
    /// The answer to the [`Action::Fetch`](super::Action::Fetch) with this number.
    Fetched(u32, Vec<FetchedMessage>),
    /// Everything up to this ticket is stable.
    Persisted(Ticket),
    /// So many bytes of messages from the queue may be put before the transport now.
    Room(usize),
    /// The Network Connection is gone.
    Disconnected,
}

/// A message by its sequence, or why it can't be read.
pub type FetchedMessage = (u64, Result<Box<Delivery>, ByteString>);
