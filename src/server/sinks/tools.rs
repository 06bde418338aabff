use crate::server::clock::Clock;
use crate::server::own_client::OwnClients;
use crate::server::queries::Queries;

/// What every sink needs of the broker.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub(super) clients: OwnClients,
    pub(super) queries: Queries,
    pub(super) clock: Clock,
}

/// What becomes of the Session of a sink that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is resumed by the next one.
    Stay,
    /// It ends after a day: the configuration has no such sink any more.
    Retire,
}
