use bytestring::ByteString;

use crate::broker::ids::ConnectionId;
use crate::broker::owner::{Owner, Succession};
use crate::codec::{ClientId, MessageId, Qos, ReasonCode};
use crate::routing::ShardId;

/// An event for the log. The last ones are details: they are built only while [`Detail`](crate::broker::Detail) asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A client is connected.
    Connected {
        /// The client.
        client: ClientLabel,
        /// Its connection.
        connection: ConnectionId,
        /// `3.1`, `3.1.1` or `5.0`.
        version: &'static str,
        /// Clean Start.
        clean_start: bool,
        /// Whether it resumes a Session.
        session_present: bool,
        /// Keep Alive in seconds.
        keep_alive: u16,
    },
    /// A CONNECT was refused, or the connection ended before one.
    Refused {
        /// The client, as far as CONNECT was decoded.
        client: ClientLabel,
        /// The Reason Code of the response.
        reason_code: ReasonCode,
        /// The cause.
        cause: ByteString,
    },
    /// A connection ended before the client sent anything.
    Silent {
        /// The client: its address and listener.
        client: ClientLabel,
        /// The cause.
        cause: ByteString,
    },
    /// A connection ended.
    Disconnected {
        /// The client.
        client: ClientLabel,
        /// The Reason Code of its DISCONNECT, or of that of the broker.
        reason_code: ReasonCode,
        /// The cause, which also tells which side ended it.
        cause: ByteString,
        /// What the end says about the stability of the connection; `None`: nothing, because the client or the broker meant it.
        lost: Option<LostConnection>,
    },
    /// A PUBLISH, SUBSCRIBE or Will was denied.
    Denied {
        /// The client.
        client: ClientLabel,
        /// `PUBLISH` or `SUBSCRIBE`; `CONNECT` if it is refused for its Will; `Will` for one that is dropped when it is due.
        packet: &'static str,
        /// The Topic Name or Topic Filter.
        topic: ByteString,
        /// The Reason Code of the response.
        reason_code: ReasonCode,
        /// The access rule, or the limit.
        rule: ByteString,
    },
    /// The Session of a Client Identifier has another owner.
    OwnerChanged {
        /// The client: the new one, or that of the Session.
        client: ClientLabel,
        /// The owner from now on.
        owner: Owner,
        /// The owner before.
        previous: Owner,
        /// What happened to the Session.
        change: OwnerChange,
    },
    /// A message cannot be read from the store. It is not delivered before a restart.
    Unreadable {
        /// The receiver.
        client: ClientLabel,
        /// The sequence of the message in the queue.
        sequence: u64,
        /// The cause.
        cause: ByteString,
    },
    /// The first of a series of dropped messages to a client; the next delivery ends the series.
    Dropping {
        /// The client.
        client: ClientLabel,
        /// Why the messages are dropped.
        reason: crate::broker::DropReason,
    },
    /// A detail: messages are not delivered.
    Lost {
        /// The receiver; the publisher of a retained message or a Will that is discarded.
        client: ClientLabel,
        /// Which messages, and why.
        messages: Box<LostMessages>,
    },
    /// A detail: a PUBLISH that the client may send was handled.
    Published {
        /// The client and the message.
        message: Box<PublishedMessage>,
        /// The Reason Code of the answer; at QoS 0, of the answer that a higher QoS would get.
        reason_code: ReasonCode,
        /// Whether it repeats an earlier message by its `dedup-id`, and so was not delivered again.
        duplicate: bool,
        /// The number of Sessions that it was sent to or queued for.
        receivers: usize,
    },
    /// A detail: a SUBSCRIBE was handled.
    Subscribed {
        /// The client.
        client: ClientLabel,
        /// The answer to each filter, in the order of the packet.
        answers: Vec<FilterAnswer>,
    },
    /// A detail: an UNSUBSCRIBE was handled.
    Unsubscribed {
        /// The client.
        client: ClientLabel,
        /// The answer to each filter, in the order of the packet.
        answers: Vec<FilterAnswer>,
    },
    /// A detail: a Session changed.
    Session {
        /// Its client.
        client: ClientLabel,
        /// The change.
        change: SessionChange,
    },
    /// A detail: a Will was published or discarded.
    Will {
        /// Its client.
        client: ClientLabel,
        /// The Will Topic.
        topic: ByteString,
        /// What happened to it.
        outcome: WillOutcome,
    },
}

