//! Bridges: tasks of one thread, each of which is a client of this broker and of another one, and passes messages on between both.
//!
//! What passes, and what the Sessions of both brokers keep, is [`bridge`](crate::bridge), which is pure; here is what needs a socket or a clock:
//! when a bridge connects and where, TLS and WebSocket, Keep Alive, and what the log and the figures say. The two connections of a bridge live
//! and die together. What is bounded:
//!
//! | what | bound | when it is full |
//! | --- | --- | --- |
//! | unsent bytes for a broker | 1 MiB and the packets of one read | nothing is read from the other broker; above 256 KiB, QoS 0 to the other broker is dropped and counted |
//! | unacknowledged messages | `inflight_max`, and the Receive Maximum of either broker | the broker waits |
//! | messages of a 3.1.1 broker beyond the Receive Maximum | 64 MiB | the connections end |
//! | messages for the other broker while it is away | the queue of the Session here | as for every Session: `limits.queue_overflow` |

mod connect;
mod error;
mod files;
mod identity;
mod keep_alive;
mod marks;
mod plan;
mod pump;
mod reconcile;
mod running;
mod state;
mod subscribing;
mod task;
mod tls;
mod transport;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytestring::ByteString;

pub(super) use running::Bridges;

use super::Server;
use super::log::log_line;
use super::own_client::Kind;
use super::queries::Queries;
use crate::broker::{Answer, PageRequest, Query};
use crate::codec::{RetainHandling, Subscription};
use crate::config::{self, Durability};
use crate::routing::ShardId;
use crate::topic::Filter;
use marks::MarkStore;
use running::{Running, stop_all};
use state::Bridge;

impl Server {
    /// Starts, ends and replaces bridges, as the configuration says. One whose settings have not changed stays.
    pub(super) async fn apply_bridges(&mut self) {
        let own = self.own_clients();
        let mut bridges = match self.attendants.bridges.take() {
            Some(bridges) => bridges,
            None if self.config.bridges.is_empty() => {
                // A bridge of another broker may ask. One that gets no name goes without.
                let _ = self.bridge_id();
                return;
            }
            None => match self.bridge_id().and_then(|id| Bridges::start(id, self.mark_store())) {
                Ok(bridges) => bridges,
                Err(error) => {
                    let reason = &*error.to_string();
                    return log_line!(BridgeFailed { reason }, "there are no bridges: {reason}");
                }
            },
        };
        let wanted = |name: &str| self.config.bridges.iter().find(|settings| settings.name == name);
        let (changed, same) = std::mem::take(&mut bridges.running)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(name, running)| wanted(name) != Some(&running.settings));
        bridges.running = same;
        let earlier: BTreeMap<_, _> =
            changed.iter().map(|(name, running)| (name.clone(), running.settings.clone())).collect();
        stop_all(changed.into_values()).await;
        for name in earlier.keys() {
            if wanted(name).is_none() {
                self.status.forget_bridge(name);
                log_line!(
                    BridgeSessionLeft { bridge = name.as_str() },
                    "bridge {name} has ended; its session here goes on to collect messages until it is deleted: oncemq forget '$bridge/{name}'"
                );
            }
        }
        for settings in &self.config.bridges {
            if bridges.running.contains_key(&settings.name) {
                continue;
            }
            let stale_here = stale(&subscribed(&self.queries(), &settings.name).await, settings);
            let stale_there = earlier.get(&settings.name).map(|before| stale_there(before, settings));
            let parts = (own.clone(), self.queries(), self.status());
            let stale = (stale_here, stale_there.unwrap_or_default());
            let bridge = Bridge::new(settings.clone(), parts, (bridges.here_id.clone(), bridges.marks.clone()), stale);
            bridges.running.insert(settings.name.clone(), Running::start(&bridges.runtime, bridge));
        }
        self.attendants.bridges = Some(bridges);
    }

    /// Ends all bridges, in a short time.
    pub(super) async fn stop_bridges(&mut self) {
        let Some(bridges) = self.attendants.bridges.take() else { return };
        stop_all(bridges.running.into_values()).await;
    }

    /// How this broker calls itself. From now on it tells bridges that ask.
    fn bridge_id(&self) -> io::Result<ByteString> {
        // One that is not stored must stay the same when a reload adds the first bridge.
        if let Some(id) = self.shared.bridge_id() {
            return Ok(id.clone());
        }
        let id = match self.attendants.secret {
            Some(secret) => identity::of_cluster(secret),
            None => identity::of(self.stored_in())?,
        };
        self.shared.set_bridge_id(id.clone());
        Ok(id)
    }

    /// Where bridges note what they still have to do. In a cluster, the next owner must know it.
    fn mark_store(&self) -> MarkStore {
        let logged = &self.attendants.marks;
        if logged.are_kept() { MarkStore::Log(Arc::clone(logged)) } else { MarkStore::new(self.stored_in()) }
    }

    /// The data directory; `None` for a broker that stores nothing.
    fn stored_in(&self) -> Option<&Path> {
        let is_stored = self.config.strongest_durability() != Durability::None;
        is_stored.then_some(&*self.config.server.data)
    }
}

/// The subscriptions of a bridge here.
async fn subscribed(queries: &Queries, name: &str) -> Vec<Subscription> {
    let client_id = Kind::Bridge.client_id(name);
    let mut found = Vec::new();
    for shard in 0..queries.shards() {
        let shard = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
        let mut from = Some(0);
        while let Some(next) = from.take() {
            let query = Query::Subscriptions(client_id.clone(), PageRequest { from: next, limit: PAGE });
            if let Ok(Answer::Subscriptions(Some(page))) = queries.ask(shard, query).await {
                found.extend(page.entries.into_iter().map(|entry| entry.subscription));
                from = page.next;
            }
        }
    }
    found
}

/// The filters here that the settings do not name.
fn stale(subscribed: &[Subscription], settings: &config::Bridge) -> Vec<String> {
    let wanted = plan::subscriptions(&plan::rules(settings).0, RetainHandling::SendIfNew);
    let is_wanted = |filter: &Filter| wanted.iter().any(|one| one.filter == *filter);
    let stale = subscribed.iter().filter(|subscription| !is_wanted(&subscription.filter));
    stale.map(|subscription| subscription.filter.to_string()).collect()
}

/// The filters at the other broker that only the earlier settings name.
fn stale_there(before: &config::Bridge, settings: &config::Bridge) -> Vec<String> {
    let filters = |settings: &config::Bridge| {
        let found = plan::subscriptions(&plan::rules(settings).1, RetainHandling::SendIfNew)
            .into_iter()
            .map(|one| one.filter.to_string());
        found.collect::<Vec<_>>()
    };
    let wanted = filters(settings);
    filters(before).into_iter().filter(|filter| !wanted.contains(filter)).collect()
}

/// Subscriptions that are asked for at a time.
const PAGE: usize = 1_000;
