use super::passed::PassedSockets;
use crate::config::Loaded;

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
}
