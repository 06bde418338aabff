//! Sessions: their table, their moves between shards, their recovery, and their end.

pub(super) mod drive;
pub(super) mod ending;
pub(super) mod endings;
pub(super) mod expiry;
pub(super) mod forget;
pub(super) mod give;
pub(super) mod incidents;
pub(super) mod load;
pub(super) mod restore;
pub(super) mod rights;
pub(super) mod slot;
pub(super) mod table;
pub(super) mod takeover;
pub(super) mod user_limits;
pub(super) mod will;
