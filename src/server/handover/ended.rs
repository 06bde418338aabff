use super::passed::PassedSockets;
use crate::config::Loaded;
use crate::server::bans::CarriedBans;
use crate::server::stopper::Why;

/// How the broker ended without an error.
#[derive(Debug)]
pub enum Ended {
    /// A signal stopped it.
    Stopped,
    /// Another process serves its clients.
    HandedOver,
    /// The process that was to serve them has ended. The caller should start the broker again with these sockets and this configuration.
    TakenBack {
        /// The sockets of the listeners and of the admin listener.
        sockets: PassedSockets,
        /// The configuration in force, which reloads may have changed since the start.
        loaded: Box<Loaded>,
    },
    /// It was told to end by a [`Stopper`](crate::server::Stopper), and the process goes on: what it starts next should have these sockets and
    /// this configuration.
    Told {
        /// The cause. It can be another one than the first that was given: see [`Stopper::stop`](crate::server::Stopper::stop).
        why: Why,
        /// The sockets of the listeners and of the admin listener.
        sockets: PassedSockets,
        /// The configuration in force.
        loaded: Box<Loaded>,
        /// The bans in force.
        bans: CarriedBans,
    },
}
