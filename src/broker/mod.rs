//! One shard: sessions and routing together, takeover, expiry and `$SYS`.

mod accept;
mod accept_message;
mod action;
mod authentication;
mod congestion;
mod connect;
mod connection;
mod counters;
mod deduplication;
mod deliver;
mod drive;
mod drops;
mod durability;
mod end;
mod event;
mod fetch;
mod forward;
mod group;
mod kept;
mod publish;
mod publish_once;
mod queue_room;
mod record;
mod record_body;
mod record_bytes;
mod record_join;
mod recovery;
mod restore;
mod retained_order;
mod route_cache;
mod session_slot;
mod settings;
mod shard;
mod shared;
mod subscribe;
mod sys_topics;
mod takeover;
mod timers;

#[cfg(test)]
mod tests;

pub use action::{Action, ClientLabel, Report};
pub use counters::{Counters, DropReason};
pub use durability::{Durability, DurabilityRule};
pub use event::{
    AuthenticationOutcome, AuthenticationRequest, AuthenticationStep, ConnectionId, Event, Peer, StoreRoom,
};
pub use fetch::{Fetch, Fetched};
pub use forward::ShardMessage;
pub use record::{Addressed, Deduplicated, InsteadOf, Record, RetainedChange, WillState};
pub use record_bytes::{RecordBytes, RecordKey};
pub use recovery::{Recovered, RecoveredSession, Recovery};
pub use settings::{QueueOverflow, Settings};
pub use shard::Shard;
pub use shared::Shared;

pub use crate::session::{QueueHead, RestoredMessage, Ticket};
