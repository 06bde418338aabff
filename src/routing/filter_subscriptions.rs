use std::sync::{Arc, OnceLock};

use crate::routing::compact_map::CompactMap;
use crate::routing::of_filter::OfFilter;
use crate::routing::receiver::{Receiver, Subscribed};
use crate::routing::shared::Shares;
use crate::routing::subscriber::SessionKey;

/// The subscriptions to one Topic Filter.
#[derive(Debug, Default)]
pub(super) struct FilterSubscriptions {
    own: CompactMap<SessionKey, Subscribed>,
    /// Most filters need only the pointer.
    extras: Option<Box<Extras>>,
}

/// What filters with shares or with many subscribers have.
#[derive(Debug, Default)]
struct Extras {
    shares: Shares,
    /// The receivers through this filter alone, for all routes. It is made when first needed.
    list: OnceLock<Arc<[Receiver]>>,
}

impl OfFilter for FilterSubscriptions {
    fn is_unused(&self) -> bool {
        self.own.is_empty() && self.extras.is_none()
    }
}

impl FilterSubscriptions {
    /// The Non-shared Subscriptions.
    pub(super) const fn own(&self) -> &CompactMap<SessionKey, Subscribed> {
        &self.own
    }

    /// Adds a Non-shared Subscription, or replaces that of the Session and returns it.
    pub(super) fn insert(&mut self, subscribed: Subscribed) -> Option<Subscribed> {
        let replaced = self.own.insert(subscribed.subscriber.key, subscribed);
        if self.own.len() >= LISTED_MIN {
            self.extras.get_or_insert_default().list.take();
        }
        replaced
    }

    /// Removes a Non-shared Subscription.
    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Subscribed> {
        let removed = self.own.remove(&key);
        if let Some(extras) = &mut self.extras {
            extras.list.take();
        }
        self.drop_extras();
        removed
    }

    pub(super) fn shares(&self) -> Option<&Shares> {
        self.extras.as_ref().map(|extras| &extras.shares).filter(|shares| !shares.is_empty())
    }

    /// Changes the shares.
    pub(super) fn change_shares<T>(&mut self, change: impl FnOnce(&mut Shares) -> T) -> T {
        let result = change(&mut self.extras.get_or_insert_default().shares);
        self.drop_extras();
        result
    }

    /// The receivers through this filter alone, if there are many; by Session, ascending.
    pub(super) fn list(&self) -> Option<&Arc<[Receiver]>> {
        let extras = self.extras.as_ref().filter(|_| self.own.len() >= LISTED_MIN)?;
        Some(extras.list.get_or_init(|| self.own.iter().filter_map(|(_, one)| Receiver::merge([one])).collect()))
    }

    fn drop_extras(&mut self) {
        let is_needed = self.own.len() >= LISTED_MIN || self.shares().is_some();
        if !is_needed {
            self.extras = None;
        }
    }
}

/// The number of subscribers from which on routes share a list of them. Fewer are copied, which costs a route less than a reference to a list.
const LISTED_MIN: usize = 32;
