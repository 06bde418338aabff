use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::{Durability, Settings, Shared};
use crate::routing::Route;
use crate::topic::TopicName;

/// The receivers of the topics that were published to lately, and their levels: resolved once, void when the subscriptions
/// change.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    generation: u64,
    routes: HashMap<TopicName, (Arc<Route>, Durability), RandomState>,
}

impl RouteCache {
    /// The receivers of `topic`, and the level of its messages.
    pub(super) fn route(
        &mut self,
        shared: &Shared,
        settings: &Settings,
        topic: &TopicName,
    ) -> (Arc<Route>, Durability) {
        let generation = shared.generation();
        if generation != self.generation || self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
            self.generation = generation;
        } else if let Some((route, level)) = self.routes.get(topic) {
            return (Arc::clone(route), *level);
        }
        let route = Arc::new(shared.index().matching(topic));
        let level = settings.durability_of(topic);
        self.routes.insert(topic.detached(), (Arc::clone(&route), level));
        (route, level)
    }
}

/// Topics kept; when there are more, it begins anew.
const ROUTES_MAX: usize = 65_536;
