use std::fmt;
use std::str::FromStr;
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

/// Whom a request to another node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The server of a cell.
    Cell(CellId),
    /// The node itself.
    Node,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(CellId(cell)) => cell.fmt(formatter),
            Self::Node => formatter.write_str(NODE),
        }
    }
}

impl FromStr for Target {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == NODE { Ok(Self::Node) } else { Ok(Self::Cell(CellId(text.parse()?))) }
    }
}

/// In the place of the number of a cell: the request is for the node.
const NODE: &str = "node";
