//! Receipts: a message for the originator of another one, when each durable Session that got that one has acknowledged it, or when it is known
//! what else became of its copy.
//!
//! 1. **Asked for.** A PUBLISH at QoS 1 or 2 has the User Property `receipt-to`. [`judge`] checks it; `publish/accept.rs` writes the receipt
//!    in the record of the message: kind 26, with the place of each copy in a queue.
//! 2. **Open.** The [registry](registry) has the places of all copies. The record that removes a copy from its queue tells what became of it:
//!    kind 27, written by [`copies`]. A record that moves the copy tells its new place. The end of a Session tells nothing: a copy that is in no
//!    queue was in that of a Session that ended.
//! 3. **Due.** When all copies have left their queues, or `age_max` has passed, and all these records are stable, [`publish`] publishes the
//!    receipt in the record that deletes it. A crash before that publishes it again; that is all that makes it come twice.
//!
//! A message without the property costs nothing but a branch, also when it leaves a queue.

pub(super) mod copies;
pub(super) mod judge;
pub(super) mod payload;
pub(super) mod publish;
pub(super) mod receipt;
pub(super) mod registry;
pub(super) mod request;
pub(super) mod restore;
