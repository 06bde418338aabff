use std::sync::Arc;

use crate::broker::persistence::durability::Durability;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::table::TopicStreams;
use crate::routing::{Route, Share};
use crate::topic::TopicName;

/// The values of a topic.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Resolved {
    /// Its text is not a part of a read buffer; `None`: it is not cached.
    pub(super) topic: Option<TopicName>,
    /// Shared with the groups that are forwarded to other shards.
    pub(in crate::broker) route: Arc<Route>,
    /// The number of published changes when the route was last known to be valid.
    pub(super) published: u64,
    pub(in crate::broker) level: Durability,
    /// The streams that keep its messages; `None`: there are none.
    pub(super) streams: Option<Box<TopicStreams>>,
    /// Whether it was used since the last check for eviction.
    pub(super) is_used: bool,
}

impl Resolved {
    /// The receivers of a message for one Shared Subscription: its members, or none. `published`: the number of published changes of routes when the share was
    /// looked up.
    pub(in crate::broker) fn of_share(share: Option<Share>, published: u64, level: Durability) -> Self {
        let route = Arc::new(Route { shares: share.into_iter().collect(), ..Route::default() });
        Self { route, published, level, ..Self::default() }
    }

    /// The Topic Name, as a text that is not a part of a read buffer: stored messages can share it. `topic` is its name.
    pub(in crate::broker) fn kept_topic(&self, topic: &TopicName) -> TopicName {
        self.topic.clone().unwrap_or_else(|| topic.detached())
    }

    /// The streams that keep the messages of the topic.
    #[inline]
    pub(in crate::broker) fn streams(&self) -> &[StreamNumber] {
        self.streams.as_deref().map_or(&[], |streams| streams)
    }

    /// The number of published changes of routes when the route was last known to be valid.
    #[inline]
    pub(in crate::broker) const fn published(&self) -> u64 {
        self.published
    }

    /// The bytes of its memory outside this struct, without those of shared lists of receivers.
    pub(super) fn outer_bytes(&self) -> usize {
        let streams = self.streams.as_ref().map_or(0, |streams| size_of::<TopicStreams>() + size_of_val(&***streams));
        self.topic.as_ref().map_or(0, |topic| topic.as_str().len()) + self.route.bytes() + streams
    }
}

impl Default for Resolved {
    /// No receivers.
    fn default() -> Self {
        let level = Durability::PowerLoss;
        Self { topic: None, route: Arc::default(), published: 0, level, streams: None, is_used: false }
    }
}

const _: () = assert!(size_of::<Resolved>() <= 64);
