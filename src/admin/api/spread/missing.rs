use serde::Serialize;
use utoipa::ToSchema;

use super::place::Away;
use crate::routing::CellId;

/// A cell whose entries a page does not have, because it did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MissingCell)]
pub(in crate::admin::api) struct MissingCellJson {
    cell: u8,
    /// The other node that serves it; `null`: this one does, or it is not known.
    node: Option<String>,
    /// Why, for people.
    reason: String,
}

/// A node whose part of an answer is missing, because it did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MissingNode)]
pub(in crate::admin::api) struct MissingNodeJson {
    pub(super) node: String,
    /// Why, for people.
    pub(super) reason: String,
}

impl MissingNodeJson {
    pub(super) fn new(node: &str, away: &Away) -> Self {
        Self { node: node.to_owned(), reason: away.to_string() }
    }
}

impl MissingCellJson {
    pub(super) fn new(CellId(cell): CellId, node: Option<&str>, away: &Away) -> Self {
        Self { cell, node: node.map(str::to_owned), reason: away.to_string() }
    }

    pub(super) fn text(&self) -> String {
        format!("cell {}: {}", self.cell, self.reason)
    }
}
