//! Queries about the Sessions of a shard and their answers: plain data, in bounded pages.
//!
//! [`Event::Query`](crate::broker::Event::Query) is answered by [`Action::Answer`](crate::broker::Action::Answer) in the same turn, and
//! changes nothing, except for the requests of operators at the end of [`Query`]: those that change what is stored are answered when that is
//! stable. Queues are answered when the store has been read. The cost of a turn is bounded, so that no query delays clients.
//!
//! A cursor is a position in the list, not a snapshot. An entry that exists from the first page to the last is listed once, unless its
//! Session moves to another shard meanwhile. An entry that is added or removed between two pages may be listed or not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::broker::connection::last_end::DisconnectKind;
use crate::broker::counters::DropReason;
use crate::broker::detail::ClientPattern;
use crate::broker::history::EventKind;
use crate::broker::ids::ConnectionId;
use crate::broker::journey::query::{HoldersPart, HoldersRequest, JourneyPart, JourneyRequest};
use crate::broker::journey::tail_query::{TailPart, TailRequest};
use crate::broker::operator::query::{TopicAnswer, TopicQuery};
use crate::broker::owner::Owner;
use crate::broker::redelivery::query::{DeadLetterAnswer, DeadLetterQuery};
use crate::broker::streams::groups::query::{GroupAnswer, GroupQuery};
use crate::codec::{ClientId, ProtocolVersion, Qos, ReasonCode, Subscription, SubscriptionId};
use crate::routing::Access;
use crate::session::QueuedState;
use crate::timestamp::Timestamp;

/// The number of a query, chosen by its sender. The answer has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// A query to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The Sessions of the shard that the filter selects, in no particular order; answered by [`Answer::Clients`].
    Clients(PageRequest, Box<ClientFilter>),
    /// The Session with this Client Identifier; answered by [`Answer::Client`].
    Client(ClientId),
    /// The same, answered when all records of the shard until now are stable.
    StableClient(ClientId),
    /// The subscriptions of that Session; answered by [`Answer::Subscriptions`].
    Subscriptions(ClientId, PageRequest),
    /// The last events of a Client Identifier on this shard, at most so many; answered by [`Answer::History`].
    History(ClientId, usize),
    /// The head of the queue of that Session; answered by [`Answer::Queue`].
    Queue(ClientId, QueueRequest),
    /// What the shard has noted about a message; answered by [`Answer::Journey`].
    Journey(Box<JourneyRequest>),
    /// The Sessions in whose queues a message is; answered by [`Answer::Holders`] when the store has been read.
    Holders(HoldersRequest),
    /// The next steps of some messages; answered by [`Answer::Tail`].
    Tail(Box<TailRequest>),
    /// A query about topics; answered by [`Answer::Topics`].
    Topics(TopicQuery),
    /// A query about kept dead letters; answered by [`Answer::DeadLetters`].
    DeadLetters(DeadLetterQuery),
    /// A change of a group of subscribers of a stream; answered by [`Answer::Group`] when that is stable.
    Groups(GroupQuery),
    /// Give the Session to another owner; answered by [`Answer::Gift`] when that is stable.
    Give(Box<Gift>),
    /// End the connection of the Session; answered by [`Answer::Kick`].
    Kick(Box<Kick>),
    /// End the Session, and its connection; answered by [`Answer::Forget`] when that is stable.
    Forget(ClientId),
}

/// Which Sessions are listed: those to which all of it applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFilter {
    /// Whether its client is connected.
    pub connected: Option<bool>,
    /// Its Client Identifier.
    pub client_id: Option<ClientPattern>,
    /// The user name of its client or of its owner.
    pub user: Option<Arc<str>>,
    /// The address of its client, which is connected then.
    pub address: Option<IpAddr>,
}

/// The requested part of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRequest {
    /// The greatest number of messages; the shard limits it to 1 to [`QUEUED_MAX`].
    pub limit: usize,
    /// The bytes of each payload that are shown; the shard limits it to [`PREVIEW_BYTES_MAX`].
    pub preview: usize,
}

/// A connection that an operator ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kick {
    /// The Client Identifier of its Session.
    pub client_id: ClientId,
    /// The Reason Code of its DISCONNECT: one that a Server may send.
    pub reason_code: ReasonCode,
    /// For how long the caller bans the client, when it performs the answer. The shard only tells whom.
    pub ban: Option<Duration>,
}

