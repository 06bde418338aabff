//! The room of a batch in the queues of its receivers: each queue gets all copies of the batch for it, or none.
//!
//! | `queue_overflow` | a queue without room for all its copies |
//! | --- | --- |
//! | `reject` | the batch is refused, for all receivers |
//! | `drop-newest` | gets none of them: they are dropped and counted |
//! | `drop-oldest` | drops its oldest messages, as for any message; one that is too small for the batch alone gets none of the copies |

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use crate::broker::publish::blocked::AwaitedRoom;
use crate::broker::publish::plan::{BatchAdmission, Chosen, queueing_receivers};
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::queue_room::QueueRoom;
use crate::broker::settings::QueueOverflow;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;
use crate::routing::{QueueBounds, Route, SessionKey, Subscriber};
use crate::session::{self, Application};

/// The copies of a batch that are queued, by receiver.
#[derive(Debug, Default)]
pub(in crate::broker) struct QueuedCopies(BTreeMap<SessionKey, Share>);

/// The copies for one queue.
#[derive(Debug)]
struct Share {
    to: Arc<Subscriber>,
    /// What each counts for.
    bytes: Vec<usize>,
    /// Whether one of them is for a member of a Shared Subscription.
    is_shared: bool,
}

/// Why the queues can't take a batch.
#[derive(Debug)]
pub(in crate::broker) enum NoQueueRoom {
    /// A queue has no room now.
    Now(AwaitedRoom),
    /// A queue is too small for the batch.
    Ever,
}

impl QueuedCopies {
    /// Adds the copies of one message.
    pub(super) fn add(
        &mut self,
        publisher: &Publisher,
        application: &Application,
        (route, chosen): (&Route, &Chosen<'_>),
    ) {
        if application.qos == Qos::AtMostOnce {
            return;
        }
        let bytes = session::queued_bytes(application.message.content_len());
        for to in queueing_receivers(publisher, route, chosen) {
            let share = self.0.entry(to.key).or_insert_with(|| Share {
                to: Arc::clone(to),
                bytes: Vec::new(),
                is_shared: false,
            });
            share.bytes.push(bytes);
            share.is_shared |= !route.shares.is_empty();
        }
    }
}

impl Share {
    /// The number of copies, and their average size in bytes, rounded up. A publisher waits until the queue has room for this many of this size.
    fn alike(&self) -> (usize, usize) {
        let (messages, bytes) = (self.bytes.len(), self.bytes.iter().sum::<usize>());
        (messages, bytes.div_ceil(messages.max(1)))
    }

    /// Whether an empty queue has room for the copies.
    fn fits_alone(&self, bounds: QueueBounds) -> bool {
        let (messages, bytes) = self.alike();
        messages <= bounds.messages && (messages * bytes <= bounds.bytes || messages == 1)
    }

    /// Whether the queue has room now.
    fn check(&self, bounds: QueueBounds) -> Result<(), NoQueueRoom> {
        let (messages, bytes) = self.alike();
        if !self.fits_alone(bounds) {
            return Err(NoQueueRoom::Ever);
        }
        if self.to.has_room(messages, bytes, bounds) { Ok(()) } else { Err(NoQueueRoom::Now(self.awaited())) }
    }

    /// The room that a publisher waits for.
    fn awaited(&self) -> AwaitedRoom {
        let (messages, bytes) = self.alike();
        AwaitedRoom { to: Arc::clone(&self.to), messages, bytes, is_shared: self.is_shared }
    }

    /// Reserves room for all copies. Otherwise returns the number of copies whose reservations the caller must free.
    fn reserve(&self, room: &QueueRoom) -> Result<(), usize> {
        match self.bytes.iter().position(|bytes| !room.reserve(&self.to, *bytes)) {
            None => Ok(()),
            Some(reserved) => Err(reserved),
        }
    }
}

impl Shard {
    /// Admits the copies of a batch to the queues of its receivers, as `queue_overflow` says.
    pub(super) fn admit_batch(
        &mut self,
        copies: &QueuedCopies,
        turn: &mut Turn<'_>,
    ) -> Result<BatchAdmission, NoQueueRoom> {
        let overflow = self.settings.queue_overflow;
        if overflow == QueueOverflow::Reject {
            // Nothing is reserved in vain: that would wake other publishers, which wait for the same room.
            copies.0.values().try_for_each(|share| share.check(self.queue_room.bounds_of(&share.to)))?;
        }
        let mut full = BTreeSet::new();
        for (place, (key, share)) in copies.0.iter().enumerate() {
            if !share.fits_alone(self.queue_room.bounds_of(&share.to)) {
                full.insert(*key);
                continue;
            }
            if overflow == QueueOverflow::DropOldest {
                continue;
            }
            let Err(reserved) = share.reserve(&self.queue_room) else { continue };
            self.free_copies(share, reserved, turn);
            if overflow == QueueOverflow::DropNewest {
                full.insert(*key);
                continue;
            }
            self.free_batch(copies.0.values().take(place), turn);
            return Err(NoQueueRoom::Now(share.awaited()));
        }
        Ok(BatchAdmission { full, is_reserved: overflow != QueueOverflow::DropOldest })
    }

    fn free_batch<'a>(&mut self, shares: impl Iterator<Item = &'a Share>, turn: &mut Turn<'_>) {
        shares.for_each(|share| self.free_copies(share, share.bytes.len(), turn));
    }

    fn free_copies(&mut self, share: &Share, copies: usize, turn: &mut Turn<'_>) {
        for bytes in share.bytes.iter().take(copies) {
            self.free_reserved(*bytes, iter::once(&share.to), turn);
        }
    }
}
