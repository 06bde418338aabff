//! The task of a Network Connection: what it reads, decodes and writes.

pub(super) mod input;
pub(super) mod outgoing;
pub(super) mod publish_encoder;
pub(super) mod task;
