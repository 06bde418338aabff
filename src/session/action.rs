use std::sync::Arc;

use bytestring::ByteString;

use super::{Delivery, DropCause, ProtocolError, QueueExit, QueueStep, Redelivery, Settlement};
use crate::codec::{Auth, Disconnect, Message, PacketId, Qos, ServerPacket, Subscribe, Unsubscribe};

/// Receives the actions of a [`Session`](super::Session), in order.
pub trait Actions {
    /// Sends a packet to the client, the most frequent action. It may overtake earlier actions, but not earlier
    /// packets.
    fn send(&mut self, packet: ServerPacket);

    /// Adds an action.
    fn push(&mut self, action: Action);

    /// Notes the first known step of the queued message with this sequence. Returns whether its further steps are passed to
    /// [`note`](Self::note).
    fn begin_notes(&mut self, _sequence: u64, _message: &Message, _step: QueueStep) -> bool {
        false
    }

    /// Notes a further step of a queued message.
    fn note(&mut self, _sequence: u64, _step: QueueStep) {}
}

impl Actions for Vec<Action> {
    fn send(&mut self, packet: ServerPacket) {
        self.push(Action::Send(packet));
    }

    fn push(&mut self, action: Action) {
        Self::push(self, action);
    }
}

/// What the owner of a [`Session`](super::Session) must do, in order, before the next event.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the packet to the client.
    Send(ServerPacket),
    /// Route the message. At QoS 1 and 2, report the result with [`Event::Answered`](super::Event::Answered).
    Publish(Application),
    /// A QoS 2 message with RETAIN was sent again. PUBREC waits behind other responses: begin a hold with [`Event::HoldLast`](super::Event::HoldLast), and
    /// end it with [`Event::HoldEnded`](super::Event::HoldEnded).
    Repeated,
    /// A received Packet Identifier is released: record that, and send PUBCOMP with
    /// [`Event::Respond`](super::Event::Respond).
    Release(PacketId),
    /// The client has received the QoS 2 message with this sequence: record that, and send PUBREL with
    /// [`Event::Respond`](super::Event::Respond).
    Released(u64, PacketId),
    /// The message with this sequence has left the queue: its record can be deleted. Nothing waits for that.
    Done(u64, QueueExit),
    /// The message of a group with this sequence has left the queue.
    Settled(u64, Settlement),
    /// A message for the client was dropped; `None`: it was not in memory.
    Dropped(DropCause, Option<Box<Delivery>>),
    /// A QoS 1 or 2 message with this sequence was never sent, and the client may not receive it any more: deliver it to another member of
    /// its share, or drop it, and delete its record.
    Denied(u64, Box<Delivery>),
    /// A QoS 1 or 2 message that only the store has was dropped: publish its dead letter, if configured, and then
    /// delete its record.
    DroppedStored(DropCause, u64),
    /// Read the messages with these sequences from the store, and pass them with
    /// [`Event::Fetched`](super::Event::Fetched) and this number. There is no other fetch before that event.
    Fetch(u32, Vec<u64>),
    /// The client has refused the message with this sequence: decide with [`Event::Parking`](super::Event::Parking) what becomes of it.
    Refused(u64),
    /// The message with this sequence waits behind an earlier one of its topic: record that.
    Parked(u64, Redelivery),
    /// Messages that waited behind others are [due](super::Session::due_redeliveries).
    RedeliveryDue,
    /// The state of the refused message with this sequence can be deleted in the store. Nothing waits for that.
    RedeliveryRemoved(u64),
    /// The message with this sequence could not be read from the store when it was due, and was dropped. Contains the
    /// cause.
    Unreadable(u64, ByteString),
    /// SUBSCRIBE: respond with [`Event::Respond`](super::Event::Respond).
    Subscribe(Box<Subscribe>),
    /// UNSUBSCRIBE: respond with [`Event::Respond`](super::Event::Respond).
    Unsubscribe(Box<Unsubscribe>),
    /// AUTH with 0x19 Re-authenticate.
    Reauthenticate(Box<Auth>),
    /// The connection ends.
    End(Ended),
}

impl Action {
    /// A QoS 0 message was dropped.
    #[cold]
    pub(super) fn dropped(cause: DropCause, delivery: &Delivery) -> Self {
        Self::Dropped(cause, Some(Box::new(delivery.clone())))
    }
}

/// An Application Message from the client that must be routed.
#[derive(Debug, PartialEq, Eq)]
pub struct Application {
    /// The message, with its Topic Alias resolved.
    pub message: Arc<Message>,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// At QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Message Expiry Interval in seconds.
    pub message_expiry_interval: Option<u32>,
    /// Whether the Topic Name is a copy instead of a slice of the read buffer.
    pub is_topic_copied: bool,
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client sent DISCONNECT.
    ByClient(Box<Disconnect>),
    /// The client violated the protocol. It is informed if its version permits that.
    ByError(ProtocolError),
}
