//! Retained messages: how they change, and how a new subscription gets them.

pub(super) mod apply;
pub(super) mod deliver;
pub(super) mod order;
pub(super) mod replay;
pub(super) mod state;
