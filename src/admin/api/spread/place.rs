use std::sync::Arc;

use crate::admin::api::failure::Failure;
use crate::routing::CellId;

/// Why a cell does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Away {
    /// No node is known to serve it.
    #[error("it has no owner that this node knows of")]
    Nowhere,
    /// Another node serves it.
    #[error("node {0} serves it")]
    Elsewhere(Arc<str>),
    /// Its server says this.
    #[error("{0}")]
    Fails(String),
}

impl Away {
    /// The node that serves the cell, if it is known.
    pub(super) fn node(&self) -> Option<&str> {
        match self {
            Self::Nowhere | Self::Fails(_) => None,
            Self::Elsewhere(node) => Some(node),
        }
    }

    pub(super) fn failure(&self, CellId(cell): CellId) -> Failure {
        Failure::unavailable(format!("cell {cell} does not answer: {self}"))
    }
}
