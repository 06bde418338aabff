use super::passed::PassedSockets;

/// How the broker ended without an error.
#[derive(Debug)]
pub enum Ended {
    /// A signal stopped it.
    Stopped,
    /// Another process serves its clients.
    HandedOver,
    /// The process that was to serve them has ended. The caller should start the broker again with these sockets.
    TakenBack(PassedSockets),
}
