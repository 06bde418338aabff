//! Streams: the messages of some topics, kept in the order of their acceptance and numbered without gaps. This module has what shards know
//! about them: which there are, and which topics they keep.

pub(in crate::broker) mod number;
pub(in crate::broker) mod start;
pub(in crate::broker) mod table;
