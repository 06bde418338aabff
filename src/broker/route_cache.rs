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
    routes: HashMap<TopicName, Arc<Resolved>, RandomState>,
}

/// What is the same for all messages of a topic.
#[derive(Debug)]
pub(super) struct Resolved {
    /// In memory of its own: messages that are kept share it.
    pub(super) topic: TopicName,
    pub(super) route: Route,
    pub(super) level: Durability,
}

impl RouteCache {
    /// The receivers of `topic`, and the level of its messages.
    pub(super) fn resolve(&mut self, shared: &Shared, settings: &Settings, topic: &TopicName) -> Arc<Resolved> {
        let generation = shared.generation();
        if generation != self.generation || self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
            self.generation = generation;
        } else if let Some(resolved) = self.routes.get(topic) {
            return Arc::clone(resolved);
        }
        let (topic, route, level) = (topic.detached(), shared.index().matching(topic), settings.durability_of(topic));
        let resolved = Arc::new(Resolved { topic: topic.clone(), route, level });
        self.routes.insert(topic, Arc::clone(&resolved));
        resolved
    }
}

/// Topics kept; when there are more, it begins anew.
const ROUTES_MAX: usize = 65_536;
