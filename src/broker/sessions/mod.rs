//! Sessions: where they are, how they move, how they end.

pub(super) mod drive;
pub(super) mod restore;
pub(super) mod slot;
pub(super) mod takeover;
