//! Records: what is stored, when it is stable, and how it is read back.

pub(super) mod body;
pub(super) mod coalesce;
pub(super) mod durability;
pub(super) mod encode;
pub(super) mod fetch;
pub(super) mod persist;
pub(super) mod pipeline;
pub(super) mod record;
pub(super) mod recovery;
