//! What cells say to each other about a copy of a message for one Shared Subscription.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::property::USER_PROPERTY;
use super::user_properties::split_prefixed;
use super::{Matched, MessageProperties, Qos, SubscriptionId};
use crate::topic::{Filter, ShareName, TopicFilter};

/// Says to which Shared Subscription a copy of a message for another cell belongs. One member of it gets the message.
///
/// In the queue for that cell it is a [`Matched`]. In the PUBLISH, the Subscription Identifier says that there is one ([`Matched::published`]), and the first two
/// User Properties have it: the ShareName with the Topic Filter, and `publisher` with the other numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareCopy {
    /// The share.
    pub filter: Arc<Filter>,
    /// A hash of the publisher. The highest bit is always set.
    pub publisher: u32,
    /// The cells that had no member of the share for it, in the order in which it was there.
    pub been: SmallVec<[u8; 8]>,
}

impl ShareCopy {
    /// A copy that was in no other cell. `publisher`: any hash of its publisher.
    pub fn new(filter: &Arc<Filter>, publisher: u32) -> Self {
        Self { filter: Arc::clone(filter), publisher: publisher | MARK, been: SmallVec::new() }
    }

    /// For the queue of its cell.
    pub fn matched(&self) -> Option<Arc<Matched>> {
        let numbers = [self.publisher].into_iter().chain(self.been.iter().map(|cell| u32::from(*cell) + 1));
        Matched::new(numbers.filter_map(SubscriptionId::new).collect(), Some(Arc::clone(&self.filter)))
    }

    /// The properties of the message behind it.
    #[must_use]
    pub fn put_before(&self, properties: &MessageProperties) -> MessageProperties {
        let filter = &self.filter;
        let name = filter.share.as_ref().map_or("", ShareName::as_str);
        let mut numbers = self.publisher.to_string();
        self.been.iter().for_each(|cell| numbers += &format!(" {cell}"));
        let own = [(name, filter.topic_filter.as_str()), (PUBLISHER, &numbers)];
        properties.behind_user_properties(own.into_iter())
    }

    /// Takes it out of the properties that [`put_before`](Self::put_before) returns; `None`: it is not there.
    pub fn take_from(properties: &MessageProperties) -> Option<(Self, MessageProperties)> {
        let all = properties.as_bytes();
        let (name, topic_filter, rest) = user_property(all)?;
        let (publisher, numbers, rest) = user_property(rest)?;
        let share = Some(ShareName::try_from(name).ok()?);
        let filter = Filter { share, topic_filter: TopicFilter::try_from(topic_filter).ok()?, is_exclusive: false };
        let (publisher, been) = (publisher == PUBLISHER).then(|| numbers.split_once(' ').unwrap_or((numbers, "")))?;
        let been = been.split_terminator(' ').map(|cell| cell.parse().ok()).collect::<Option<_>>()?;
        let publisher = publisher.parse::<u32>().ok().filter(|publisher| publisher & MARK != 0)?;
        let rest = MessageProperties::from_bytes(Bytes::copy_from_slice(rest)).ok()?;
        Some((Self { filter: Arc::new(filter), publisher, been }, rest))
    }
}

impl Matched {
    /// `None` if there are neither identifiers nor a share.
    pub fn new(subscription_ids: SmallVec<[SubscriptionId; 2]>, share: Option<Arc<Filter>>) -> Option<Arc<Self>> {
        let says_anything = share.is_some() || !subscription_ids.is_empty();
        let source = MessageProperties::default();
        says_anything.then(|| Arc::new(Self { subscription_ids, share, source }))
    }

    /// Tells another cell with which QoS a message was published, in a Subscription Identifier, which no cell needs of another; and whether it is a
    /// [`ShareCopy`].
    pub fn published(qos: Qos, is_share_copy: bool) -> Option<Arc<Self>> {
        let first = if is_share_copy { FIRST_OF_SHARES } else { 1 };
        Self::new(SubscriptionId::new(u32::from(qos.level()) + first).into_iter().collect(), None)
    }

    /// What the copy for another cell is, if it is for a share.
    pub fn share_copy(&self) -> Option<ShareCopy> {
        let (publisher, been) = self.subscription_ids.split_first()?;
        let filter = self.share.as_ref().filter(|_| publisher.get() & MARK != 0)?;
        let been = been.iter().filter_map(|cell| u8::try_from(cell.get() - 1).ok()).collect();
        Some(ShareCopy { filter: Arc::clone(filter), publisher: publisher.get(), been })
    }

    /// The Shared Subscription of the Session; `None` also for a [`ShareCopy`].
    pub fn own_share(&self) -> Option<&Arc<Filter>> {
        let is_copy = || self.subscription_ids.first().is_some_and(|first| first.get() & MARK != 0);
        self.share.as_ref().filter(|_| !is_copy())
    }
}

/// The QoS with which another cell has accepted a message, and whether this is a [`ShareCopy`], by its Subscription Identifiers: see [`Matched::published`].
/// `None`: it says something else.
pub(super) fn published(ids: &[SubscriptionId]) -> Option<(Qos, bool)> {
    let [id] = ids else { return Some((Qos::AtMostOnce, false)) };
    let is_share_copy = id.get() >= FIRST_OF_SHARES;
    let level = id.get().checked_sub(if is_share_copy { FIRST_OF_SHARES } else { 1 })?;
    Some((Qos::new(u8::try_from(level).ok()?)?, is_share_copy))
}

/// The User Property that `bytes` begin with, and what is behind it.
fn user_property(bytes: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (&USER_PROPERTY, property) = bytes.split_first()? else { return None };
    let (name, property) = split_prefixed(property)?;
    let (value, rest) = split_prefixed(property)?;
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?, rest))
}

/// The name of the second User Property.
const PUBLISHER: &str = "publisher";
/// No Subscription Identifier of a client has this bit.
const MARK: u32 = 1 << 31;
/// The Subscription Identifier of a copy for a share that was published at QoS 0.
const FIRST_OF_SHARES: u32 = 4;