impl Report {
    /// The client that it is about.
    pub fn client(&self) -> &ClientLabel {
        match self {
            Self::Connected { client, .. }
            | Self::Refused { client, .. }
            | Self::Silent { client, .. }
            | Self::Disconnected { client, .. }
            | Self::Denied { client, .. }
            | Self::OwnerChanged { client, .. }
            | Self::Unreadable { client, .. }
            | Self::Dropping { client, .. }
            | Self::Lost { client, .. }
            | Self::Subscribed { client, .. }
            | Self::Unsubscribed { client, .. }
            | Self::Session { client, .. }
            | Self::Will { client, .. } => client,
            Self::Published { message, .. } => &message.client,
        }
    }

    /// Whether it is a detail, which is built by request.
    pub const fn is_detail(&self) -> bool {
        match self {
            Self::Lost { .. }
            | Self::Published { .. }
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::Session { .. }
            | Self::Will { .. } => true,
            Self::Connected { .. }
            | Self::Refused { .. }
            | Self::Silent { .. }
            | Self::Disconnected { .. }
            | Self::Denied { .. }
            | Self::OwnerChanged { .. }
            | Self::Unreadable { .. }
            | Self::Dropping { .. } => false,
        }
    }
}

/// Why a Session has another owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerChange {
    /// A verified user connected, and got the Session.
    Adopted,
    /// A verified user connected, and the anonymous Session ended.
    Ended,
    /// An operator gave it away.
    Given,
}

impl OwnerChange {
    pub(in crate::broker) const fn of(succession: Succession) -> Option<Self> {
        match succession {
            Succession::Adopt => Some(Self::Adopted),
            Succession::End => Some(Self::Ended),
            Succession::Keep | Succession::Refuse => None,
        }
    }
}

/// A connection that ended although neither side meant it: by the network, an error of the client, or a takeover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostConnection {
    /// The time since CONNACK.
    pub lasted: std::time::Duration,
    /// The user, if a provider verified it.
    pub verified_user: Option<std::sync::Arc<str>>,
}

/// Messages that are not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostMessages {
    /// The Topic Name; `None`: not known, or several.
    pub topic: Option<ByteString>,
    /// As `topic`.
    pub qos: Option<Qos>,
    /// Why.
    pub reason: crate::broker::DropReason,
    /// How many.
    pub count: u64,
    /// The identity of the message, at QoS 1 and 2.
    pub message_id: Option<MessageId>,
}

/// A PUBLISH, without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedMessage {
    /// The publisher.
    pub client: ClientLabel,
    /// The Topic Name.
    pub topic: ByteString,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// The size of the payload.
    pub bytes: usize,
}

/// The answer to one filter of a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterAnswer {
    /// The Topic Filter, with the ShareName of a Shared Subscription.
    pub filter: String,
    /// Its Reason Code; for SUBSCRIBE, the granted QoS.
    pub reason_code: ReasonCode,
}

/// A change of a Session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChange {
    /// It is new.
    Created,
    /// Its client connected again.
    Resumed {
        /// The QoS 1 and 2 messages that wait for the client.
        queued: usize,
    },
    /// Another connection took it from its connection.
    TakenOver,
    /// It moved to the shard of its client's new connection.
    Moved {
        /// The new shard.
        to: ShardId,
    },
    /// Its Session Expiry Interval passed.
    Expired,
    /// It ended for another cause.
    Ended {
        /// The cause.
        cause: &'static str,
    },
}

/// What happened to a Will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillOutcome {
    /// It was published.
    Published {
        /// The number of Sessions that it was sent to or queued for.
        receivers: usize,
    },
    /// It was discarded.
    Discarded {
        /// The cause.
        cause: &'static str,
    },
}

/// The client that a log line is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientLabel {
    /// Client Identifier, once CONNECT has been read.
    pub client_id: Option<ClientId>,
    /// Its user name.
    pub user: Option<std::sync::Arc<str>>,
    /// Remote address.
    pub address: Option<std::net::SocketAddr>,
    /// The listener.
    pub listener: Option<std::sync::Arc<str>>,
    /// The protocol version, once CONNECT has been read: `3.1`, `3.1.1` or `5.0`.
    pub version: Option<&'static str>,
    /// Its mount point, once it was accepted.
    pub mount_point: Option<crate::topic::MountPoint>,
}
