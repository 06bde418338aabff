//! Restores the open receipts of the previous run.

use crate::broker::directory::state::Shared;
use crate::broker::persistence::receipt::{CopyState, ReceiptState};
use crate::broker::persistence::recovery::receipts::RecoveredReceipt;
use crate::broker::receipts::copies::known_as;
use crate::broker::receipts::receipt::{NOWHERE, Receipt};

impl Shared {
    /// Restores the open receipts of the previous run, before the first Session. Those that are complete are published soon.
    pub fn restore_receipts(&self, receipts: Vec<RecoveredReceipt>) {
        // The Sessions of their copies may have ended, and new ones must not be taken for these.
        let first = receipts.iter().flat_map(|receipt| receipt.state.places.iter().map(|(key, _)| *key));
        let moved = receipts.iter().flat_map(|receipt| receipt.copies.iter().filter_map(|copy| copy.session()));
        self.number_sessions_after(first.chain(moved).max());
        for RecoveredReceipt { state, topic, message_id, correlation, copies } in receipts {
            let ReceiptState { number, originator, to, at, left_out, .. } = state;
            let topic = known_as(&topic, originator.owner.mount_point()).into();
            let (mut places, mut known) = (Vec::new(), Vec::new());
            for copy in copies {
                places.push(match copy {
                    CopyState::Queued(key, sequence) => (key, sequence),
                    CopyState::Left(outcome, at) => {
                        known.push((outcome, at));
                        NOWHERE
                    }
                });
            }
            let receipt = Receipt::new((originator, to), (message_id, topic, correlation), at, (places, left_out));
            self.receipts.restore(number, receipt, known.into_iter());
        }
    }

    /// The number of open receipts.
    pub fn receipts_len(&self) -> usize {
        self.receipts.len()
    }
}
