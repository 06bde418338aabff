//! A replicated log: the commits of one owner, in the order in which a majority has them, and who is the owner.
//!
//! The engine is a stream with three properties: an entry is appended only at the position that is expected (compare and set), an
//! acknowledged entry is on the disks of a majority, and an entry of the kind [`Entry::Epoch`] is appended only behind the latest one
//! that its author knows. All else is decided here, in pure state machines: requests out, replies in.
//!
//! - [`Replicator`]: the owner. It ships commits ahead of their acknowledgements, and reports a commit only when all before it are
//!   acknowledged at the positions that it expected (the *prefix rule*). Expected positions alone are no fence: when an entry of
//!   another owner takes one position, the owner's next entry may fit again behind it.
//! - [`Reader`]: everyone else. It leaves out commits whose epoch is older than the latest epoch entry before them, and those that were shipped to follow
//!   another entry than the last one (the *reader rule*). What a former owner still appends behind the entry of a new owner is read by nobody, and
//!   reported by nobody; nor is the rest of a window of which the first was refused. It never passes over a gap or a damaged entry.
//! - [`Takeover`]: who becomes the owner. It appends an epoch entry, and reads up to it.
//!
//! What they ask for is done by an [`Engine`], which also carries signs of life and questions between nodes: `Nats`.
//! The connections of clients go from node to node through a [`tunnel`], whose frames a [`Bus`] carries.
//! Operators see a [`Status`], and change what a node does through a [`ClusterHandle`].

mod assembly;
pub mod balance;
mod beat;
mod bus;
mod copying;
#[cfg(feature = "cluster")]
mod direct;
mod engine;
mod entry;
mod handle;
mod members;
mod merged;
#[cfg(feature = "cluster")]
mod nats;
pub mod node;
mod place;
pub mod plan;
mod reader;
mod replicator;
mod request;
mod status;
mod takeover;
pub mod tunnel;

pub use bus::{Arrived, Bus, Way};
#[cfg(feature = "cluster")]
pub use direct::DirectBus;
pub use engine::{Beat, Condition, Engine, EngineError, Pending, Question, Tail, TailCopy};
pub use entry::{Commit, Entry, EntryError, Epoch};
pub use handle::{ClusterControl, ClusterHandle, ClusterRequest, Command, CommandError};
pub use merged::merged;
#[cfg(feature = "cluster")]
pub use nats::{CreateStream, Nats, NatsBus};
pub use reader::{Reader, Step, Trouble};
pub use replicator::{Fault, Replicator};
pub use request::{Found, Reply, Request};
pub use status::{Failover, Member, Owner, Refusal, Role, Status, TROUBLES_MAX};
pub use takeover::{Lost, Takeover};
