use std::sync::Arc;

use smallvec::SmallVec;

use crate::codec::{Matched, Qos, ShareCopy, SubscriptionId, SubscriptionOptions};
use crate::routing::{SessionKey, Subscriber};
use crate::topic::Filter;

/// A Session's subscription, as the index stores it.
#[derive(Debug, Clone)]
pub(super) struct Subscribed {
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) options: SubscriptionOptions,
    pub(super) id: Option<SubscriptionId>,
}

/// A Session that receives a message, and how.
///
/// All its matching subscriptions that are not shared are merged to **one** copy, at the highest QoS that any of them grants [MQTT-3.3.4-2],
/// and with all their identifiers [MQTT-3.3.4-3, MQTT-3.3.4-4]. The standard also permits a copy for each subscription. That would multiply
/// the work, and a client could not tell the copies from a message that was published twice.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// The Session.
    pub subscriber: Arc<Subscriber>,
    others: Delivery,
    own: OwnMessages,
}

/// How a message is delivered to a Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The highest granted QoS. The message is sent at the lower of this and its own QoS. [MQTT-3.8.4-8]
    pub qos: Qos,
    /// Whether RETAIN is kept as published, because a subscription requests it. [MQTT-3.3.1-13]
    pub retain_as_published: bool,
    /// The identifiers of the matching subscriptions, or the share.
    pub matched: Option<Arc<Matched>>,
}

/// How a Session receives its own messages.
#[derive(Debug, Clone)]
enum OwnMessages {
    /// Like those of others: no subscription has No Local.
    LikeOthers,
    /// Not at all: all subscriptions have No Local.
    None,
    /// Through the subscriptions without No Local.
    Reduced(Box<Delivery>),
}

impl Receiver {
    /// Merges `subscriptions` of one Session; `None` if there are none.
    pub(super) fn merge<'a>(subscriptions: impl IntoIterator<Item = &'a Subscribed, IntoIter: Clone>) -> Option<Self> {
        let subscriptions = subscriptions.into_iter();
        let subscriber = Arc::clone(&subscriptions.clone().next()?.subscriber);
        let own = if subscriptions.clone().any(|subscription| subscription.options.no_local) {
            let local = Delivery::merge(subscriptions.clone().filter(|subscription| !subscription.options.no_local));
            local.map_or(OwnMessages::None, |delivery| OwnMessages::Reduced(Box::new(delivery)))
        } else {
            OwnMessages::LikeOthers
        };
        Some(Self { subscriber, others: Delivery::merge(subscriptions)?, own })
    }

    /// The receiver for a member of the Shared Subscription `filter`.
    pub(super) fn of_share(member: &Subscribed, filter: &Arc<Filter>) -> Self {
        let Subscribed { subscriber, options, id } = member;
        let matched = Matched::new(id.iter().copied().collect(), Some(Arc::clone(filter)));
        let others = Delivery { qos: options.qos, retain_as_published: options.retain_as_published, matched };
        Self { subscriber: Arc::clone(subscriber), others, own: OwnMessages::LikeOthers }
    }

    /// The receiver of messages for another cell, which get there once and with the RETAIN flag that they have.
    pub fn of_link(subscriber: Arc<Subscriber>) -> Self {
        let others = Delivery { qos: Qos::ExactlyOnce, retain_as_published: true, matched: None };
        Self { subscriber, others, own: OwnMessages::LikeOthers }
    }

    /// The receiver of the copy for a share, by the Session of the link to a cell with members of it.
    pub fn of_share_copy(subscriber: Arc<Subscriber>, copy: &ShareCopy) -> Self {
        let others = Delivery { qos: Qos::ExactlyOnce, retain_as_published: true, matched: copy.matched() };
        Self { subscriber, others, own: OwnMessages::LikeOthers }
    }

    /// The QoS of a message that is to be delivered with this one: another cell gets it once, whatever its subscribers there get.
    pub fn qos_of(&self, granted: Qos) -> Qos {
        if granted > Qos::AtMostOnce && self.subscriber.is_link() { Qos::ExactlyOnce } else { granted }
    }

    /// How the Session receives a message of `publisher`; `None` for its own message with No Local. [MQTT-3.8.3-3]
    pub fn delivery(&self, publisher: Option<SessionKey>) -> Option<&Delivery> {
        match &self.own {
            OwnMessages::None if publisher == Some(self.subscriber.key) => None,
            OwnMessages::Reduced(delivery) if publisher == Some(self.subscriber.key) => Some(delivery),
            OwnMessages::LikeOthers | OwnMessages::None | OwnMessages::Reduced(_) => Some(&self.others),
        }
    }
}

impl Delivery {
    fn merge<'a>(subscriptions: impl Iterator<Item = &'a Subscribed>) -> Option<Self> {
        let mut merged: Option<Self> = None;
        let mut subscription_ids = SmallVec::new();
        for Subscribed { options, id, .. } in subscriptions {
            let first = || Self { qos: options.qos, retain_as_published: false, matched: None };
            let delivery = merged.get_or_insert_with(first);
            delivery.qos = delivery.qos.max(options.qos);
            delivery.retain_as_published |= options.retain_as_published;
            subscription_ids.extend(*id);
        }
        Some(Self { matched: Matched::new(subscription_ids, None), ..merged? })
    }
}

#[cfg(test)]
impl Delivery {
    /// The identifiers of the subscriptions, in ascending order.
    pub(super) fn subscription_ids(&self) -> Vec<u32> {
        let ids = self.matched.iter().flat_map(|matched| &matched.subscription_ids);
        let mut ids = ids.map(|id| id.get()).collect::<Vec<_>>();
        ids.sort_unstable();
        ids
    }
}
