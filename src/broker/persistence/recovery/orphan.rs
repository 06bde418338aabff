//! What is left of a Session that had ended in the previous run.

use crate::routing::SessionKey;
use crate::session::Delivery;

/// The records of a Session that had ended in the previous run.
#[derive(Debug)]
pub struct Orphan {
    /// The key of the Session.
    pub key: SessionKey,
    /// Messages of shares that were on their way to it, by sequence. They move to other members; all other records are deleted.
    pub messages: Vec<(u64, Delivery)>,
}
