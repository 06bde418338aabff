//! The User Properties of CONNACK, PUBACK and PUBREC, for clients that ask for them with the User Property `explain` = `true` in CONNECT.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::Record;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::table::StreamTable;
use crate::codec::{Connect, Late, LateUserProperties, PacketId, Qos, ReasonCode, UserProperties, prefix_within};
use crate::routing::StreamSequences;
use crate::session::{self, Ticket};

impl Shard {
    /// What the client asked to be told about itself: nothing, or at most six properties, all of a bounded size.
    pub(in crate::broker) fn explanation(&self, id: ConnectionId, slot: usize, connect: &Connect) -> UserProperties {
        let mut told = UserProperties::new();
        if let Some(id) =
            self.shared.bridge_id().filter(|_| connect.properties.user_properties.contains(BRIDGE_ID, "ask"))
        {
            told.push(property(BRIDGE_ID, id.clone()));
        }
        if !asks_for_details(connect) {
            return told;
        }
        let settings = &self.settings;
        told.push(property("durability", settings.durability.name()));
        if !settings.durability_rules.is_empty() {
            told.push(property("durability-rules", settings.durability_rules.len().to_string()));
        }
        let Some(entry) = self.sessions.get(slot) else { return told };
        let strongest = settings.strongest_durability();
        told.push(property(
            "session",
            match (entry.session_expiry_interval, strongest) {
                (0, _) => "ends with the connection",
                (_, Durability::None) => "kept in memory",
                (_, Durability::Crash | Durability::PowerLoss) => "stored",
            },
        ));
        told.push(property("queued-messages", entry.session.queued().0.to_string()));
        if let Some(user) = self.connection(id).and_then(|connection| connection.verified_user()) {
            told.push(property("user", prefix_within(user, USER_LENGTH_MAX)));
        }
        told
    }
}

impl Shard {
    /// Answers a message, and tells what was done with it: how durable its record is, which the answer waits for, and how many Sessions get
    /// it.
    #[cold]
    pub(in crate::broker) fn answer_in_detail(
        &mut self,
        slot: usize,
        (packet_id, qos): (PacketId, Qos),
        (reason_code, wait): (ReasonCode, Option<Ticket>),
        turn: &mut Turn<'_>,
    ) {
        let awaited = |action: &Action| {
            if let Action::Persist { ticket, record } = action {
                return record.durability().filter(|_| Some(*ticket) == wait);
            }
            let Action::PersistTogether { ticket, durability, .. } = action else { return None };
            Some(*durability).filter(|_| Some(*ticket) == wait)
        };
        let level = wait.and_then(|_| turn.actions.iter().rev().find_map(awaited)).unwrap_or(Durability::None);
        let level = level.min(self.settings.strongest_durability());
        let receivers = self.receivers.to_string();
        let told = vec![property("durability", level.name()), property("receivers", receivers)];
        let given = wait.and_then(|wait| turn.actions.iter().rev().find_map(|action| given(action, wait)));
        let given = given.unwrap_or_default();
        let late = (!given.is_empty()).then(|| {
            let table = self.shared.streams();
            Late(Arc::new(EnteredStreams { table: StreamTable::clone(&table), given }))
        });
        self.drive(slot, session::Event::AnsweredInDetail { packet_id, qos, reason_code, wait, told, late }, turn);
    }
}

/// The sequences that the messages of a record with this ticket will have been given when it is stable.
fn given(action: &Action, wait: Ticket) -> Option<Vec<Arc<StreamSequences>>> {
    let records = if let Action::Persist { ticket, record } = action {
        Some(std::slice::from_ref(&**record)).filter(|_| *ticket == wait)?
    } else if let Action::PersistTogether { ticket, records, .. } = action {
        Some(&**records).filter(|_| *ticket == wait)?
    } else {
        return None;
    };
    let sequences =
        |record: &Record| if let Record::Accepted { sequences, .. } = record { sequences.clone() } else { None };
    Some(records.iter().filter_map(sequences).collect())
}

/// The streams that a message, or those of a batch, entered, for their publisher.
#[derive(Debug)]
struct EnteredStreams {
    table: StreamTable,
    given: Vec<Arc<StreamSequences>>,
}

impl LateUserProperties for EnteredStreams {
    /// For each stream, in the order of their numbers, `stream` and `stream-sequence`: the sequence, or the first and the last one of a batch.
    fn user_properties(&self) -> UserProperties {
        let mut ranges: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (number, sequence) in self.given.iter().filter_map(|given| given.get()).flatten() {
            let range = ranges.entry(*number).or_insert((*sequence, *sequence));
            *range = (range.0.min(*sequence), range.1.max(*sequence));
        }
        let known =
            ranges.into_iter().filter_map(|(number, range)| Some((self.table.get(StreamNumber(number))?, range)));
        let told = known.flat_map(|(stream, (first, last))| {
            let sequence = if first == last { first.to_string() } else { format!("{first}-{last}") };
            [property("stream", &*stream.name), property("stream-sequence", sequence)]
        });
        told.collect()
    }
}

/// Whether the client wants to know what its Session and its messages are worth.
pub(super) fn asks_for_details(connect: &Connect) -> bool {
    connect.properties.user_properties.contains("explain", "true")
}

fn property(name: &'static str, value: impl Into<ByteString>) -> (ByteString, ByteString) {
    (ByteString::from_static(name), value.into())
}

/// With the value `ask` in CONNECT: a bridge wants to know how this broker calls itself.
const BRIDGE_ID: &str = "bridge-id";
/// Maximum length of the name in the property `user`, in bytes.
const USER_LENGTH_MAX: usize = 256;
