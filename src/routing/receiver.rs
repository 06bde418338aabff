use std::sync::Arc;

use smallvec::SmallVec;

use crate::codec::{Matched, Qos, SubscriptionId, SubscriptionOptions};
use crate::routing::{SessionKey, Subscriber};
use crate::topic::Filter;

/// One Session's side of a subscription, as the index keeps it.
#[derive(Debug, Clone)]
pub(super) struct Subscribed {
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) options: SubscriptionOptions,
    pub(super) id: Option<SubscriptionId>,
}

/// A Session that gets a message, and how.
///
/// All its matching subscriptions that are not shared are merged to **one** copy, at the highest QoS that any of them grants [MQTT-3.3.4-2],
/// and with all their identifiers [MQTT-3.3.4-3, MQTT-3.3.4-4]. The standard also permits a copy for each subscription. That would multiply
/// the work, and a client could not tell the copies from a message that was published twice.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// The Session.
    pub subscriber: Arc<Subscriber>,
    of_others: Delivery,
    of_its_own: OwnMessages,
}

/// How a message goes to a Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The highest QoS that is granted; the message goes out at the lower of this and its own. [MQTT-3.8.4-8]
    pub qos: Qos,
    /// Whether RETAIN is kept as published: one of the subscriptions asks for it. [MQTT-3.3.1-13]
    pub retain_as_published: bool,
    /// The identifiers of all these subscriptions, or the share.
    pub matched: Option<Arc<Matched>>,
}

/// How a Session gets what it published itself.
#[derive(Debug, Clone)]
enum OwnMessages {
    /// As anybody's: no subscription is No Local.
    AsOfOthers,
    /// Not at all: they all are.
    Nothing,
    /// By the subscriptions that aren't No Local.
    Less(Box<Delivery>),
}

impl Receiver {
    /// The merge of `subscriptions`, which are all of this one Session; `None` if there are none.
    pub(super) fn merge<'a>(subscriptions: impl IntoIterator<Item = &'a Subscribed, IntoIter: Clone>) -> Option<Self> {
        let subscriptions = subscriptions.into_iter();
        let subscriber = Arc::clone(&subscriptions.clone().next()?.subscriber);
        let of_its_own = if subscriptions.clone().any(|subscription| subscription.options.no_local) {
            let local = Delivery::merge(subscriptions.clone().filter(|subscription| !subscription.options.no_local));
            local.map_or(OwnMessages::Nothing, |delivery| OwnMessages::Less(Box::new(delivery)))
        } else {
            OwnMessages::AsOfOthers
        };
        Some(Self { subscriber, of_others: Delivery::merge(subscriptions)?, of_its_own })
    }

    /// A member of the Shared Subscription of `filter`.
    pub(super) fn of_share(member: &Subscribed, filter: &Arc<Filter>) -> Self {
        let Subscribed { subscriber, options, id } = member;
        let matched = Matched::new(id.iter().copied().collect(), Some(Arc::clone(filter)));
        let of_others = Delivery { qos: options.qos, retain_as_published: options.retain_as_published, matched };
        Self { subscriber: Arc::clone(subscriber), of_others, of_its_own: OwnMessages::AsOfOthers }
    }

    /// How the Session gets a message of `publisher`; `None` if its own, and No Local. [MQTT-3.8.3-3]
    pub fn delivery(&self, publisher: Option<SessionKey>) -> Option<&Delivery> {
        match &self.of_its_own {
            OwnMessages::Nothing if publisher == Some(self.subscriber.key) => None,
            OwnMessages::Less(delivery) if publisher == Some(self.subscriber.key) => Some(delivery),
            OwnMessages::AsOfOthers | OwnMessages::Nothing | OwnMessages::Less(_) => Some(&self.of_others),
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
