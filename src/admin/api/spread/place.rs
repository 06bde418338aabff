use std::sync::Arc;

use crate::admin::api::failure::Failure;
use crate::routing::CellId;

/// Why a cell does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Away {
    /// No node is known to serve it.
    #[error("it has no owner that this node knows of")]
    Nowhere,
    /// The node that serves it does not answer.
    #[error("node {0} does not answer")]
    Silent(Arc<str>),
    /// Its server says this.
    #[error("{0}")]
    Fails(String),
}

impl Away {
    pub(super) fn failure(&self, CellId(cell): CellId) -> Failure {
        Failure::unavailable(format!("cell {cell} does not answer: {self}"))
    }
}
