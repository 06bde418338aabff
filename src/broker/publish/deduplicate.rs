//! A message with a `dedup-id` on its way through the deduplication window.

use bytestring::ByteString;

use crate::broker::connection::state::Connection;
use crate::broker::persistence::record::{Deduplicated, Record};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::deduplication::{WindowBounds, WindowLookup};
use crate::broker::publish::plan::Copies;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{MessageProperty, ReasonCode};
use crate::session::{Application, Ticket};

/// What becomes of a message before it is accepted.
pub(in crate::broker) enum DeduplicationVerdict {
    /// It goes on, with its place in the window if it has a `dedup-id`.
    Accept(Option<Deduplicated>),
    /// The same was accepted before, and is to be stable.
    Duplicate(Option<Ticket>),
    /// The same is not stable yet, and another shard knows when.
    Pending,
    /// Its identifier can't be kept.
    Refuse(ReasonCode),
}

impl Shard {
    /// Looks a message up in the deduplication window, if it wants that.
    pub(in crate::broker) fn look_up(
        &mut self,
        connection: &PublisherName,
        publisher: &Publisher,
        application: &Application,
        turn: &mut Turn<'_>,
    ) -> DeduplicationVerdict {
        let time = self.settings.deduplication_window;
        if application.packet_id.is_none() || time.is_zero() || application.message.properties.is_empty() {
            return DeduplicationVerdict::Accept(None);
        }
        let Some(id) = dedup_id(application) else { return DeduplicationVerdict::Accept(None) };
        if id.len() > ID_BYTES_MAX {
            return DeduplicationVerdict::Refuse(ReasonCode::ImplementationSpecificError);
        }
        let bounds = WindowBounds { time, ids_max: self.settings.deduplication_ids_max };
        match self.shared.deduplication.claim(turn.now, bounds, connection.0.clone(), id) {
            WindowLookup::New(entry) => {
                self.counters.deduplication_left += entry.left.len() as u64;
                DeduplicationVerdict::Accept(Some(entry))
            }
            WindowLookup::Pending => DeduplicationVerdict::Pending,
            WindowLookup::Repeat(shard, ticket) if shard != self.id && self.shared.stable(shard) < ticket => {
                DeduplicationVerdict::Pending
            }
            WindowLookup::Repeat(shard, ticket) => {
                self.counters.duplicates += 1;
                let first = (shard == self.id && !self.pipeline.is_stable(ticket)).then_some(ticket);
                // The Packet Identifier is received all the same.
                let level = self.settings.durability_of(&application.message.topic);
                let accepted = AcceptedMessage::without_content(application).with_level(level);
                let own = self.persist_accepted(publisher, accepted, Copies::default(), turn);
                DeduplicationVerdict::Duplicate(first.max(own))
            }
        }
    }

    /// Says what became of a message that had its place in the window.
    pub(in crate::broker) fn settle(
        &mut self,
        entry: Option<Deduplicated>,
        accepted: bool,
        wait: Option<Ticket>,
        turn: &mut Turn<'_>,
    ) {
        let Some(Deduplicated { number, left, .. }) = entry else { return };
        if accepted {
            return self.shared.deduplication.confirm(number, self.id, wait.unwrap_or_default());
        }
        self.shared.deduplication.withdraw(number);
        if !left.is_empty() {
            self.persist(Record::Forgotten { numbers: left }, turn);
        }
    }

    /// Forgets what is older than the window.
    pub(in crate::broker) fn expire_deduplication(&mut self, turn: &mut Turn<'_>) {
        let numbers = self.shared.deduplication.expire(turn.now, self.settings.deduplication_window, EXPIRED_MAX);
        if !numbers.is_empty() {
            self.counters.deduplication_expired += numbers.len() as u64;
            self.persist(Record::Forgotten { numbers }, turn);
        }
    }
}

/// Who published, for the window: the same for all connections of a user, or of a client without one.
pub(in crate::broker) struct PublisherName(ByteString);

impl PublisherName {
    pub(in crate::broker) fn of(connection: &Connection) -> Self {
        let client_id = || connection.client_id.as_ref().map_or("", |id| id.as_str());
        Self(match connection.verified_user() {
            Some(user) => format!("user/{user}").into(),
            None => format!("client/{}", client_id()).into(),
        })
    }
}

fn dedup_id(application: &Application) -> Option<ByteString> {
    application.message.properties.iter().find_map(|property| match property {
        // Out of the read buffer that it was decoded from.
        MessageProperty::UserProperty(name, value) if &*name == "dedup-id" => Some((&*value).into()),
        MessageProperty::UserProperty(..)
        | MessageProperty::PayloadFormatIndicator(_)
        | MessageProperty::ContentType(_)
        | MessageProperty::ResponseTopic(_)
        | MessageProperty::CorrelationData(_) => None,
    })
}

/// The longest identifier: a URL or a few UUIDs.
const ID_BYTES_MAX: usize = 256;
/// Identifiers that leave the window in one tick at the most.
const EXPIRED_MAX: usize = 100_000;
