//! Records: their contents and encoding, the commit pipeline, and recovery.

pub(super) mod body;
pub(super) mod cache;
pub(super) mod clock;
pub(super) mod coalesce;
pub(super) mod dead_letter;
pub(super) mod dead_letter_record;
pub(super) mod delay;
pub(super) mod delayed_message;
pub(super) mod durability;
pub(super) mod encode;
pub(super) mod fetch;
pub(super) mod grant;
pub(super) mod group;
pub(super) mod grouping;
pub(super) mod head;
pub(super) mod persist;
pub(super) mod pipeline;
pub(super) mod record;
pub(super) mod record_key;
pub(super) mod recovery;
pub(super) mod redelivery;
pub(super) mod retained_message;
pub(super) mod stream_definition;
pub(super) mod stream_position;
pub(super) mod unknown_time;
pub(super) mod version_1;
