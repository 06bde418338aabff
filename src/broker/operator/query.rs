//! Queries about topics, and their answers: plain data, in bounded pages.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::detail::ClientPattern;
use crate::codec::{ClientId, Message, MessageId, Qos, ReasonCode, Subscription, SubscriptionId};
use crate::routing::{Access, RetainedCursor, RetainedMessage, RuleSource, SubscriptionPlace};
use crate::timestamp::Timestamp;
use crate::topic::{Filter, ShareName, TopicFilter, TopicName};

/// A query about topics. Any shard answers for all, except for the logs of refusals and drops, which each shard has its own part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicQuery {
    /// Subscriptions of all Sessions; answered by [`TopicAnswer::Subscriptions`].
    Subscriptions(SubscriptionsRequest),
    /// Who would get a message; answered by [`TopicAnswer::Receivers`].
    Receivers(ReceiversRequest),
    /// Retained messages; answered by [`TopicAnswer::Retained`].
    Retained(RetainedRequest),
    /// The retained message of a topic; answered by [`TopicAnswer::RetainedMessage`].
    RetainedMessage(TopicName),
    /// Delete some of the retained messages that a filter matches; answered by [`TopicAnswer::Deleted`] when that is stable.
    DeleteRetained(DeletionRequest),
    /// Publish a message; answered by [`TopicAnswer::Published`] when a client's would be acknowledged.
    Publish(Box<OperatorMessage>),
    /// Whether a client may publish or subscribe, and why; answered by [`TopicAnswer::Explained`].
    Explain(Box<ExplainRequest>),
    /// The last refusals of this shard; answered by [`TopicAnswer::Refusals`].
    Refusals(LogRequest),
    /// The last drops of this shard; answered by [`TopicAnswer::Drops`].
    Drops(LogRequest),
}

/// The answer to a [`TopicQuery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicAnswer {
    /// A page of subscriptions.
    Subscriptions(Listed<SubscriberView>),
    /// A page of receivers, and whether the topic has a retained message.
    Receivers(Listed<ReceiverView>, bool),
    /// A page of retained messages. There may be fewer than the limit, or none, although more follow.
    Retained(Vec<Arc<RetainedMessage>>, Option<RetainedCursor>),
    /// The retained message; `None`: the topic has none.
    RetainedMessage(Option<Arc<RetainedMessage>>),
    /// How many were deleted, and how to continue; `None`: all were.
    Deleted(usize, Option<DeletionProgress>),
    /// The message was accepted, or why it was not.
    Published(Result<Publication, Unpublished>),
    /// The decision and its reason.
    Explained(Explanation),
    /// Refusals, newest last.
    Refusals(LogPage<RefusalView>),
    /// Drops, newest last.
    Drops(LogPage<DropView>),
}

/// A part of the subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionsRequest {
    /// Only those to exactly this filter. With a ShareName, those of this share; without one, also those of all its shares.
    pub filter: Option<Filter>,
    /// Only those of clients that match.
    pub client_id: Option<ClientPattern>,
    /// Where the previous page ended.
    pub from: SubscriptionPlace,
    /// The greatest number of entries, at most [`PAGE_MAX`](crate::broker::PAGE_MAX).
    pub limit: usize,
}

/// A part of the receivers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiversRequest {
    /// The topic of the message.
    pub topic: TopicName,
    /// Where the previous page ended.
    pub from: SubscriptionPlace,
    /// The greatest number of entries, at most [`PAGE_MAX`](crate::broker::PAGE_MAX).
    pub limit: usize,
}

/// A part of the retained messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedRequest {
    /// The filter that matches them.
    pub filter: TopicFilter,
    /// Where the previous page ended; `None`: at the beginning.
    pub cursor: Option<RetainedCursor>,
    /// The greatest number of entries, at most [`PAGE_MAX`](crate::broker::PAGE_MAX).
    pub limit: usize,
}

/// A part of the deletion of retained messages. A crash after the first part is stable undoes nothing: the start deletes the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionRequest {
    /// The filter that matches them.
    pub filter: TopicFilter,
    /// What the answer to the previous part said; `None`: this is the first part.
    pub progress: Option<DeletionProgress>,
}

/// How far a deletion of retained messages is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionProgress {
    /// Messages that were retained after this change stay; `None`: the filter has no wildcard, so the deletion has one part.
    pub(in crate::broker) number: Option<u64>,
    /// Where the next part begins.
    pub(in crate::broker) cursor: Option<RetainedCursor>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries. There may be fewer than the limit, or none, although more follow.
    pub entries: Vec<T>,
    /// Where to continue; `None`: this was the last part.
    pub next: Option<SubscriptionPlace>,
}

