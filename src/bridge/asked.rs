//! Messages of QoS 2 that come again although this broker takes only a lower QoS now. Other brokers are not asked: one that never had QoS 2 may
//! end the connection for PUBREL.

use std::collections::HashMap;

use super::size::size_of_message;
use crate::codec::{Ack, PacketId, Publish, Qos};

/// Messages that were sent before as QoS 2, when their receiver took it. Whether it has them says its answer to PUBREL: it knows the Packet
/// Identifier, or it does not (0x92). At most as many as are in flight.
#[derive(Debug, Default)]
pub(super) struct Asked {
    messages: HashMap<PacketId, Publish>,
    bytes: usize,
}

/// What became of a message that a broker was asked about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// No question about this message was sent, so the packet is not an answer to one.
    None,
    /// It has the message.
    Received,
    /// It does not know the message, which is to be sent at the lower QoS.
    Unknown(Publish),
}

impl Asked {
    pub(super) fn insert(&mut self, id: PacketId, publish: Publish) {
        self.bytes += size(&publish);
        if let Some(before) = self.messages.insert(id, publish) {
            self.bytes -= size(&before);
        }
    }

    /// Takes the answer to PUBREL.
    pub(super) fn answer(&mut self, pubcomp: &Ack) -> Asking {
        let Some(publish) = self.messages.remove(&pubcomp.packet_id) else { return Asking::None };
        self.bytes -= size(&publish);
        if pubcomp.reason_code.is_error() { Asking::Unknown(publish) } else { Asking::Received }
    }

    /// The topics and payloads of these messages, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether a message of QoS 2 goes on with a lower one.
pub(super) fn is_lowered(packet: &Publish, qos: Qos) -> bool {
    qos == Qos::ExactlyOnce && packet.qos < qos
}

fn size(publish: &Publish) -> usize {
    usize::try_from(size_of_message(publish)).unwrap_or(usize::MAX)
}
