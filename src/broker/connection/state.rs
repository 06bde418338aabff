use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::broker::connection::backlog::Backlog;
use crate::broker::connection::pause::{PauseReason, PauseReasons};
use crate::broker::event::Peer;
use crate::broker::ids::ConnectionId;
use crate::broker::publish::blocked::BlockedMessage;
use crate::broker::report::ClientLabel;
use crate::codec::{ClientId, Connect, ProtocolVersion, ServerPacket};
use crate::routing::{Access, SessionKey};
use crate::timestamp::Timestamp;

/// What a shard knows of a Network Connection.
#[derive(Debug)]
pub(in crate::broker) struct Connection {
    pub(in crate::broker) id: ConnectionId,
    pub(in crate::broker) identity: Box<ClientIdentity>,
    pub(in crate::broker) phase: Phase,
    /// Fixed by CONNECT.
    pub(in crate::broker) version: ProtocolVersion,
    /// What its client takes; `None`: everything.
    pub(in crate::broker) maximum_packet_size: Option<NonZeroU32>,
    /// What the client may do.
    pub(in crate::broker) access: Arc<Access>,
    pub(in crate::broker) client_id: Option<ClientId>,
    /// What the client is held to, in seconds; 0: off.
    pub(in crate::broker) keep_alive: u16,
    /// When its last packet came, or since when it has been read again; while it is paused: since when it has been.
    since: Timestamp,
    /// Why it is not read.
    reasons: PauseReasons,
    /// Bytes that wait for the transport, nearly.
    pub(in crate::broker) unsent_bytes: usize,
    /// As a receiver.
    pub(in crate::broker) backlog: Backlog,
    /// As a publisher.
    pub(in crate::broker) sole_receiver: SoleReceiver,
    /// A message of it that waits for room, or for the first of which it may be a repeat.
    pub(in crate::broker) blocked: Option<Box<BlockedMessage>>,
}

/// Where a connection comes from, and by whose name: wanted when it begins, and for the log.
///
/// Boxed, it has the size of what the allocator leaves between a socket's registration and the next, which are aligned: it costs nothing.
#[derive(Debug)]
pub(in crate::broker) struct ClientIdentity {
    pub(in crate::broker) peer: Peer,
    /// The name that the client is known by.
    pub(in crate::broker) user: Option<Arc<str>>,
    /// Whether that name was proved.
    pub(in crate::broker) is_verified: bool,
    pub(in crate::broker) authentication_method: Option<Box<ByteString>>,
}

/// How far a connection has come.
#[derive(Debug)]
pub(in crate::broker) enum Phase {
    /// CONNECT must come.
    AwaitingConnect,
    /// The provider is asked.
    Authenticating(Box<Connecting>),
    /// The client must answer our AUTH.
    AwaitingAuth(Box<Connecting>),
    /// Another shard is asked for the Session.
    Claiming,
    /// It has the Session in this slot.
    Connected(usize),
}

/// A CONNECT on its way.
#[derive(Debug)]
pub(in crate::broker) struct Connecting {
    pub(in crate::broker) connect: Connect,
    pub(in crate::broker) client_id: ClientId,
    /// Whether the Client Identifier is ours.
    pub(in crate::broker) assigned: bool,
    /// For CONNACK, from the provider.
    pub(in crate::broker) authentication_data: Option<bytes::Bytes>,
}

/// The receiver that a publisher sends to, if it sends to one alone.
#[derive(Debug, Default)]
pub(in crate::broker) struct SoleReceiver {
    /// The number of its Session, as far as 32 bits go; 0: nothing was sent yet; [`SEVERAL`](Self::SEVERAL).
    key: u32,
    /// Since when, in seconds; 0: since the first message.
    since: u32,
}

impl SoleReceiver {
    const SEVERAL: u32 = u32::MAX;

    /// A message goes to this receiver, or to several. `true` if it is the only one, and has been for a while.
    #[inline]
    pub(in crate::broker) fn note(&mut self, receiver: Option<SessionKey>, now: Timestamp) -> bool {
        let key = receiver.map_or(Self::SEVERAL, |key| low_half(key.0));
        if key != self.key {
            let is_first = self.key == 0;
            *self = Self { key, since: if is_first { 0 } else { seconds(now) } };
        }
        key != Self::SEVERAL && (self.since == 0 || seconds(now).wrapping_sub(self.since) > SOLE_AFTER)
    }
}

fn seconds(now: Timestamp) -> u32 {
    low_half(now.0 / 1_000)
}

const fn low_half(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// So many seconds after its last message to another receiver a publisher counts as one that has no other: what it would still have
/// to send there, it would have sent.
const SOLE_AFTER: u32 = 1;

impl Connection {
    /// A connection that has said nothing yet.
    pub(in crate::broker) fn new(id: ConnectionId, peer: Peer, now: Timestamp, access: Arc<Access>) -> Self {
        Self {
            id,
            identity: Box::new(ClientIdentity { peer, user: None, is_verified: false, authentication_method: None }),
            phase: Phase::AwaitingConnect,
            version: ProtocolVersion::V3_1_1,
            maximum_packet_size: None,
            access,
            client_id: None,
            keep_alive: 0,
            since: now,
            reasons: PauseReasons::default(),
            unsent_bytes: 0,
            backlog: Backlog::default(),
            sole_receiver: SoleReceiver::default(),
            blocked: None,
        }
    }

    /// A packet of it came.
    #[inline]
    pub(in crate::broker) const fn on_packet(&mut self, now: Timestamp) {
        if self.reasons.is_empty() {
            self.since = now;
        }
    }

    /// Adds a reason not to read it. `true` if it was read until now.
    pub(super) const fn pause(&mut self, reason: PauseReason, now: Timestamp) -> bool {
        let begins = self.reasons.add(reason);
        if begins {
            self.since = now;
        }
        begins
    }

    /// Takes a reason away. `true` if it was the last: its silence counts anew.
    pub(super) const fn resume(&mut self, reason: PauseReason, now: Timestamp) -> bool {
        let ends = self.reasons.remove(reason);
        if ends {
            self.since = now;
        }
        ends
    }

    /// Why it is not read.
    pub(in crate::broker) const fn pause_reasons(&self) -> PauseReasons {
        self.reasons
    }

    /// Since when it has been paused, or silent if it is not.
    pub(in crate::broker) const fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether a packet is within the client's Maximum Packet Size. [MQTT-3.1.2-24]
    pub(in crate::broker) fn fits(&self, packet: &ServerPacket) -> bool {
        self.maximum_packet_size.is_none_or(|maximum| packet.encoded_len(self.version) <= maximum.get() as usize)
    }

    /// The name it is known by, if it was proved.
    pub(in crate::broker) fn verified_user(&self) -> Option<&Arc<str>> {
        self.identity.user.as_ref().filter(|_| self.identity.is_verified)
    }

    /// How long its client may be silent. [MQTT-3.1.2-22]
    pub(in crate::broker) fn silence_max(&self) -> Duration {
        Duration::from_millis(u64::from(self.keep_alive) * 1_500)
    }

    /// Who a line of the log speaks of.
    pub(in crate::broker) fn label(&self) -> ClientLabel {
        ClientLabel {
            client_id: self.client_id.clone(),
            user: self.identity.user.clone(),
            address: self.identity.peer.address,
            listener: Some(Arc::clone(&self.identity.peer.listener)),
        }
    }

    /// The slot of its Session, if CONNECT was accepted.
    pub(in crate::broker) const fn session(&self) -> Option<usize> {
        match self.phase {
            Phase::Connected(slot) => Some(slot),
            Phase::AwaitingConnect | Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming => None,
        }
    }
}
