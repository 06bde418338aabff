//! One shard: sessions and routing together, takeover, expiry and `$SYS`.

mod action;
mod counters;
mod event;
mod forward;
mod record;
mod settings;
mod shard;
mod shared;

pub use action::{Action, ClientLabel, Report};
pub use counters::{Counters, DropReason};
pub use event::{AuthenticationOutcome, AuthenticationRequest, AuthenticationStep, ConnectionId, Event, Peer};
pub use forward::ShardMessage;
pub use record::Record;
pub use settings::Settings;
pub use shard::Shard;
pub use shared::Shared;
