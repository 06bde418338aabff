use std::sync::Arc;

use bytestring::ByteString;

use super::{Delivery, DropCause, ProtocolError};
use crate::codec::{Auth, Disconnect, Message, PacketId, Qos, ServerPacket, Subscribe, Unsubscribe};

/// Where a [`Session`](super::Session) puts what its owner must do, in order.
pub trait Actions {
    /// Send the packet to the client: most of all actions. It may be done before those that were given earlier, but for another packet.
    fn send(&mut self, packet: ServerPacket);

    /// Do this.
    fn push(&mut self, action: Action);
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
    /// Route the message; at QoS 1 and 2 say what became of it with [`Event::Answered`](super::Event::Answered).
    Publish(Application),
    /// The received identifier is free again: make it stable, and answer PUBCOMP with [`Event::Respond`](super::Event::Respond).
    Release(PacketId),
    /// The client has received the QoS 2 message with this sequence: make it stable, and send PUBREL with [`Event::Respond`](super::Event::Respond).
    Released(u64, PacketId),
    /// The message with this sequence is done with: its record may go. Nothing waits for that.
    Done(u64),
    /// A message for the client was dropped: at QoS 1 and 2, this one.
    Dropped(DropCause, Option<Box<Delivery>>),
    /// The same for a message at QoS 1 or 2 that the store alone has: its record may go when what is made of it is there.
    DroppedStored(DropCause, u64),
    /// Read the messages with these sequences from the store, and give them with [`Event::Fetched`](super::Event::Fetched) and this number.
    /// No other fetch follows before.
    Fetch(u32, Vec<u64>),
    /// The message with this sequence was to be sent, and can't be read from the store: it is dropped.
    Unreadable(u64, ByteString),
    /// SUBSCRIBE: answered with [`Event::Respond`](super::Event::Respond).
    Subscribe(Box<Subscribe>),
    /// UNSUBSCRIBE: answered with [`Event::Respond`](super::Event::Respond).
    Unsubscribe(Box<Unsubscribe>),
    /// AUTH with 0x19.
    Reauthenticate(Box<Auth>),
    /// The connection ends.
    End(Ended),
}

/// An Application Message that a client published, on its way to be routed.
#[derive(Debug, PartialEq, Eq)]
pub struct Application {
    /// The message: a Topic Alias is resolved.
    pub message: Arc<Message>,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// At QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Message Expiry Interval in seconds.
    pub message_expiry_interval: Option<u32>,
    /// Whether the Topic Name has memory of its own.
    pub has_own_topic: bool,
}

/// How a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client sent DISCONNECT.
    ByClient(Box<Disconnect>),
    /// The client broke the protocol: it is told so where its version allows.
    ByError(ProtocolError),
}
