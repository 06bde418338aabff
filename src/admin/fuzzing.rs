//! What a fuzz target needs to run an admin listener without a broker.

use std::sync::Arc;

use super::BrokerHandles;
use crate::broker::Shared;
use crate::config::{self, Durability};
use crate::routing::RetainedLimits;
use crate::server::{Bans, Clock, Queries, Reloader, Status, Traces};
use crate::timestamp::Timestamp;

/// The handles of a broker that is starting, has no store, and answers no query.
pub fn handles() -> BrokerHandles {
    let limits = RetainedLimits { retained_messages_max: 10, retained_bytes_max: 1_000 };
    BrokerHandles {
        bans: Arc::new(Bans::new(&config::Bans::default())),
        status: Arc::new(Status::new(2, Clock::start(Timestamp::default()))),
        shared: Arc::new(Shared::new(2, limits)),
        durability: Durability::PowerLoss,
        store: None,
        queries: Queries::unanswered(2),
        traces: Traces::silent(),
        reloader: Reloader::stopped(config::Config::default()),
        cluster: None,
        cells: Vec::new(),
        front_of: None,
        nodes: None,
        data: "nowhere".into(),
    }
}
