//! Questions about a shard from outside, and their answers: plain data, in bounded pages.
//!
//! [`Event::Query`](crate::broker::Event::Query) is answered by [`Action::Answer`](crate::broker::Action::Answer) in the same turn. A
//! query changes nothing. What it costs is bounded by its page, so that no client waits long, whoever asks.
//!
//! A cursor is a place in what is listed, not a copy of it: an entry that is there from the first page to the last is listed once,
//! unless its Session moves to another shard meanwhile; one that comes or goes between two pages may be listed or not.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::codec::{ClientId, ProtocolVersion, Subscription, SubscriptionId};
use crate::timestamp::Timestamp;

/// The number of a query, given by who asks. The answer has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// What a shard is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Its Sessions, connected or not, in no particular order; answered by [`Answer::Clients`].
    Clients(PageRequest),
    /// The Session of one Client Identifier; answered by [`Answer::Client`].
    Client(ClientId),
    /// The subscriptions of that Session; answered by [`Answer::Subscriptions`].
    Subscriptions(ClientId, PageRequest),
}

/// What a shard answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Some of its Sessions.
    Clients(Page<ClientView>),
    /// The Session; `None`: this shard doesn't have it.
    Client(Option<Box<ClientView>>),
    /// Some subscriptions of the Session; `None`: this shard doesn't have it.
    Subscriptions(Option<Page<SubscriptionView>>),
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// 0, or [`Page::next`] of the page before.
    pub from: u64,
    /// Entries at most; the shard gives no more than [`PAGE_MAX`].
    pub limit: usize,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Fewer than the limit, or none, also if more follow.
    pub entries: Vec<T>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<u64>,
}

/// A Session and its connection, as they are at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    /// The Client Identifier.
    pub client_id: ClientId,
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
    /// Their bytes.
    pub queued_bytes: usize,
    /// Messages sent on this connection and not acknowledged.
    pub in_flight_messages: u32,
}

/// The Network Connection of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// The name that the client is known by.
    pub user: Option<Arc<str>>,
    /// Whether that name was proved.
    pub is_verified: bool,
    /// The remote address; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The version of MQTT.
    pub version: ProtocolVersion,
    /// Keep Alive in seconds; 0: off.
    pub keep_alive: u16,
    /// Bytes that wait for the transport.
    pub unsent_bytes: usize,
    /// Why the connection is not read, in words. Empty: it is read.
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

/// Entries of one page: some hundred bytes and a few look-ups each.
pub const PAGE_MAX: usize = 1_000;
