use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::broker::connection::backlog::Backlog;
use crate::broker::connection::pause::{PauseReason, PauseReasons};
use crate::broker::event::Peer;
use crate::broker::ids::ConnectionId;
use crate::broker::owner::Owner;
use crate::broker::publish::blocked::BlockedMessage;
use crate::broker::publish::sys::SysPublisher;
use crate::broker::report::ClientLabel;
use crate::codec::{AnswerTerms, ClientId, Connect, ProtocolVersion, ServerPacket, shown_user_name};
use crate::routing::{Access, SessionKey};
use crate::timestamp::Timestamp;

/// The state of a Network Connection in its shard.
#[derive(Debug)]
pub(in crate::broker) struct Connection {
    pub(in crate::broker) id: ConnectionId,
    pub(in crate::broker) identity: Box<ClientIdentity>,
    pub(in crate::broker) phase: Phase,
    /// The protocol version; known once CONNECT has been decoded.
    pub(in crate::broker) version: ProtocolVersion,
    /// Maximum Packet Size of the client in bytes; `None`: no limit.
    pub(in crate::broker) maximum_packet_size: Option<NonZeroU32>,
    /// What is one bit of a client: [`PROBLEM_INFORMATION`], [`MESSAGE_RATE`], [`BYTE_RATE`], [`COUNTED`], [`DETAILS`].
    flags: u8,
    /// The access rules of the client.
    pub(in crate::broker) access: Arc<Access>,
    pub(in crate::broker) client_id: Option<ClientId>,
    /// The Keep Alive that is enforced, in seconds; 0: off.
    pub(in crate::broker) keep_alive: u16,
    /// While paused: when the pause began. Otherwise: when the last packet came or the last pause ended, whichever is later.
    since: Timestamp,
    /// The reasons for which it is not read.
    reasons: PauseReasons,
    /// See [`unsent_bytes`](Self::unsent_bytes).
    unsent_bytes: u32,
    /// PUBLISH packets of the client.
    messages_received: u64,
    /// PUBLISH packets to the client.
    messages_sent: u64,
    /// Its state as a receiver: whether publishers are paused for it.
    pub(in crate::broker) backlog: Backlog,
    /// Its state as a publisher: whether it sends to one receiver only.
    pub(in crate::broker) sole_receiver: SoleReceiver,
    /// Its message that can be neither accepted nor refused yet.
    pub(in crate::broker) blocked: Option<Box<BlockedMessage>>,
}

// There is one for each connection, idle or not.
const _: () = assert!(size_of::<Option<Connection>>() == 120);

/// The remote end of a connection and the identity of its client, used by authentication and by the log.
///
/// It is boxed because the allocator can place it in the gaps between the aligned registrations of sockets, so it uses no further memory.
#[derive(Debug)]
pub(in crate::broker) struct ClientIdentity {
    pub(in crate::broker) peer: Peer,
    /// The user name of the client for the log.
    pub(in crate::broker) user: Option<Arc<str>>,
    /// Who owns its Session: the user, if a provider verified it.
    pub(in crate::broker) owner: Owner,
    /// Whether CONNECT had the bridge bit in its protocol level.
    pub(in crate::broker) is_bridge: bool,
    /// Clean Start of CONNECT.
    pub(in crate::broker) clean_start: bool,
    pub(in crate::broker) authentication_method: Option<Box<ByteString>>,
    /// When CONNACK was sent; before that, when the connection was opened.
    pub(in crate::broker) connected_at: Timestamp,
    /// When its credentials expire.
    pub(in crate::broker) expiry: Expiry,
}

// Beyond it, the allocator takes 160 bytes.
const _: () = assert!(size_of::<ClientIdentity>() <= 128);

/// When credentials expire: milliseconds in 48 bits, which last for 8,900 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Expiry([u8; 6]);

impl Expiry {
    const NEVER: Self = Self([u8::MAX; 6]);

    /// `None`: never.
    pub(in crate::broker) fn of(time: Option<Timestamp>) -> Self {
        let [a, b, c, d, e, f, 0, 0] = time.unwrap_or(Timestamp::NEVER).0.to_le_bytes() else { return Self::NEVER };
        Self([a, b, c, d, e, f])
    }

    /// The time; [`Timestamp::NEVER`] if they don't expire.
    pub(in crate::broker) fn time(self) -> Timestamp {
        let Self([a, b, c, d, e, f]) = self;
        if self == Self::NEVER { Timestamp::NEVER } else { Timestamp(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])) }
    }
}

/// The phase of a connection between accept and CONNACK.
#[derive(Debug)]
pub(in crate::broker) enum Phase {
    /// CONNECT is the only packet allowed.
    AwaitingConnect,
    /// A provider authenticates the client.
    Authenticating(Box<Connecting>),
    /// AUTH was sent; the client must answer with AUTH.
    AwaitingAuth(Box<Connecting>),
    /// The Session is requested from the shard that holds it.
    Claiming,
    /// CONNECT was accepted; the Session is in this slot.
    Connected(usize),
    /// It is to the owner of another cell, and has no Session.
    Control,
}

