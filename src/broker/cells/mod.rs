//! A cell among the cells of a cluster: how messages get to the subscribers of other cells, once.
//!
//! A cell has the Sessions of some Client Identifiers, and a log of its own. For each other cell it has two Sessions of its own, and three connections to the
//! owner of that cell. Both ends speak MQTT 5.0 without CONNECT and CONNACK, as servers:
//!
//! | [`LinkRole`] | its Session here | what goes over it |
//! | --- | --- | --- |
//! | `Out` | the queue of messages for the other cell, each at QoS 2 if it was published above QoS 0 | PUBLISH and PUBREL there, PUBREC and PUBCOMP back |
//! | `In` | the Packet Identifiers that were received and not released | the other end of the other cell's `Out` |
//! | `Control` | none | what each cell wants, and what the other has noted of that (`control.rs`) |
//!
//! So a message is in the other cell exactly once, through a crash or a change of the owner at either side, for the reason for which a client at QoS 2 has it
//! once (docs/DELIVERY.md): the record of the publisher's message is also that of its copy for the other cell, which stays until PUBCOMP; and the record that the
//! message makes there has its Packet Identifier. Its order is that of a queue. `Out` and `In` are two connections, because one that waits for room in a
//! queue is not read.
//!
//! A PUBLISH of a link says, in a Subscription Identifier, with which QoS the message was published: at that it is accepted. It is for ordinary subscribers, and
//! does not go on to a third cell. Shared Subscriptions get copies of their own, each for one share, which may go on (`shares.rs`).
//!
//! A retained message goes to all cells, each of which has all of them. Its identity is its place in the order of the changes of all cells (`CellState::stamp`), a
//! Lamport clock: a cell does not apply a change that comes after a later one of the same topic, and knows for some time which topics were cleared. So all have
//! the same when all changes have arrived. The answer to its publisher is sent when all other cells have the message (`owed.rs`). Its PUBLISH says who has
//! published it (`source.rs`), because rights are checked when it is sent.
//!
//! Which cell accepts a message with a `dedup-id` of a user, whose clients are in several cells, is decided by one of them (`permits.rs`).
//!
//! A cell gets the messages that it may want ([`interest`](crate::routing::InterestTable)). A SUBACK is sent when all other cells have noted what is new
//! (`waiting.rs`). A cell accepts no clients before it knows what all others want: [`Shared::knows_cells`](crate::broker::Shared).

mod control;
mod copies;
mod interest;
mod links;
mod of_shard;
mod owed;
mod owed_messages;
mod peer;
mod permit_message;
mod permits;
mod publish;
mod queue;
mod shares;
mod source;
mod state;
mod view;
mod waiting;

pub(in crate::broker) use of_shard::{CellReceivers, ChosenShares, Links};
pub use peer::{LinkPeer, LinkRole};
pub(in crate::broker) use permit_message::{DedupName, PermitAnswer, PermitMessage};
pub(in crate::broker) use state::CellState;
pub use state::CellTerms;
pub use view::CellLink;