/// A subscription, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberView {
    /// The client.
    pub client_id: ClientId,
    /// The filter and the options, with the granted QoS.
    pub subscription: Subscription,
    /// Subscription Identifier.
    pub id: Option<SubscriptionId>,
}

/// A subscription through which a client would get a message. A client with several of them gets one copy, at the highest QoS; of a share, one
/// member gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverView {
    /// The client.
    pub client_id: ClientId,
    /// Whether it is connected.
    pub is_connected: bool,
    /// The granted QoS.
    pub qos: Qos,
    /// The Topic Filter, without the share.
    pub filter: TopicFilter,
    /// The share of which it is a member.
    pub share: Option<ShareName>,
    /// Whether its access rules allow it to receive the message.
    pub is_allowed: bool,
}

/// A message of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorMessage {
    /// Topic Name, payload and properties.
    pub message: Message,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Message Expiry Interval in seconds.
    pub message_expiry_interval: Option<u32>,
}

/// A message of the operator was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// The number of Sessions that it was sent to or queued for.
    pub matched: usize,
    /// Its identity, at QoS 1 and 2, but not of a retained message of several cells, which has no journey.
    pub message_id: Option<MessageId>,
}

/// Why a message of the operator was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpublished {
    /// It is not allowed, whoever publishes it.
    Refused(String),
    /// There is no room for it: a client's message would be refused with 0x97, or the client would be paused.
    Busy(&'static str),
}

/// A question about the rights of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainRequest {
    /// The Client Identifier.
    pub client_id: ClientId,
    /// The user name that it sends; `None`: it sends none.
    pub user: Option<String>,
    /// The listener where it connects; `None`: one without rules of its own.
    pub listener: Option<String>,
    /// The action.
    pub action: ExplainedAction,
    /// What the files say about the client. The caller of the shard fills it in; without it, the client may do everything.
    pub standing: Option<Standing>,
}

/// The action of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExplainedAction {
    /// Publish to a topic.
    Publish(TopicName),
    /// Subscribe to a filter.
    Subscribe(Filter),
}

/// What the password file and the ACL file say about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its access rules.
    pub access: Arc<Access>,
    /// Why it is not accepted at all.
    pub refusal: Option<&'static str>,
    /// What else decides whether it is accepted, or as whom.
    pub note: Option<String>,
    /// The line that makes its user a superuser, to whom no rule applies.
    pub superuser: Option<Arc<RuleSource>>,
}

/// Whether a client may do something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it may.
    pub is_allowed: bool,
    /// The rule that decides; `None`: no line of a file does.
    pub rule: Option<Arc<RuleSource>>,
    /// The reason, as a sentence.
    pub reason: String,
}

/// A part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRequest {
    /// Only entries with a lower number.
    pub before: Option<u64>,
    /// The greatest number of entries, at most [`PAGE_MAX`](crate::broker::PAGE_MAX): the newest ones.
    pub limit: usize,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage<T> {
    /// The entries with their numbers, newest last.
    pub entries: Vec<(u64, T)>,
    /// How many refusals or dropped messages since the start are not in the log, because there were too many within a second.
    pub left_out: u64,
}

/// A refused CONNECT, PUBLISH or SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalView {
    /// When.
    pub at: Timestamp,
    /// What was refused.
    pub action: RefusedAction,
    /// The client, as far as CONNECT was decoded. Long texts are cut.
    pub client_id: Option<Box<str>>,
    /// Its user name.
    pub user: Option<Box<str>>,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// The Reason Code of the answer.
    pub reason_code: ReasonCode,
    /// The access rule or the limit, for what is refused by one.
    pub rule: Option<Box<str>>,
    /// The cause.
    pub reason: Box<str>,
    /// The Topic Name or Topic Filter.
    pub topic: Option<Box<str>>,
}

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedAction {
    /// CONNECT, also for its Will.
    Connect,
    /// PUBLISH, or a Will when it was due.
    Publish,
    /// A filter of SUBSCRIBE.
    Subscribe,
}

/// Messages that were not delivered to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropView {
    /// When the first was dropped.
    pub at: Timestamp,
    /// The client; for a retained message or a Will that was discarded, the publisher. Long texts are cut.
    pub client_id: Box<str>,
    /// The topic; `None`: the messages were not in memory, or they are several.
    pub topic: Option<Box<str>>,
    /// The QoS of the delivery, as the topic.
    pub qos: Option<Qos>,
    /// The reason.
    pub reason: DropReason,
    /// How many, within a second of the first.
    pub count: u64,
}
