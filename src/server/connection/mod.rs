//! The task of a Network Connection: reading, decoding and writing.

pub(super) mod input;
mod large_buffers;
pub(super) mod outgoing;
pub(super) mod publish_encoder;
pub(super) mod task;
