use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::directory::state::Shared;
use crate::broker::persistence::durability::Durability;
use crate::broker::settings::Settings;
use crate::routing::Route;
use crate::topic::TopicName;

/// The receivers of the topics that were published to lately, and their levels: resolved once, void when the subscriptions
/// change.
#[derive(Debug, Default)]
pub(in crate::broker) struct RouteCache {
    generation: u64,
    /// By topic, where in the list it is.
    places: HashMap<TopicName, usize, RandomState>,
    resolved: Vec<Resolved>,
}

/// What is the same for all messages of a topic.
#[derive(Debug)]
pub(in crate::broker) struct Resolved {
    /// In memory of its own: messages that are kept share it.
    pub(in crate::broker) topic: TopicName,
    /// Shards that are given groups of copies share it.
    pub(in crate::broker) route: Arc<Route>,
    pub(in crate::broker) level: Durability,
}

impl RouteCache {
    /// The receivers of `topic`, and the level of its messages.
    #[expect(clippy::indexing_slicing, reason = "what the map says is in the list")]
    pub(in crate::broker) fn resolve(&mut self, shared: &Shared, settings: &Settings, topic: &TopicName) -> &Resolved {
        let generation = shared.generation();
        if generation != self.generation || self.resolved.len() >= ROUTES_MAX {
            self.places.clear();
            self.resolved.clear();
            self.generation = generation;
        }
        let place = self.places.get(topic).copied().unwrap_or_else(|| {
            let (name, route) = (topic.detached(), Arc::new(shared.index().matching(topic)));
            self.places.insert(name.clone(), self.resolved.len());
            self.resolved.push(Resolved { topic: name, route, level: settings.durability_of(topic) });
            self.resolved.len() - 1
        });
        &self.resolved[place]
    }
}

/// Topics kept; when there are more, it begins anew.
const ROUTES_MAX: usize = 65_536;
