//! The directory: the shard that holds each Client Identifier, and the subscriptions. Also the other state that shards share, and the
//! messages they exchange.
//!
//! A shard finds the Sessions of other shards through the verbs of [`Directory`] only, and then sends a
//! [`ShardMessage`](message::ShardMessage) to the shard of the Session.
//!
//! | verb | used by | in a cluster, another node would |
//! | --- | --- | --- |
//! | `claim` | CONNECT | decide the order of claims of one Client Identifier, and whose it is |
//! | `restore` | recovery | add the holder |
//! | `set_owner` | an operator's gift, a new Session | change the owner, unless there was a later claim |
//! | `unclaim` | the end of a Session | remove the holder |
//! | `holder` | a query | answer from its copy |
//! | `matching` | the first message to a topic, and after a change that concerns it | answer from its copy |
//! | `share` | a message whose chosen member has ended | answer from its copy |
//! | `subscribe`, `unsubscribe`, `remove` | SUBSCRIBE, UNSUBSCRIBE, recovery, the end of a Session | receive the change |
//! | `presence_changed` | CONNECT, the end of a connection, of a Session with shares | receive the change |
//! | `access_changed` | CONNECT, a reload of access rules | receive the change |
//! | `subscription_count_of`, `subscriptions_of`, `subscriptions`, `receivers`, `subscription_counts` | a query, metrics | answer from its copy |
//!
//! A message whose route is cached uses no verb: it only reads
//! [`Shared::route_generations`](state::Shared::route_generations), by which an implementation invalidates cached routes.

pub(super) mod batch;
#[cfg(any(test, feature = "sim"))]
pub(super) mod checked;
pub(super) mod claim;
pub(super) mod exclusive;
pub(super) mod in_memory;
pub(super) mod message;
pub(super) mod room_waiters;
pub(super) mod run;
pub(super) mod state;
pub(super) mod user_connections;

use std::fmt;
use std::sync::Arc;

use crate::broker::directory::claim::{Claim, ClaimRequest, Claimed, Holder};
use crate::broker::operator::query::{Listed, ReceiverView, ReceiversRequest, SubscriberView, SubscriptionsRequest};
use crate::broker::owner::Owner;
use crate::broker::query::{Page, PageRequest, SubscriptionView};
use crate::codec::{ClientId, Subscription, SubscriptionId};
use crate::routing::{Route, SessionKey, ShardId, Share, ShareStrategy, SubscribeOutcome, Subscriber};
use crate::topic::{Filter, TopicName};

/// The verbs by which shards find each other's Sessions. Every argument and result is plain data, except for the [`Subscriber`], which the
/// shards of one process share.
///
/// An implementation guarantees, and `Checked` verifies in tests:
/// - claims of one Client Identifier are numbered in the order in which they are made, and the last one holds it until it is unclaimed;
/// - a claim is judged by the [owner](Owner) and takes effect at once, or changes nothing;
/// - `matching` sees every change that was made before it;
/// - before a change is visible, it is counted and published in the [`RouteGenerations`](crate::routing::RouteGenerations) that the
///   implementation was made with.
pub(in crate::broker) trait Directory: fmt::Debug + Send + Sync {
    /// Makes the shard of a CONNECT the holder of a Client Identifier, unless it belongs to someone else: then returns the owner.
    fn claim(&self, client_id: &ClientId, request: ClaimRequest<'_>) -> Result<Claimed, Owner>;

    /// Makes `shard` the holder of a Client Identifier that belongs to `owner`, for a recovered Session.
    fn restore(&self, client_id: &ClientId, shard: ShardId, owner: &Owner) -> Claim;

    /// Changes the owner of a Client Identifier if `claim` is still the last claim. Returns whether it is.
    fn set_owner(&self, client_id: &ClientId, claim: Claim, owner: &Owner) -> bool;

    /// Removes the holder of a Client Identifier if `claim` is still the last claim.
    fn unclaim(&self, client_id: &ClientId, claim: Claim);

    /// The holder of a Client Identifier. The Session may still be moving to that shard.
    fn holder(&self, client_id: &ClientId) -> Option<Holder>;

    /// Makes `route` that of a message to `topic`, without receivers whose access rules deny it.
    fn matching(&self, topic: &TopicName, route: &mut Route);

    /// The share that `filter` names, for a message to `topic`, to select another member.
    fn share(&self, filter: &Filter, topic: &TopicName) -> Option<Share>;

    /// Adds or replaces subscriptions of one Session, as one change. [MQTT-3.8.4-3]
    ///
    /// Returns the result for each, in order; `None`: it is not added, because the Session has `terms.subscriptions_max` already, or because it is
    /// exclusive and another Session has it. An exclusive subscription and an ordinary one to the same topic replace each other.
    fn subscribe(
        &self,
        subscriber: &Arc<Subscriber>,
        subscriptions: &[(&Subscription, Option<SubscriptionId>)],
        terms: SubscriptionTerms,
    ) -> Vec<Option<SubscribeOutcome>>;

    /// Removes subscriptions of one Session, as one change. Returns for each filter whether there was one, exclusive or not as the filter is.
    /// [MQTT-3.10.4-1]
    fn unsubscribe(&self, key: SessionKey, filters: &[Filter]) -> Vec<bool>;

    /// Removes all subscriptions of a Session.
    fn remove(&self, key: SessionKey);

    /// Tells the shares of a Session that it has connected or disconnected. They verify it when they choose, so the order of this and of other
    /// changes doesn't matter; without it, a choice takes longer.
    fn presence_changed(&self, key: SessionKey);

    /// Tells the shares of a Session that its access rules have changed, and invalidates the cached routes of its subscriptions.
    fn access_changed(&self, key: SessionKey);

    /// The number of subscriptions of a Session, including shared ones.
    fn subscription_count_of(&self, key: SessionKey) -> usize;

    /// A page of the subscriptions of a Session, in an order that is stable while none is added or removed. `page.limit` is at least 1.
    fn subscriptions_of(&self, key: SessionKey, page: PageRequest) -> Page<SubscriptionView>;

    /// A page of subscriptions of any Sessions. Its cost is bounded by the limit, except for filters that match no entry: few are visited in one
    /// page, and it may be empty.
    fn subscriptions(&self, request: &SubscriptionsRequest) -> Listed<SubscriberView>;

    /// A page of the subscriptions through which a message to a topic is received, also where access rules deny it. Its cost is bounded as that of
    /// `subscriptions`, beside the look-up of the matching filters.
    fn receivers(&self, request: &ReceiversRequest) -> Listed<ReceiverView>;

    /// The number of all subscriptions, and of Shared Subscriptions among them.
    fn subscription_counts(&self) -> (usize, usize);
}

/// What applies to all subscriptions of one [`Directory::subscribe`].
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct SubscriptionTerms {
    /// How a share selects its members from now on.
    pub(in crate::broker) strategy: ShareStrategy,
    /// The number of subscriptions that the Session may have.
    pub(in crate::broker) subscriptions_max: usize,
}