/// A CONNECT that is not answered yet.
#[derive(Debug)]
pub(in crate::broker) struct Connecting {
    pub(in crate::broker) connect: Connect,
    pub(in crate::broker) client_id: ClientId,
    /// Whether the broker assigned the Client Identifier.
    pub(in crate::broker) assigned: bool,
    /// The owner of its Session, once the Client Identifier is claimed.
    pub(in crate::broker) owner: Owner,
    /// Authentication Data of the provider, for CONNACK.
    pub(in crate::broker) authentication_data: Option<bytes::Bytes>,
}

/// Request Problem Information of CONNECT: it wants Reason Strings.
const PROBLEM_INFORMATION: u8 = 1;
/// Its messages per second are limited.
const MESSAGE_RATE: u8 = 1 << 1;
/// Its bytes per second are limited.
const BYTE_RATE: u8 = 1 << 2;
/// It is counted as a connection of its user.
const COUNTED: u8 = 1 << 3;
/// Its acknowledgements say what was done.
const DETAILS: u8 = 1 << 4;

/// The receiver of a publisher that sends to one receiver only.
#[derive(Debug, Default)]
pub(in crate::broker) struct SoleReceiver {
    /// The lower 32 bits of the receiver's Session key; 0: nothing was sent yet; or [`SEVERAL`](Self::SEVERAL).
    key: u32,
    /// The time in seconds from which on `key` applies; 0: since the first message.
    since: u32,
}

impl SoleReceiver {
    const SEVERAL: u32 = u32::MAX;

    /// Notes the receiver of a message; `None`: several receivers. Returns `true` if it has been the only receiver for more than
    /// [`SOLE_AFTER`] seconds, or since the first message.
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

/// A publisher has a sole receiver when its last message to another receiver is more than this many seconds old.
const SOLE_AFTER: u32 = 1;

impl Connection {
    /// A connection before its first packet.
    pub(in crate::broker) fn new(id: ConnectionId, peer: Peer, now: Timestamp, access: Arc<Access>) -> Self {
        Self {
            id,
            identity: Box::new(ClientIdentity {
                peer,
                user: None,
                owner: Owner::Anonymous,
                is_bridge: false,
                clean_start: false,
                authentication_method: None,
                connected_at: now,
                expiry: Expiry::of(None),
            }),
            phase: Phase::AwaitingConnect,
            version: ProtocolVersion::V3_1_1,
            maximum_packet_size: None,
            flags: PROBLEM_INFORMATION,
            access,
            client_id: None,
            keep_alive: 0,
            since: now,
            reasons: PauseReasons::default(),
            unsent_bytes: 0,
            messages_received: 0,
            messages_sent: 0,
            backlog: Backlog::default(),
            sole_receiver: SoleReceiver::default(),
            blocked: None,
        }
    }

    /// Restarts the Keep Alive interval after a packet, unless the connection is paused.
    #[inline]
    pub(in crate::broker) const fn on_packet(&mut self, now: Timestamp) {
        if self.reasons.is_empty() {
            self.since = now;
        }
    }

    /// Counts a PUBLISH of the client; `is_publish` is false for another packet.
    #[inline]
    pub(in crate::broker) const fn count_received(&mut self, is_publish: bool) {
        self.messages_received += is_publish as u64;
    }

    /// Counts PUBLISH packets to the client.
    #[inline]
    pub(in crate::broker) const fn count_sent(&mut self, messages: u32) {
        self.messages_sent += messages as u64;
    }

    /// The PUBLISH packets from and to the client.
    pub(in crate::broker) const fn messages(&self) -> (u64, u64) {
        (self.messages_received, self.messages_sent)
    }

    /// Adds a pause reason. Returns `true` if the connection was not paused before.
    pub(super) const fn pause(&mut self, reason: PauseReason, now: Timestamp) -> bool {
        let begins = self.reasons.add(reason);
        if begins {
            self.since = now;
        }
        begins
    }

    /// Restarts the Keep Alive interval, or the pause.
    pub(super) const fn forgive_silence(&mut self, now: Timestamp) {
        self.since = now;
    }

    /// Removes a pause reason. Returns `true` if it was the last; the Keep Alive interval then restarts.
    pub(super) const fn resume(&mut self, reason: PauseReason, now: Timestamp) -> bool {
        let ends = self.reasons.remove(reason);
        if ends {
            self.since = now;
        }
        ends
    }

    /// The reasons for which it is not read.
    pub(in crate::broker) const fn pause_reasons(&self) -> PauseReasons {
        self.reasons
    }

    /// When the pause began, or if it is not paused, when the Keep Alive interval began.
    pub(in crate::broker) const fn since(&self) -> Timestamp {
        self.since
    }