/// Whether a connection was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KickOutcome {
    /// It was.
    Kicked(Box<KickedClient>),
    /// The Session has no connection.
    NotConnected,
    /// The client is to be banned, but it has neither a verified user nor an address; its connection was not ended.
    NotBannable,
    /// It was ended, but the caller could not ban the client: its list is full.
    NotBanned,
    /// The shard does not have the Session.
    NotHere,
}

/// The client whose connection an operator ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KickedClient {
    /// Its user, if a provider verified it.
    pub verified_user: Option<Arc<str>>,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// As in the request.
    pub ban: Option<Duration>,
}

/// Whether a Session was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgetOutcome {
    /// It was, and that is stable.
    Forgotten,
    /// The shard does not have the Session.
    NotHere,
}

/// A Session that an operator gives to another owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gift {
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// The new owner. A connection of another one is closed.
    pub owner: Owner,
    /// The access rules of the new owner; `None`: those of the Session stay until its client connects.
    pub access: Option<Arc<Access>>,
}

/// Whether a Session was given to another owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiftOutcome {
    /// It was, and that is stable.
    Given,
    /// The Session ends with its connection, so there is nothing to give.
    NotDurable,
    /// The shard does not have the Session.
    NotHere,
}

/// The answer of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A page of its Sessions.
    Clients(Page<ClientView>),
    /// The Session; `None`: the shard does not have it.
    Client(Option<Box<ClientView>>),
    /// A page of subscriptions; `None`: the shard does not have the Session.
    Subscriptions(Option<Page<SubscriptionView>>),
    /// The last events of the Client Identifier, the newest last.
    History(Vec<EventView>),
    /// The head of the queue; `None`: the shard does not have the Session.
    Queue(Option<Vec<QueuedView>>),
    /// A part of what was noted about the message.
    Journey(Box<JourneyPart>),
    /// Some of the Sessions in whose queues the message is.
    Holders(HoldersPart),
    /// The next steps of the messages.
    Tail(Box<TailPart>),
    /// The answer to a query about topics.
    Topics(TopicAnswer),
    /// The answer to a query about kept dead letters.
    DeadLetters(DeadLetterAnswer),
    /// Whether the group was changed.
    Group(GroupAnswer),
    /// Whether the Session was given away.
    Gift(GiftOutcome),
    /// Whether the connection was ended.
    Kick(KickOutcome),
    /// Whether the Session was forgotten.
    Forget(ForgetOutcome),
}

/// The requested part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// 0, or [`Page::next`] of the previous page.
    pub from: u64,
    /// The greatest number of entries; the shard limits it to 1 to [`PAGE_MAX`].
    pub limit: usize,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries. There may be fewer than the limit, or none, although more pages follow.
    pub entries: Vec<T>,
    /// The cursor of the next page; `None`: this is the last page.
    pub next: Option<u64>,
}

/// The current state of a Session and its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    /// The Client Identifier.
    pub client_id: ClientId,
    /// Whose the Session is.
    pub owner: Owner,
    /// `None` while the client is not connected.
    pub connection: Option<ConnectionView>,
    /// When the last connection ended; `None` while the client is connected.
    pub disconnected_at: Option<Timestamp>,
    /// The end of the last connection of the Session, or of the one before the present one. That of an earlier Session of its Client
    /// Identifier is in the history alone.
    pub last_disconnect: Option<LastDisconnect>,
    /// Session Expiry Interval in seconds; `u32::MAX`: never.
    pub session_expiry_interval: u32,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// QoS 1 and 2 messages in its queue, those in flight included.
    pub queued_messages: usize,
    /// Bytes of these messages.
    pub queued_bytes: usize,
    /// The greatest number of messages in its queue.
    pub queued_messages_max: usize,
    /// The greatest number of bytes in its queue.
    pub queued_bytes_max: usize,
    /// Messages sent on this connection and not acknowledged.
    pub in_flight_messages: u32,
    /// QoS 1 and 2 messages received on this connection whose acknowledgement is not complete.
    pub in_flight_in: u32,
    /// Whether retained messages to its subscriptions are still to be sent, and are not in its queue.
    pub is_replaying: bool,
    /// Messages to the Session dropped since the start of the broker, by reason, if there were any. Those that arrived while it moved between
    /// shards are not among them.
    pub dropped: Vec<(DropReason, u32)>,
}

