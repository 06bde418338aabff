//! What the two connections of a bridge agree on, and what is counted.

use std::num::NonZeroU16;

use bytestring::ByteString;

use crate::codec::{PacketType, ProtocolVersion, Qos, ReasonCode};

/// One of the two brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This broker.
    Here,
    /// The other one.
    There,
}

/// What both brokers said in their CONNACK, and what the bridge is to do.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The version of the connection to the other broker. The one to this broker is of 5.0.
    pub version: ProtocolVersion,
    /// Maximum QoS of the other broker.
    pub maximum_qos: Qos,
    /// Whether the other broker has retained messages.
    pub retain_available: bool,
    /// Maximum Packet Size of the other broker.
    pub maximum_packet_size: Option<u32>,
    /// How the other broker calls itself in `bridge-via`.
    pub there_id: Option<ByteString>,
    /// How this broker calls itself there.
    pub here_id: Option<ByteString>,
    /// Receive Maximum of this broker.
    pub receive_maximum: NonZeroU16,
    /// Maximum Packet Size of this broker.
    pub maximum_packet_size_here: Option<u32>,
    /// Maximum QoS of this broker.
    pub maximum_qos_here: Qos,
    /// Whether this broker has retained messages.
    pub retain_available_here: bool,
    /// Whether messages to the other broker get a `dedup-id`.
    pub adds_dedup_id: bool,
}

/// Whether the other broker takes what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Congestion {
    /// It does.
    None,
    /// So much waits for it that messages of QoS 0 are dropped.
    Congested,
}

/// Why a message did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// No rule matches its topic: a subscription is left from earlier rules.
    Unmapped,
    /// It has passed this broker or the other one before.
    Looped,
    /// It exceeds the Maximum Packet Size of the broker that it goes to.
    TooLarge,
    /// It has QoS 0, and the other broker does not take what it is sent.
    Congested,
}

/// What has passed. The counts only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages to the other broker, those sent again included.
    pub messages_out: u64,
    /// Their topics and payloads, in bytes.
    pub bytes_out: u64,
    /// Messages to this broker, those sent again included.
    pub messages_in: u64,
    /// Their topics and payloads, in bytes.
    pub bytes_in: u64,
    /// Messages that did not pass, by [`Dropped`] in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Messages that the other broker has refused.
    pub refused_there: u64,
    /// Messages that this broker has refused.
    pub refused_here: u64,
}

/// A message that a broker has refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which broker.
    pub by: Side,
    /// The reason.
    pub reason_code: ReasonCode,
    /// The sentence of the broker, if it sent one.
    pub reason: Option<ByteString>,
}

/// Why both connections must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// A broker sent DISCONNECT.
    #[error("{} ended the connection: {}", of(*.0), in_words(*.1, .2.as_deref()))]
    Disconnected(Side, ReasonCode, Option<ByteString>),
    /// A broker has no room for a message at present: it is sent again after the next connect.
    #[error("{} has no room for a message: {}", of(*.0), ReasonCode::QuotaExceeded)]
    NoRoom(Side),
    /// The other broker sends far more than it should without an acknowledgement.
    #[error(
        "the other broker sent more than {HELD_BYTES_MAX} bytes of unacknowledged messages beyond the Receive Maximum"
    )]
    TooMuch,
    /// A packet came that nothing asked for.
    #[error("{} sent a packet that was not expected: {:?}", of(*.0), .1)]
    Unexpected(Side, PacketType),
}

impl Dropped {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Unmapped, Self::Looped, Self::TooLarge, Self::Congested];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::Looped => "looped",
            Self::TooLarge => "too_large",
            Self::Congested => "congested",
        }
    }
}

const fn of(side: Side) -> &'static str {
    match side {
        Side::Here => "this broker",
        Side::There => "the other broker",
    }
}

/// A Reason Code with the sentence of the broker, if it sent one.
pub fn in_words(code: ReasonCode, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{code} (0x{:02X}): {reason}", code.number()),
        None => format!("{code} (0x{:02X})", code.number()),
    }
}

/// A broker of 5.0 stays within the Receive Maximum that it was told, so nothing is held. One of 3.1.1 was told nothing.
pub(super) const HELD_BYTES_MAX: usize = 64 << 20;
