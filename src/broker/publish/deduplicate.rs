//! Deduplicates messages by their `dedup-id`.

use bytestring::ByteString;

use crate::broker::cells::DedupName;
use crate::broker::connection::state::Connection;
use crate::broker::persistence::record::{Deduplicated, Record};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::deduplication::{Claimant, WindowBounds, WindowLookup};
use crate::broker::publish::plan::Copies;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::session::{Application, Ticket};

/// The result of a deduplication look-up.
pub(in crate::broker) enum DeduplicationVerdict {
    /// Accept the message. With its new entry in the window, if it has a `dedup-id`.
    Accept(Option<Deduplicated>),
    /// A duplicate of an accepted message. It is acknowledged when this ticket is stable.
    Duplicate(Option<Ticket>),
    /// A message with this `dedup-id` is not stable yet, and another shard accepted it, or another cell is to be asked: try again later.
    Pending,
    /// The `dedup-id` is longer than [`ID_BYTES_MAX`].
    Refuse(ReasonCode),
}

impl Shard {
    /// Looks up a message in the deduplication window, if it has a `dedup-id` and QoS 1 or 2.
    pub(in crate::broker) fn look_up(
        &mut self,
        connection: &PublisherName,
        publisher: &Publisher,
        application: &Application,
        turn: &mut Turn<'_>,
    ) -> DeduplicationVerdict {
        let is_off = self.settings.deduplication_window.is_zero();
        if application.packet_id.is_none() || is_off || application.message.properties.is_empty() {
            return DeduplicationVerdict::Accept(None);
        }
        let Some(id) = dedup_id(application) else { return DeduplicationVerdict::Accept(None) };
        if id.len() > ID_BYTES_MAX {
            return DeduplicationVerdict::Refuse(ReasonCode::ImplementationSpecificError);
        }
        let claimant = Claimant { home: self.permit_home(&connection.0), origin: publisher.origin };
        let name = DedupName { publisher: connection.0.clone(), id };
        match self.shared.deduplication.claim(turn.now, self.window_bounds(), name, claimant) {
            WindowLookup::New(entry) => {
                self.counters.deduplication_left += entry.left.len() as u64;
                DeduplicationVerdict::Accept(Some(entry))
            }
            WindowLookup::Pending => DeduplicationVerdict::Pending,
            WindowLookup::Elsewhere => {
                self.send_permits(turn);
                DeduplicationVerdict::Pending
            }
            WindowLookup::Repeat(shard, ticket) if shard != self.id && self.shared.stable(shard) < ticket => {
                DeduplicationVerdict::Pending
            }
            WindowLookup::Repeat(shard, ticket) => {
                self.counters.duplicates += 1;
                let first = (shard == self.id && !self.pipeline.is_stable(ticket)).then_some(ticket);
                // At QoS 2, the Packet Identifier of the duplicate is in the received set until PUBREL.
                let level = self.settings.durability_of(&application.message.topic);
                let accepted = AcceptedMessage::without_content(application).with_level(level);
                let own = self.persist_accepted(publisher, accepted, Copies::default(), turn);
                DeduplicationVerdict::Duplicate(first.max(own))
            }
        }
    }

    /// The bounds of the window.
    pub(in crate::broker) fn window_bounds(&self) -> WindowBounds {
        let all_max = if self.is_memory_short() { 0 } else { IDS_MAX };
        WindowBounds { time: self.settings.deduplication_window, ids_max: self.settings.deduplication_ids_max, all_max }
    }

    /// Confirms the window entry of an accepted message, or withdraws that of a message that was not accepted.
    pub(in crate::broker) fn settle(
        &mut self,
        entry: Option<Box<Deduplicated>>,
        accepted: bool,
        wait: Option<Ticket>,
        turn: &mut Turn<'_>,
    ) {
        let Some(Deduplicated { number, left, .. }) = entry.map(|entry| *entry) else { return };
        if accepted {
            return self.shared.deduplication.confirm(number, self.id, wait.unwrap_or_default());
        }
        self.shared.deduplication.withdraw(number);
        if !left.is_empty() {
            self.persist(Record::DeduplicationRemoved { numbers: left }, turn);
        }
    }

    /// Removes entries that are older than the window.
    pub(in crate::broker) fn expire_deduplication(&mut self, turn: &mut Turn<'_>) {
        let numbers = self.shared.deduplication.expire(turn.now, self.settings.deduplication_window, EXPIRED_MAX);
        if !numbers.is_empty() {
            self.counters.deduplication_expired += numbers.len() as u64;
            self.persist(Record::DeduplicationRemoved { numbers }, turn);
        }
    }
}

/// The [name](crate::broker::owner::Owner::publisher_name) of a publisher in the window.
pub(in crate::broker) struct PublisherName(ByteString);

impl PublisherName {
    pub(in crate::broker) fn of(connection: &Connection) -> Self {
        let client_id = connection.client_id.as_ref().map_or("", |id| id.as_str());
        Self(connection.identity.owner.publisher_name(client_id).into())
    }
}

fn dedup_id(application: &Application) -> Option<ByteString> {
    // Copied, so that it does not keep the read buffer alive.
    application.message.properties.user_property("dedup-id").map(Into::into)
}

/// The longest `dedup-id` in bytes: enough for a URL or several UUIDs.
const ID_BYTES_MAX: usize = 256;
/// Identifiers of all publishers together: a few hundred megabytes at most.
const IDS_MAX: usize = 1_000_000;
/// Entries that expire in one tick at most.
const EXPIRED_MAX: usize = 100_000;
