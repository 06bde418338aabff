//! Makes a route from the subscriptions of the matching filters.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::routing::compact_map::CompactMap;
use crate::routing::filter_subscriptions::FilterSubscriptions;
use crate::routing::receiver::{Receiver, Subscribed};
use crate::routing::route::{ReceiverList, Receivers, Route};
use crate::routing::subscriber::SessionKey;
use crate::topic::TopicName;

/// Subscriptions with their Sessions.
type Subscriptions<'a> = SmallVec<[(SessionKey, &'a Subscribed); 8]>;

/// Makes `route` that of a message to `topic`, which matches these filters.
pub(super) fn resolve(filters: &[&FilterSubscriptions], topic: &TopicName, route: &mut Route) {
    route.clear();
    let Route { receivers, shares } = route;
    let mut few = Subscriptions::new();
    for subscriptions in filters {
        if let Some(of_filter) = subscriptions.shares() {
            shares.reserve_exact(of_filter.len());
            shares.extend(of_filter.resolve_all(topic));
        }
        match subscriptions.list() {
            Some(list) => {
                receivers.lists.reserve_exact(1);
                receivers.lists.push(ReceiverList { receivers: Arc::clone(list), skipped: Vec::new() });
            }
            None => match subscriptions.own() {
                CompactMap::One(key, subscribed) => few.push((*key, subscribed)),
                own @ (CompactMap::Empty | CompactMap::Many(_)) => {
                    few.extend(own.iter().map(|(&key, subscribed)| (key, subscribed)))
                }
            },
        }
    }
    if !receivers.lists.is_empty() {
        separate(filters, &mut few, &mut receivers.lists);
    }
    if let [(_, subscribed)] = &*few {
        let receiver = Receiver::merge([*subscribed]).filter(|receiver| receiver.subscriber.may_receive(topic));
        if let Some(receiver) = receiver {
            receivers.own.push(receiver);
        }
        return skip_denied(topic, receivers);
    }
    few.sort_by_key(|&(key, _)| key);
    let merged = few.chunk_by(|(one, _), (other, _)| one == other);
    let merged = merged.filter_map(|of_session| Receiver::merge(of_session.iter().map(|&(_, subscribed)| subscribed)));
    receivers.own.extend(merged.filter(|receiver| receiver.subscriber.may_receive(topic)));
    skip_denied(topic, receivers);
}

/// Makes `lists` skip the Sessions that have further matching subscriptions, and adds all those subscriptions to `few`.
fn separate<'a>(filters: &[&'a FilterSubscriptions], few: &mut Subscriptions<'a>, lists: &mut [ReceiverList]) {
    // The lists are shorter than `largest` together, or there is only one, so the work doesn't grow with a single large list.
    let largest = lists.iter().enumerate().max_by_key(|(_, list)| list.receivers.len()).map(|(index, _)| index);
    let others = lists.iter().enumerate().filter(|(index, _)| Some(*index) != largest);
    let of_others = others.flat_map(|(_, list)| list.receivers.iter().map(|receiver| receiver.subscriber.key));
    let mut keys: Vec<SessionKey> = few.iter().map(|(key, _)| *key).chain(of_others).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut is_few: Vec<SessionKey> = few.iter().map(|(key, _)| *key).collect();
    is_few.sort_unstable();
    for key in keys {
        let place = |list: &ReceiverList| list.receivers.binary_search_by_key(&key, |one| one.subscriber.key).ok();
        let places: SmallVec<[Option<usize>; 4]> = lists.iter().map(place).collect();
        let found = places.iter().flatten().count() + usize::from(is_few.binary_search(&key).is_ok());
        if found < 2 {
            continue;
        }
        for (list, place) in lists.iter_mut().zip(places) {
            list.skipped.extend(place.and_then(|place| u32::try_from(place).ok()));
        }
        let listed = filters.iter().filter(|subscriptions| subscriptions.list().is_some());
        few.extend(listed.filter_map(|subscriptions| Some((key, subscriptions.own().get(&key)?))));
    }
}

/// Makes the lists skip the Sessions whose access rules deny `topic`. If that leaves less than half of a list, they are copied instead.
fn skip_denied(topic: &TopicName, Receivers { own, lists }: &mut Receivers) {
    if lists.is_empty() {
        return;
    }
    for list in &mut *lists {
        let is_denied = |(_, receiver): &(u32, &Receiver)| !receiver.subscriber.may_receive(topic);
        let denied: Vec<u32> = list.iter().filter(is_denied).map(|(index, _)| index).collect();
        if !denied.is_empty() {
            list.skipped.extend(denied);
            list.skipped.sort_unstable();
        }
    }
    let mut copied = false;
    lists.retain(|list| {
        let is_kept = list.len() * 2 >= list.receivers.len();
        if !is_kept {
            own.extend(list.iter().map(|(_, receiver)| receiver.clone()));
            copied = true;
        }
        is_kept
    });
    if copied {
        own.sort_by_key(|receiver| receiver.subscriber.key);
    }
}

#[cfg(test)]
mod tests;
