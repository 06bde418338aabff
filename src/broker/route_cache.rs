use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::Shared;
use crate::routing::Route;
use crate::topic::TopicName;

/// The receivers of the topics that were published to lately: resolved once, void when the subscriptions change.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    generation: u64,
    routes: HashMap<TopicName, Arc<Route>, RandomState>,
}

impl RouteCache {
    /// The receivers of `topic`.
    pub(super) fn route(&mut self, shared: &Shared, topic: &TopicName) -> Arc<Route> {
        let generation = shared.generation();
        if generation != self.generation || self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
            self.generation = generation;
        } else if let Some(route) = self.routes.get(topic) {
            return Arc::clone(route);
        }
        let route = Arc::new(shared.index().matching(topic));
        self.routes.insert(topic.detached(), Arc::clone(&route));
        route
    }
}

/// Topics kept; when there are more, it begins anew.
const ROUTES_MAX: usize = 65_536;
