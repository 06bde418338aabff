use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::store::Replica;

/// Batches between the thread that commits them and the one that ships them.
///
/// The store bounds them: it commits nothing while too many bytes are not replicated.
#[derive(Debug, Default)]
pub(super) struct Queue {
    batches: Mutex<VecDeque<Shipped>>,
    pub(super) filled: Notify,
}

/// A batch of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shipped {
    pub(super) first: u64,
    pub(super) entries: u32,
    pub(super) bytes: Bytes,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn take(&self) -> VecDeque<Shipped> {
        std::mem::take(&mut self.batches.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The store's end of a [`Queue`].
pub(super) struct Shipper(pub(super) Arc<Queue>);

impl Replica for Shipper {
    fn ship(&mut self, first: u64, entries: u32, batch: &[u8]) {
        let shipped = Shipped { first, entries, bytes: Bytes::copy_from_slice(batch) };
        self.0.batches.lock().unwrap_or_else(PoisonError::into_inner).push_back(shipped);
        self.0.filled.notify_one();
    }
}
