use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use super::announce;
use super::attendants::Attendants;
use super::bans::{Bans, CarriedBans};
use super::bind::tcp_options;
use super::cells::{CellTerms, Cells};
use super::clock::Clock;
use super::error::ServerError;
use super::handover::early::EarlyAcceptor;
use super::handover::passed::{AdminSockets, PassedSockets};
use super::handover::successor::TakeOver;
use super::listener::{Admission, ListeningSocket};
use super::memory::{self, MemoryBudget};
use super::resources;
use super::standby::Standby;
use super::stopper::Stopper;
use super::tunnel::TunnelBus;
use crate::config::{Config, Loaded};
use crate::store::Replication;

/// What a broker starts with beside its configuration. By default it is one of its own.
#[derive(Debug, Default)]
pub struct Start {
    /// Sockets that another process has opened, or this one before.
    pub passed: PassedSockets,
    /// A running broker that is told to hand over when all but the store is ready.
    pub take_over: Option<TakeOver>,
    /// It opens no store and serves no clients, because another server does: see [`Standby`].
    pub standby: Option<Arc<Standby>>,
    /// Ends it from another thread, and the process goes on. A broker with it does not hand over to another process.
    pub stopper: Option<Stopper>,
    /// The bans of the broker before it in this process.
    pub bans: CarriedBans,
    /// Its log is replicated: it is the owner of that of a cluster, of which all nodes have this random number, and no client.
    pub replication: Option<(Replication, [u8; 16])>,
    /// It serves one cell of several, for the front of this process.
    pub cell: Option<CellTerms>,
    /// It is the front of the servers of these cells, and a standby for ever. It also ends them.
    pub front_of: Option<Arc<Cells>>,
    /// Clients can be on another node than the owner: a standby passes its own there, and the owner serves those of standbys.
    pub tunnels: Option<TunnelBus>,
}

/// The number of shards.
fn shards(config: &Config) -> usize {
    match usize::from(config.server.shards) {
        0 => thread::available_parallelism().map_or(1, NonZeroUsize::get).min(SHARDS_MAX),
        shards => shards,
    }
}

/// The configuration as it is for this server, what was loaded of it, and the number of shards. Says what is open to others, and which limits are lower.
pub(super) fn adapt(mut config: Config, cell: Option<&CellTerms>) -> (Config, Loaded, usize) {
    match cell {
        Some(terms) => config = terms.fit(config),
        None => announce::log_exposures(&config),
    }
    let (loaded, shards) = (Loaded::of(config.clone()), shards(&config));
    resources::fit(&mut config, shards, cell.is_some());
    (config, loaded, shards)
}

/// What attends to the broker, of which nothing is on; and its log, if that is replicated.
pub(super) fn attendants(replication: Option<(Replication, [u8; 16])>) -> (Option<Replication>, Attendants) {
    let (replication, secret) = replication.unzip();
    (replication, Attendants { secret, ..Attendants::default() })
}

/// The budget of the memory of the process.
pub(super) fn memory(config: &Config, cell: Option<&CellTerms>, front_of: Option<&Arc<Cells>>) -> Arc<MemoryBudget> {
    let max = config.limits.memory_max.unwrap_or_else(memory::default_max);
    match (cell, front_of) {
        (Some(terms), _) => terms.cells.memory(),
        (None, Some(cells)) => {
            let memory = cells.memory();
            memory.set_max(max);
            memory
        }
        (None, None) => Arc::new(MemoryBudget::new(max)),
    }
}

/// The bans, with those of the broker before: those of the front, if this is the server of a cell.
pub(super) fn bans(
    config: &Config,
    (cell, front_of): (Option<&CellTerms>, Option<&Arc<Cells>>),
    clock: Clock,
    carried: CarriedBans,
) -> Arc<Bans> {
    let shared = cell.and_then(|terms| terms.cells.bans(&config.bans, clock));
    let bans = Arc::new(shared.unwrap_or_else(|| Bans::new(&config.bans)));
    bans.carry(carried, clock.read().now);
    front_of.into_iter().for_each(|cells| cells.share_bans(&bans, clock));
    bans
}

/// The limits of connections, and the bans.
pub(super) fn admission(
    config: &Config,
    (bans, clock): (&Arc<Bans>, Clock),
    memory: &Arc<MemoryBudget>,
) -> Arc<Admission> {
    Arc::new(Admission::new(&config.limits).with_bans(Arc::clone(bans), clock).within(Arc::clone(memory)))
}

/// Tells the broker that is taken over from to hand over, and waits until it has unlocked its store. Returns what accepts connections meanwhile, if the
/// sockets were those of another broker.
pub(super) fn begin_take_over(
    config: &Config,
    mut take_over: Option<&mut TakeOver>,
    (admin, of_broker, sockets): (&mut AdminSockets, bool, &[ListeningSocket]),
) -> Result<Option<EarlyAcceptor>, ServerError> {
    if let Some(take_over) = &mut take_over {
        admin.require(&config.admin)?;
        take_over.go(config)?;
    }
    let early = of_broker
        .then(|| EarlyAcceptor::start(sockets, tcp_options(config), config.limits.connections_max))
        .transpose()
        .map_err(ServerError::Start)?;
    if let Some(take_over) = take_over {
        take_over.wait();
    }
    Ok(early)
}

/// Maximum number of shards if the configuration sets no number.
const SHARDS_MAX: usize = 256;
