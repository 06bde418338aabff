//! Retained messages: their changes, the order of these changes, and their replay to new subscriptions.

pub(super) mod apply;
pub(super) mod deliver;
pub(super) mod order;
pub(super) mod replay;
pub(super) mod source;
pub(super) mod state;