    /// An estimate of the bytes in its outgoing buffer; `Event::Flushed` corrects it. It counts up to `u32::MAX`, the greatest
    /// `outgoing_bytes_max`.
    #[inline]
    pub(in crate::broker) const fn unsent_bytes(&self) -> usize {
        self.unsent_bytes as usize
    }

    #[inline]
    pub(super) fn set_unsent_bytes(&mut self, bytes: usize) {
        self.unsent_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Whether a packet is within the client's Maximum Packet Size. [MQTT-3.1.2-24]
    pub(in crate::broker) fn fits(&self, packet: &ServerPacket) -> bool {
        self.terms().fits(packet)
    }

    /// What the client accepts in our packets.
    pub(in crate::broker) const fn terms(&self) -> AnswerTerms {
        AnswerTerms {
            version: self.version,
            maximum_packet_size: self.maximum_packet_size,
            request_problem_information: self.flags & PROBLEM_INFORMATION != 0,
        }
    }

    /// Notes what the client accepts in our packets.
    pub(in crate::broker) const fn set_terms(&mut self, terms: AnswerTerms) {
        self.version = terms.version;
        self.maximum_packet_size = terms.maximum_packet_size;
        self.set(PROBLEM_INFORMATION, terms.request_problem_information);
    }

    const fn set(&mut self, flag: u8, is_set: bool) {
        self.flags = if is_set { self.flags | flag } else { self.flags & !flag };
    }

    /// Whether the messages of the client per second are limited.
    #[inline]
    pub(in crate::broker) const fn has_message_rate(&self) -> bool {
        self.flags & MESSAGE_RATE != 0
    }

    /// Whether the bytes of the client per second are limited.
    #[inline]
    pub(in crate::broker) const fn has_byte_rate(&self) -> bool {
        self.flags & BYTE_RATE != 0
    }

    /// Sets whether the messages and the bytes of the client per second are limited.
    pub(in crate::broker) const fn set_rates(&mut self, messages: bool, bytes: bool) {
        self.set(MESSAGE_RATE, messages);
        self.set(BYTE_RATE, bytes);
    }

    /// Whether it is counted as one of its user.
    pub(in crate::broker) const fn is_counted(&self) -> bool {
        self.flags & COUNTED != 0
    }

    /// Sets whether it is counted as one of its user.
    pub(in crate::broker) const fn set_counted(&mut self, is_counted: bool) {
        self.set(COUNTED, is_counted);
    }

    /// Whether the client wants to know what was done with its messages.
    #[inline]
    pub(in crate::broker) const fn wants_details(&self) -> bool {
        self.flags & DETAILS != 0
    }

    /// Sets whether the client wants to know what was done with its messages.
    pub(in crate::broker) const fn set_details(&mut self, wants_details: bool) {
        self.set(DETAILS, wants_details);
    }

    /// Whether its client was accepted, so that its user is known.
    pub(in crate::broker) const fn is_accepted(&self) -> bool {
        matches!(self.phase, Phase::Claiming | Phase::Connected(_))
    }

    /// The user name, if a provider verified it.
    pub(in crate::broker) fn verified_user(&self) -> Option<&Arc<str>> {
        self.identity.owner.user()
    }

    /// The client as the publisher of a message below `$SYS`.
    pub(in crate::broker) fn sys_publisher(&self) -> SysPublisher<'_> {
        let (client_id, is_bridge) = (self.client_id.as_ref(), self.identity.is_bridge);
        SysPublisher { client_id, access: &self.access, is_bridge }
    }

    /// One and a half times the Keep Alive: the longest time without a packet. [MQTT-3.1.2-22]
    pub(in crate::broker) fn silence_max(&self) -> Duration {
        Duration::from_millis(u64::from(self.keep_alive) * 1_500)
    }

    /// Notes the user name that the client has sent, for the log.
    pub(in crate::broker) fn set_user(&mut self, user_name: Option<&str>) {
        self.identity.user = user_name.map(|name| shown_user_name(name).into());
    }

    /// The client's labels for a log line.
    pub(in crate::broker) fn label(&self) -> ClientLabel {
        ClientLabel {
            client_id: self.client_id.clone(),
            user: self.identity.user.clone(),
            address: self.identity.peer.address,
            listener: Some(Arc::clone(&self.identity.peer.listener)),
            version: self.client_id.as_ref().map(|_| self.version.name()),
            mount_point: self.access.mount_point().cloned(),
        }
    }

    /// The slot of its Session, if CONNECT was accepted.
    pub(in crate::broker) const fn session(&self) -> Option<usize> {
        match self.phase {
            Phase::Connected(slot) => Some(slot),
            Phase::AwaitingConnect
            | Phase::Authenticating(_)
            | Phase::AwaitingAuth(_)
            | Phase::Claiming
            | Phase::Control => None,
        }
    }
}
