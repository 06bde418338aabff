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
mod identity;
mod keep_alive;
mod plan;
mod pump;
mod state;
mod subscribing;
mod task;
mod tls;
mod transport;

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

use bytestring::ByteString;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Server;
use super::log::log_line;
use super::own_client::Kind;
use crate::broker::{Answer, PageRequest, Query};
use crate::config::{self, Durability};
use crate::routing::ShardId;
use state::Bridge;

/// The thread of the bridges, and those that run. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Bridges {
    runtime: Handle,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
    here_id: ByteString,
    running: BTreeMap<String, Running>,
}

/// A bridge that runs. It ends when this is dropped.
#[derive(Debug)]
struct Running {
    settings: config::Bridge,
    /// Dropping it ends the bridge.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Server {
    /// Starts, ends and replaces bridges, as the configuration says. One whose settings have not changed stays.
    pub(super) async fn apply_bridges(&mut self) {
        let own = self.own_clients();
        let mut bridges = match self.attendants.bridges.take() {
            Some(bridges) => bridges,
            None if self.config.bridges.is_empty() => return,
            None => match self.start_bridges() {
                Ok(bridges) => bridges,
                Err(error) => {
                    let reason = &*error.to_string();
                    return log_line!(BridgeFailed { reason }, "there are no bridges: {reason}");
                }
            },
        };
        let names: Vec<String> = bridges.running.keys().cloned().collect();
        let mut earlier = BTreeMap::new();
        for name in names {
            let wanted = self.config.bridges.iter().find(|settings| settings.name == name);
            let is_same = |running: &Running| wanted == Some(&running.settings);
            if bridges.running.get(&name).is_some_and(is_same) {
                continue;
            }
            if let Some(running) = bridges.running.remove(&name) {
                earlier.insert(name.clone(), running.stop().await);
            }
            if wanted.is_none() {
                self.status.forget_bridge(&name);
                log_line!(
                    BridgeSessionLeft { bridge = &*name },
                    "bridge {name} has ended; its session here goes on to collect messages until it is deleted: oncemq forget '$bridge/{name}'"
                );
            }
        }
        for settings in &self.config.bridges {
            if bridges.running.contains_key(&settings.name) {
                continue;
            }
            let stale_here = stale(&self.subscribed(&settings.name).await, settings);
            let stale_there = earlier.get(&settings.name).map(|before| stale_there(before, settings));
            let parts = (own.clone(), self.queries(), self.status());
            let stale = (stale_here, stale_there.unwrap_or_default());
            let bridge = Bridge::new(settings.clone(), parts, bridges.here_id.clone(), stale);
            bridges.running.insert(settings.name.clone(), Running::start(&bridges.runtime, bridge));
        }
        self.attendants.bridges = Some(bridges);
    }

    /// Ends all bridges, in a short time.
    pub(super) async fn stop_bridges(&mut self) {
        let Some(bridges) = self.attendants.bridges.take() else { return };
        let ending = bridges.running.into_values().map(Running::begin_stop).collect::<Vec<_>>();
        let all = async {
            for ended in ending {
                let _ended_or_not = ended.await;
            }
        };
        let _ended_or_not = timeout(STOP_TIMEOUT, all).await;
    }

    /// Starts the thread.
    fn start_bridges(&self) -> io::Result<Bridges> {
        let is_stored = self.config.strongest_durability() != Durability::None;
        let here_id = identity::of(is_stored.then_some(&*self.config.server.data))?;
        self.shared.set_bridge_id(here_id.clone());
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(RESOLVERS_MAX).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("bridges".to_owned()).spawn(move || {
            // An error says that the sender is gone, which is what is waited for.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Bridges { runtime: handle, _stop: stop, here_id, running: BTreeMap::new() })
    }

    /// The filters to which a bridge is subscribed here.
    async fn subscribed(&self, name: &str) -> Vec<String> {
        let (client_id, queries) = (Kind::Bridge.client_id(name), self.queries());
        let mut filters = Vec::new();
        for shard in 0..queries.shards() {
            let shard = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
            let mut from = Some(0);
            while let Some(next) = from.take() {
                let query = Query::Subscriptions(client_id.clone(), PageRequest { from: next, limit: PAGE });
                if let Ok(Answer::Subscriptions(Some(page))) = queries.ask(shard, query).await {
                    filters.extend(page.entries.iter().map(|entry| entry.subscription.filter.to_string()));
                    from = page.next;
                }
            }
        }
        filters
    }
}

impl Running {
    fn start(runtime: &Handle, bridge: Bridge) -> Self {
        let settings = bridge.settings.clone();
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        runtime.spawn(async move {
            bridge.run(stopped).await;
            // Nobody may wait for it any more.
            let _ = ending.send(());
        });
        Self { settings, stop, ended }
    }

    /// Tells it to end.
    fn begin_stop(self) -> oneshot::Receiver<()> {
        drop(self.stop);
        self.ended
    }

    /// Ends it, in a short time. Returns what it did.
    async fn stop(self) -> config::Bridge {
        let settings = self.settings.clone();
        let _ended_or_not = timeout(STOP_TIMEOUT, self.begin_stop()).await;
        settings
    }
}

/// The filters here that the settings do not name.
fn stale(subscribed: &[String], settings: &config::Bridge) -> Vec<String> {
    let wanted = plan::subscriptions(&plan::rules(settings).0);
    let is_wanted = |filter: &String| wanted.iter().any(|one| one.filter.to_string() == *filter);
    subscribed.iter().filter(|filter| !is_wanted(filter)).cloned().collect()
}

/// The filters at the other broker that only the earlier settings name.
fn stale_there(before: &config::Bridge, settings: &config::Bridge) -> Vec<String> {
    let filters = |settings: &config::Bridge| {
        let found = plan::subscriptions(&plan::rules(settings).1).into_iter().map(|one| one.filter.to_string());
        found.collect::<Vec<_>>()
    };
    let wanted = filters(settings);
    filters(before).into_iter().filter(|filter| !wanted.contains(filter)).collect()
}

/// A bridge gives up its connections after half of this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads that ask the name service.
const RESOLVERS_MAX: usize = 8;
/// Subscriptions that are asked for at a time.
const PAGE: usize = 1_000;
