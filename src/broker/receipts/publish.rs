//! Publishes receipts that are due.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::event::StoreRoom;
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::persistence::record::{InsteadOf, Record};
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::refusal::Refusal;
use crate::broker::receipts::payload::application;
use crate::broker::receipts::receipt::Receipt;
use crate::broker::report::{ClientLabel, Report};
use crate::broker::shard::{Shard, Turn};
use crate::routing::Denied;

impl Shard {
    /// Makes receipts due that are too old. Called once a second on one shard.
    pub(in crate::broker) fn expire_receipts(&self, turn: &Turn<'_>) {
        if self.shared.receipts.len() > 0 {
            self.shared.receipts.expire(turn.now, self.settings.receipts.age_max, EXPIRED_MAX);
        }
    }

    /// Publishes receipts that are due and whose records are stable. Each that is published has a record, so the next ones follow soon.
    pub(in crate::broker) fn publish_receipts(&mut self, turn: &mut Turn<'_>) {
        if !self.shared.receipts.has_due()
            || self.lifecycle.is_shutting_down() // they are published after the next start
            || self.flow.is_store_congested()
            || self.flow.has_full_shards()
        {
            return;
        }
        // On a full disk, too, but few at a time: each record is small, and ends an entry that keeps a whole message.
        let max = if self.store_room == StoreRoom::None { PUBLISHED_ON_FULL_DISK_MAX } else { PUBLISHED_MAX };
        let shared = Arc::clone(&self.shared);
        for (number, receipt) in shared.receipts.take_due(turn.now, |shard| shared.stable(shard), max) {
            self.publish_receipt(number, &receipt, turn);
        }
    }

    /// Publishes a receipt in the record that deletes it, as its originator may publish now.
    fn publish_receipt(&mut self, number: u64, receipt: &Receipt, turn: &mut Turn<'_>) {
        if let Err(denied) = self.may_publish_receipt(receipt) {
            self.counters.receipts_denied += 1;
            self.report_receipt_denied(receipt, denied, turn);
            self.persist(Record::ReceiptRemoved { number }, turn);
            return self.shared.receipts.close(number);
        }
        let publisher = Publisher { instead_of: Some(InsteadOf::Receipt(number)), ..Publisher::broker() };
        match self.accept(&publisher, application(receipt), turn) {
            Verdict::Answer { .. } => {
                self.counters.receipts_published += 1;
                self.shared.receipts.close(number);
            }
            // A queue is full, and the operator has chosen that nothing is lost.
            Verdict::Full(_) | Verdict::Pending(_) => self.shared.receipts.put_back(number, turn.now + RETRY),
        }
    }

    fn may_publish_receipt(&self, receipt: &Receipt) -> Result<(), Denied> {
        let Some(rights) = &self.shared.rights else { return Ok(()) };
        let (client_id, owner) = (&receipt.originator.client_id, &receipt.originator.owner);
        let user = owner.as_source().0;
        let access = rights.access(client_id, user.as_deref(), &receipt.to);
        access.below(owner.mount_point()).publish(&receipt.to)
    }

    fn report_receipt_denied(&mut self, receipt: &Receipt, denied: Denied, turn: &mut Turn<'_>) {
        let Refusal { reason_code, rule, .. } = Refusal::by_access(denied);
        let client_id = Some(receipt.originator.client_id.clone());
        let client = ClientLabel { client_id, ..ClientLabel::default() };
        let topic = ByteString::from(receipt.to.as_str());
        let action = RefusedAction::Publish;
        let refused = Refused { action, reason_code, rule: Some(&rule), reason: None, topic: Some(&topic) };
        self.operator.refused(turn.now, &client, refused);
        let report = Report::Denied { client, packet: "receipt", topic, reason_code, rule };
        turn.actions.push(Action::Report(Box::new(report)));
    }
}

/// The receipts that become due by their age in one tick.
const EXPIRED_MAX: usize = 1_000;
/// The receipts that are published in one turn.
const PUBLISHED_MAX: usize = 64;
/// The same while the disk is full.
const PUBLISHED_ON_FULL_DISK_MAX: usize = 4;
/// The pause after which a receipt for which a full queue has no room is tried again.
const RETRY: Duration = Duration::from_secs(1);