/// How a connection of a client ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDisconnect {
    /// When. For [`DisconnectKind::Crash`]: when the broker started again.
    pub at: Timestamp,
    /// How.
    pub kind: DisconnectKind,
    /// The Reason Code of the last DISCONNECT, or of that which 3.1.1 does not have; `None`: the transport ended, or it is not known.
    pub reason_code: Option<ReasonCode>,
    /// Why; `None`: it is not known.
    pub reason: Option<ByteString>,
}

/// An event of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// Its number among the events of all shards: one that caused another one has the lower number.
    pub number: u64,
    /// When; the last time, if it was repeated.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The address of the client.
    pub address: Option<SocketAddr>,
    /// The Reason Code, if there is one.
    pub reason_code: Option<ReasonCode>,
    /// Why.
    pub reason: Option<ByteString>,
    /// How often it happened without another event of the client in between.
    pub count: u32,
}

impl EventView {
    /// The end of a connection, if the event is that.
    pub fn as_disconnect(&self) -> Option<LastDisconnect> {
        let kind = match self.kind {
            EventKind::Disconnected(kind) => kind,
            EventKind::Connected | EventKind::Refused | EventKind::Dropping | EventKind::SessionEnded => return None,
        };
        Some(LastDisconnect { at: self.at, kind, reason_code: self.reason_code, reason: self.reason.clone() })
    }
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedView {
    /// Its sequence in the queue.
    pub sequence: u64,
    /// How far its delivery is.
    pub state: QueuedState,
    /// The bytes of topic, payload and properties; `None`: not known any more.
    pub size: Option<usize>,
    /// When it expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// What it is; `None`: the client has received it, or it was not read from the store.
    pub message: Option<Box<MessageView>>,
}

/// What a queued message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView {
    /// The Topic Name.
    pub topic: ByteString,
    /// The QoS of the delivery.
    pub qos: Qos,
    /// RETAIN of the delivery.
    pub retain: bool,
    /// The bytes of the payload.
    pub payload_bytes: usize,
    /// The first bytes of the payload.
    pub preview: Vec<u8>,
}

/// The Network Connection of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// Its identifier in the shard.
    pub id: ConnectionId,
    /// When CONNACK was sent.
    pub connected_at: Timestamp,
    /// Clean Start of CONNECT.
    pub clean_start: bool,
    /// PUBLISH packets from and to the client on this connection.
    pub messages: (u64, u64),
    /// Bytes read from and written to the transport. The caller, which knows them, sets them in the answer.
    pub bytes: (u64, u64),
    /// The user name of the client.
    pub user: Option<Arc<str>>,
    /// Whether a provider verified the user name.
    pub is_verified: bool,
    /// The remote address; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The protocol version.
    pub version: ProtocolVersion,
    /// Whether the client is a bridge: its protocol level has the bridge bit.
    pub is_bridge: bool,
    /// Keep Alive in seconds; 0: off.
    pub keep_alive: u16,
    /// An estimate of the bytes in the outgoing buffer.
    pub unsent_bytes: usize,
    /// The reasons for which the connection is not read. Empty: it is read.
    pub pause_reasons: Vec<&'static str>,
}

/// A subscription of a Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Its filter and options.
    pub subscription: Subscription,
    /// Subscription Identifier.
    pub id: Option<SubscriptionId>,
    /// Where a subscription to a stream is.
    pub progress: Option<StreamProgress>,
}

/// Where a subscription to a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamProgress {
    /// The first message that neither was sent nor is in the queue of the Session; `None`: it is not known yet.
    pub next: Option<u64>,
    /// How many sequences the stream has from there on.
    pub lag: Option<u64>,
}

/// The greatest number of entries of one page. Each entry needs some hundred bytes and a few look-ups.
pub const PAGE_MAX: usize = 1_000;
/// The greatest number of messages of a queue that are shown.
pub const QUEUED_MAX: usize = 100;
/// The greatest number of bytes of a payload that are shown.
pub const PREVIEW_BYTES_MAX: usize = 256;
