//! Interest: which cells of a cluster have subscribers to a topic.
//!
//! A cell has the Sessions of some Client Identifiers. Its owner, an [`Announcer`], tells all nodes the Topic Filters of its Sessions. Each node keeps
//! those of all cells in an [`InterestTable`], and passes a message to the cells that have a matching filter; these match it again. A SUBACK waits
//! until all nodes have answered the change that it depends on, so no message that is accepted behind it passes by its cell.
//!
//! Announcements and answers may be lost, late, repeated, and out of order. The numbers of changes follow each other in the term of an owner, so a
//! table takes no change twice and none that follows one it does not have. A table that lacks one gets all filters anew, in parts.

mod announcement;
mod announcer;
mod cell_set;
mod table;

#[cfg(test)]
mod tests;

pub use announcement::{Announced, Announcement, InterestAnswer};
pub use announcer::Announcer;
pub use cell_set::{CellId, CellSet};
pub use table::InterestTable;
