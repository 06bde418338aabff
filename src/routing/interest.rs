//! Interest: which cells of a cluster have subscribers to a topic.
//!
//! A cell has the Sessions of some Client Identifiers. Its owner, an [`Announcer`], tells all nodes the [`Interest`] of its Sessions: their Topic Filters. Each
//! node keeps that of all cells in an [`InterestTable`], and passes a message to the cells that want it; these match it again. A SUBACK waits until all nodes
//! have answered the change that it depends on, so no message that is accepted behind it passes by its cell.
//!
//! Most Sessions have a filter of their own without wildcards, and each node has those of all Sessions of the cluster. So a [`Fingerprint`] of 42 bits stands
//! for such a filter, in announcements and in tables, and its owner counts by fingerprints, too. What has the same one by chance costs a message that is not
//! wanted. Filters with wildcards are kept as they are. A cell with more filters than [`AnnouncerLimits::table_bytes_max`] allows wants everything.
//!
//! Shares are apart: a cell tells which it has members of, and how many ([`ShareCounts`]), so that the cell of a publisher chooses one cell for each
//! ([`CellShare`]). Their Topic Filters are kept as they are, and are no interest in messages.
//!
//! Announcements and answers may be lost, late, repeated, and out of order. The numbers of changes follow each other in the term of an owner, so a
//! table takes no change twice and none that follows one it does not have. A table that lacks one gets all interest anew, in parts.
//!
//! Each owner of a cell is a *node* here, with a table of its own, and its epoch is its life: so messages are accepted by owners alone. What an owner must do
//! besides, so that no message passes by a Session whose SUBACK was sent (`broker/cells`):
//!
//! - it waits for the owners of all other cells, also if it does not know who they are;
//! - it accepts clients when it has joined at the owners of all other cells;
//! - one that has a successor acknowledges nothing, because its records do not become stable.

mod announcement;
mod announcer;
mod cell_set;
mod counts;
mod fingerprint;
mod fingerprints;
mod limits;
mod share_counts;
mod shares;
mod table;

#[cfg(test)]
mod tests;

pub use announcement::{Announced, Announcement, Interest, InterestAnswer};
pub use announcer::Announcer;
pub use cell_set::{CellId, CellSet};
pub use fingerprint::{Fingerprint, InterestKey};
pub use limits::AnnouncerLimits;
pub use share_counts::ShareCounts;
pub use shares::{CellReach, CellShare};
pub use table::InterestTable;
