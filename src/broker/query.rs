//! Queries about the Sessions of a shard and their answers: plain data, in bounded pages.
//!
//! [`Event::Query`](crate::broker::Event::Query) is answered by [`Action::Answer`](crate::broker::Action::Answer) in the same turn, and
//! changes nothing; except for those that change something, which are answered when that is stable. Its cost is bounded by the page size, so that it does not delay clients.
//!
//! A cursor is a position in the list, not a snapshot. An entry that exists from the first page to the last is listed once, unless its
//! Session moves to another shard meanwhile. An entry that is added or removed between two pages may be listed or not.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::broker::operator::query::{TopicAnswer, TopicQuery};
use crate::broker::owner::Owner;
use crate::codec::{ClientId, ProtocolVersion, Subscription, SubscriptionId};
use crate::routing::Access;
use crate::timestamp::Timestamp;

/// The number of a query, chosen by its sender. The answer has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// A query to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The Sessions of the shard, connected or not, in no particular order; answered by [`Answer::Clients`].
    Clients(PageRequest),
    /// The Session with this Client Identifier; answered by [`Answer::Client`].
    Client(ClientId),
    /// The subscriptions of that Session; answered by [`Answer::Subscriptions`].
    Subscriptions(ClientId, PageRequest),
    /// A query about topics; answered by [`Answer::Topics`].
    Topics(TopicQuery),
    /// Give the Session to another owner; answered by [`Answer::Gift`] when that is stable.
    Give(Box<Gift>),
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
    /// The answer to a query about topics.
    Topics(TopicAnswer),
    /// Whether the Session was given away.
    Gift(GiftOutcome),
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
    /// Session Expiry Interval in seconds; `u32::MAX`: never.
    pub session_expiry_interval: u32,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// QoS 1 and 2 messages in its queue, those in flight included.
    pub queued_messages: usize,
    /// Bytes of these messages.
    pub queued_bytes: usize,
    /// Messages sent on this connection and not acknowledged.
    pub in_flight_messages: u32,
    /// Messages dropped since the start of the broker because the client may not receive them any more.
    pub not_authorized_messages: u64,
}

/// The Network Connection of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
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
}

/// The greatest number of entries of one page. Each entry needs some hundred bytes and a few look-ups.
pub const PAGE_MAX: usize = 1_000;
