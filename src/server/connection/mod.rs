//! The task of a Network Connection: reading, decoding and writing.

pub(super) mod input;
pub(super) mod outgoing;
pub(super) mod publish_encoder;
pub(super) mod task;
