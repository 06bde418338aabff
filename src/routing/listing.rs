//! Lists subscriptions in bounded steps: all of them, those to one Topic Filter, or those that match a Topic Name.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec::{SubscriptionId, SubscriptionOptions};
use crate::routing::filter_tree::{FilterId, FilterTree};
use crate::routing::receiver::Subscribed;
use crate::routing::subscriber::{SessionKey, Subscriber};
use crate::topic::{Filter, ShareName, TopicFilter, TopicName};

/// The subscriptions that are listed.
#[derive(Debug, Clone, Copy)]
pub enum ListingScope<'a> {
    /// All.
    All,
    /// Those to exactly this Topic Filter. With a ShareName, those of this share; without one, also those of all its shares.
    Filter(&'a Filter),
    /// Those through which a message to this topic is received, whatever the access rules say.
    Matching(&'a TopicName),
}

/// A position between two subscriptions: filters are in the order of their numbers, the shares of a filter follow its other subscriptions, and
/// Sessions are in the order of their keys.
///
/// A filter that is added while another one is removed may have the number of that one, so it may be listed or not, as any subscription that comes
/// or goes meanwhile. One that exists from the beginning to the end is listed once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionPlace {
    /// The number of the filter.
    pub filter: u32,
    /// `None`: the Non-shared Subscriptions.
    pub share: Option<ShareName>,
    /// The first Session.
    pub session: SessionKey,
}

/// A subscription of a Session.
#[derive(Debug, Clone, Copy)]
pub struct ListedSubscription<'a> {
    /// The Session.
    pub subscriber: &'a Arc<Subscriber>,
    /// The Topic Filter, without the share.
    pub filter: &'a ListedFilter<'a>,
    /// The share of which the Session is a member.
    pub share: Option<&'a ShareName>,
    /// The options, with the granted QoS.
    pub options: SubscriptionOptions,
    /// Subscription Identifier.
    pub id: Option<SubscriptionId>,
}

/// A Topic Filter, which is made of its levels when it is wanted.
#[derive(Debug)]
pub struct ListedFilter<'a> {
    filters: &'a FilterTree,
    id: FilterId,
    made: OnceCell<TopicFilter>,
}

impl ListedFilter<'_> {
    /// The Topic Filter.
    pub fn get(&self) -> &TopicFilter {
        self.made.get_or_init(|| self.filters.filter(self.id))
    }
}

/// A listing under way.
pub(super) struct Listing<'a, F> {
    pub(super) filters: &'a FilterTree,
    /// Filters and subscriptions that may still be visited.
    pub(super) visits: &'a mut usize,
    /// Is passed each subscription. It returns what that costs in visits, beside one, or breaks after the last one.
    pub(super) found: F,
}

impl<F: FnMut(ListedSubscription<'_>) -> ControlFlow<(), usize>> Listing<'_, F> {
    /// Lists from `from` on, until `found` breaks or the visits are used up. Returns where to continue; `None`: everything was listed.
    ///
    /// For [`ListingScope::Matching`], the matching filters are looked up in each call, at the cost of a message whose route is not cached.
    pub(super) fn run(&mut self, scope: ListingScope<'_>, from: &SubscriptionPlace) -> Option<SubscriptionPlace> {
        match scope {
            ListingScope::All => self.filters_from(from.filter..=self.filters.last_number(), from, None),
            ListingScope::Filter(filter) => {
                let id = self.filters.find(&filter.topic_filter)?;
                self.filters_from([id.number()], from, filter.share.as_ref())
            }
            ListingScope::Matching(topic) => {
                let mut numbers = Vec::new();
                self.filters.find_matching(topic, |id| numbers.push(id.number()));
                numbers.retain(|number| *number >= from.filter);
                numbers.sort_unstable();
                self.filters_from(numbers, from, None)
            }
        }
    }

    fn filters_from(
        &mut self,
        numbers: impl IntoIterator<Item = u32>,
        from: &SubscriptionPlace,
        share: Option<&ShareName>,
    ) -> Option<SubscriptionPlace> {
        for number in numbers {
            let start = if number == from.filter {
                from.clone()
            } else {
                SubscriptionPlace { filter: number, ..SubscriptionPlace::default() }
            };
            if *self.visits == 0 {
                return Some(start);
            }
            *self.visits -= 1;
            let Some(id) = self.filters.at(number) else { continue };
            let next = self.filter_from(id, start, share);
            if next.is_some() {
                return next;
            }
        }
        None
    }

    /// Lists the subscriptions to one filter. `only`: those of this share.
    fn filter_from(
        &mut self,
        id: FilterId,
        from: SubscriptionPlace,
        only: Option<&ShareName>,
    ) -> Option<SubscriptionPlace> {
        let subscriptions = self.filters.subscriptions(id);
        let filter = ListedFilter { filters: self.filters, id, made: OnceCell::new() };
        let mut next = None;
        if from.share.is_none() && only.is_none() {
            for (&key, subscribed) in subscriptions.own().iter_from(from.session) {
                if self.visit((&filter, None), subscribed, key, &mut next).is_break() {
                    return next.map(|session| SubscriptionPlace { session, ..from });
                }
            }
        }
        let shares = subscriptions.shares()?;
        for name in shares.names_from(from.share.as_ref().or(only)) {
            if only.is_some_and(|only| only != name) {
                break;
            }
            let session = if from.share.as_ref() == Some(name) { from.session } else { SessionKey(0) };
            shares.list(name, session, |key, subscribed| self.visit((&filter, Some(name)), subscribed, key, &mut next));
            if let Some(session) = next {
                return Some(SubscriptionPlace { filter: from.filter, share: Some(name.detached()), session });
            }
        }
        None
    }

    /// Passes a subscription on, unless the visits are used up. Breaks if `next`, where to continue, is set.
    fn visit(
        &mut self,
        (filter, share): (&ListedFilter<'_>, Option<&ShareName>),
        subscribed: &Subscribed,
        key: SessionKey,
        next: &mut Option<SessionKey>,
    ) -> ControlFlow<()> {
        if *self.visits == 0 {
            *next = Some(key);
            return ControlFlow::Break(());
        }
        let Subscribed { subscriber, options, id } = subscribed;
        let listed = ListedSubscription { subscriber, filter, share, options: *options, id: *id };
        match (self.found)(listed) {
            ControlFlow::Continue(cost) => {
                *self.visits = self.visits.saturating_sub(1 + cost);
                ControlFlow::Continue(())
            }
            ControlFlow::Break(()) => {
                *next = Some(SessionKey(key.0.saturating_add(1)));
                ControlFlow::Break(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
