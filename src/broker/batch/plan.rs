//! Makes room for a batch: for its records, retained messages, delayed messages and copies in queues.

use std::sync::Arc;

use crate::broker::batch::members::BatchMember;
use crate::broker::batch::queues::{NoQueueRoom, QueuedCopies};
use crate::broker::delayed::quota::Counted;
use crate::broker::event::StoreRoom;
use crate::broker::memory::MEMORY_SHORT;
use crate::broker::owner::Owner;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::receipt::Originator;
use crate::broker::publish::blocked::WaitsFor;
use crate::broker::publish::plan::{BatchAdmission, Chosen};
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::resolved::Resolved;
use crate::broker::receipts::request::ReceiptRequest;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Matched, Qos};
use crate::routing::{ChosenMember, Current, PublishRight, RetainedMessage, RetainedStore, Route};
use crate::session::{self, Application};
use crate::topic::MountPoint;

/// A message of a batch for which there is room.
#[derive(Debug)]
pub(super) struct PlannedMessage {
    pub(super) application: Application,
    /// When it is published, as the seconds from now, and its place in the quota; `None`: at once.
    pub(super) delay: Option<(u32, Counted)>,
    /// Its receivers; none if it is delayed.
    pub(super) resolved: Resolved,
    pub(super) chosen: Chosen<'static>,
    /// The receipt that it asks for.
    pub(super) receipt: Option<Box<ReceiptRequest>>,
}

/// A batch for which there is room.
#[derive(Debug)]
pub(super) struct BatchPlan {
    pub(super) messages: Vec<PlannedMessage>,
    pub(super) admission: Arc<BatchAdmission>,
    /// The durability of all records: the greatest of any message.
    pub(super) level: Durability,
    /// Whether the answer waits for the records.
    pub(super) waits: bool,
}

/// Why there is no room.
#[derive(Debug)]
pub(super) enum Unplanned {
    /// There will be.
    Full(WaitsFor),
    /// A limit is reached: in words for the log and the client.
    Refused(String),
}

/// What all records and copies of a batch need.
#[derive(Debug)]
struct Needs {
    level: Durability,
    waits: bool,
    needs_store: bool,
    copies: usize,
    /// At least the bytes of the records.
    bytes: usize,
}

impl Shard {
    /// Makes room for the messages of a batch, or for none of them. `retained` is locked if one of them is retained.
    pub(super) fn plan_batch(
        &mut self,
        publisher: &Publisher,
        members: Vec<BatchMember>,
        retained: Option<&RetainedStore>,
        turn: &mut Turn<'_>,
    ) -> Result<BatchPlan, Unplanned> {
        let needs_store = publisher.deduplicated.is_some() || self.stores_received_ids(publisher);
        let mut needs = Needs { level: Durability::None, waits: false, needs_store, copies: 0, bytes: 0 };
        let mut copies = QueuedCopies::default();
        let mut messages = Vec::with_capacity(members.len());
        let mut delays = Vec::with_capacity(members.len());
        let count = members.len();
        let mut routes = self.routes.take().unwrap_or_default();
        for BatchMember { application, delay, receipt } in members {
            let resolved = match delay {
                None => routes.resolve(&self.shared, &self.settings, &application.message.topic).clone(),
                Some(_) => Resolved::default(),
            };
            let chosen = choose_members(&resolved.route, publisher, &application);
            let topic_level = match delay {
                None => resolved.level,
                // A delayed message is state: see `postpone`.
                Some(_) => match self.settings.durability_of(&application.message.topic) {
                    Durability::None => Durability::PowerLoss,
                    level @ (Durability::Crash | Durability::PowerLoss) => level,
                },
            };
            needs.needs_store |= receipt.is_some();
            needs.add(publisher, &application, (topic_level, delay.is_some()), (&resolved, &chosen));
            needs.bytes += receipt.as_deref().map_or(0, receipt_bytes);
            if let Err(refused) = needs.check(count) {
                self.routes = Some(routes);
                return Err(refused);
            }
            copies.add(publisher, &application, (&resolved.route, &chosen));
            delays.push(delay);
            messages.push(PlannedMessage { application, delay: None, resolved, chosen, receipt });
        }
        self.routes = Some(routes);
        if self.store_room == StoreRoom::None && needs.level > Durability::None && needs.needs_store {
            return Err(Unplanned::Full(WaitsFor::Disk));
        }
        if let Some(retained) = retained {
            let is_retained =
                |(message, delay): &(&PlannedMessage, &Option<u32>)| message.application.retain && delay.is_none();
            let changes = messages.iter().zip(&delays).filter(is_retained);
            self.check_retained(publisher, changes.map(|(message, _)| message), retained)?;
        }
        self.count_delays(publisher, &mut messages, &delays)?;
        match self.admit_batch(&copies, turn) {
            Ok(admission) => {
                Ok(BatchPlan { messages, admission: Arc::new(admission), level: needs.level, waits: needs.waits })
            }
            Err(no_room) => {
                self.free_delays(&messages);
                Err(match no_room {
                    NoQueueRoom::Now(room) => Unplanned::Full(WaitsFor::Queue(room)),
                    NoQueueRoom::Ever => {
                        Unplanned::Refused("the batch: larger than the queue of a receiver".to_owned())
                    }
                })
            }
        }
    }

    /// Whether the retained messages are within their limits when all of the batch are.
    fn check_retained<'a>(
        &self,
        publisher: &Publisher,
        messages: impl Iterator<Item = &'a PlannedMessage>,
        retained: &RetainedStore,
    ) -> Result<(), Unplanned> {
        let (user, _) = publisher.owner.as_ref().map_or((None, PublishRight::always()), Owner::as_source);
        let changes: Vec<_> = messages
            .map(|PlannedMessage { application, .. }| RetainedMessage {
                message: Arc::clone(&application.message),
                qos: application.qos,
                expires_at: None,
                publisher: None,
                user: user.clone(),
                right: PublishRight::always(),
                number: 0,
                current: Current::default(),
                sequences: None,
            })
            .collect();
        if self.is_memory_short() && changes.iter().any(|change| !change.message.payload.is_empty()) {
            return Err(Unplanned::Refused(MEMORY_SHORT.to_owned()));
        }
        retained.fits(&changes).map_err(|full| Unplanned::Refused(format!("the batch: {full}")))
    }

    /// Counts the delayed messages of a batch, or none of them.
    fn count_delays(
        &mut self,
        publisher: &Publisher,
        messages: &mut [PlannedMessage],
        delays: &[Option<u32>],
    ) -> Result<(), Unplanned> {
        for (place, delay) in delays.iter().enumerate() {
            let Some((message, seconds)) = messages.get(place).zip(*delay) else { continue };
            match self.count_delayed(publisher, &message.application) {
                Ok(counted) => {
                    if let Some(message) = messages.get_mut(place) {
                        message.delay = Some((seconds, counted));
                    }
                }
                Err(limit) => {
                    self.free_delays(messages);
                    self.counters.delayed_refused += 1;
                    return Err(Unplanned::Refused(format!("the batch: no room for a delayed message ({limit})")));
                }
            }
        }
        Ok(())
    }

    fn free_delays(&self, messages: &[PlannedMessage]) {
        for PlannedMessage { application, delay, .. } in messages {
            if let Some((_, counted)) = delay {
                self.shared.delayed.free(counted.owner, session::queued_bytes(application.message.content_len()));
            }
        }
    }
}

/// Chooses the member of each share, under its lock: the choices outlive those of the next messages.
fn choose_members(route: &Route, publisher: &Publisher, application: &Application) -> Chosen<'static> {
    let topic = &application.message.topic;
    let chosen = route.shares.iter().filter_map(|share| share.choose(publisher.key, topic, None));
    chosen.map(ChosenMember::Locked).collect()
}

impl Needs {
    fn add(
        &mut self,
        publisher: &Publisher,
        application: &Application,
        (topic_level, is_delayed): (Durability, bool),
        (resolved, chosen): (&Resolved, &Chosen<'_>),
    ) {
        let (route, is_in_stream) = (&resolved.route, !resolved.streams().is_empty());
        self.level = self.level.max(topic_level.of_record(application, route, is_in_stream));
        self.waits |= topic_level > Durability::None || application.retain || is_in_stream;
        let is_durable = || route.receivers.iter().any(|receiver| receiver.subscriber.is_durable());
        let is_queued = application.qos > Qos::AtMostOnce && (!route.shares.is_empty() || is_durable());
        self.needs_store |= is_delayed || application.retain || is_in_stream || is_queued;
        let names = if is_delayed || application.retain { names_bytes(publisher) } else { 0 };
        self.bytes += application.message.content_len() + MESSAGE_BYTES + names;
        let members = chosen.iter().map(|receiver| (&**receiver, None));
        for (receiver, publisher) in route.receivers.iter().map(|receiver| (receiver, publisher.key)).chain(members) {
            let Some(granted) = receiver.delivery(publisher) else { continue };
            self.copies += 1;
            self.bytes += COPY_BYTES + granted.matched.as_deref().map_or(0, grant_bytes);
        }
    }

    /// A batch is handled in one turn, and its records are one write.
    fn check(&self, messages: usize) -> Result<(), Unplanned> {
        if messages > 1 && self.copies > COPIES_MAX {
            let copies = self.copies;
            return Err(Unplanned::Refused(format!(
                "the batch: {copies} copies for receivers, more than {COPIES_MAX}"
            )));
        }
        if messages > 1 && self.bytes > BYTES_MAX {
            return Err(Unplanned::Refused(format!("the batch: its records have more than {BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

/// The names of the publisher in the record of a message that is retained or delayed.
fn names_bytes(publisher: &Publisher) -> usize {
    let owner = publisher.owner.as_ref();
    let user = owner.and_then(Owner::user).map_or(0, |user| user.len());
    let provider = owner.and_then(Owner::provider).map_or(0, str::len);
    publisher.client_id.as_ref().map_or(0, |client_id| client_id.as_str().len()) + user + provider
}

/// The names of the originator, and the topic, in the record of a message that asks for a receipt.
fn receipt_bytes(request: &ReceiptRequest) -> usize {
    let Originator { client_id, owner } = &*request.originator;
    let names = [owner.user().map(|user| &**user), owner.provider(), owner.mount_point().map(MountPoint::as_str)];
    let names: usize = names.into_iter().flatten().map(str::len).sum();
    RECEIPT_BYTES + names + client_id.as_str().len() + request.to.as_str().len()
}

fn grant_bytes(matched: &Matched) -> usize {
    let share = matched.share.as_ref().map_or(0, |filter| filter.to_string().len() + size_of::<u32>());
    matched.subscription_ids.len() * size_of::<u32>() + share
}

/// Messages times receivers: about 20 MB of copies in memory.
const COPIES_MAX: usize = 200_000;

/// The store takes twice as much together.
const BYTES_MAX: usize = 1 << 28;

/// The most bytes of a record in addition to the content and the copies: the client's names, keys and checksums.
const MESSAGE_BYTES: usize = 1_000;

/// The most bytes of a receipt in addition to its texts and the places of copies: numbers, lengths, and a key.
const RECEIPT_BYTES: usize = 100;

/// The most bytes of a copy in addition to its subscriptions: a key, and a part with its checksum.
const COPY_BYTES: usize = 80; // with its place in a receipt

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::owner::User;
    use crate::broker::persistence::encode::RecordBytes;
    use crate::broker::persistence::receipt::{ReceiptChange, ReceiptState};
    use crate::routing::SessionKey;
    use crate::timestamp::Timestamp;
    use crate::topic::TopicName;

    #[test]
    fn the_bytes_of_a_receipt_are_counted_with_all_its_names() {
        let long = "n".repeat(60_000);
        let mount_point = MountPoint::new(&"m/".repeat(512)).unwrap();
        let user = |mount_point| User { provider: Some("p".repeat(50_000).into()), name: (&*long).into(), mount_point };
        let owners = [
            Owner::Anonymous,
            Owner::User(Arc::new(user(None))),
            Owner::User(Arc::new(user(Some(mount_point.clone())))),
            Owner::AnonymousBelow(mount_point),
        ];
        for owner in owners {
            let originator = Arc::new(Originator { client_id: (&*long).into(), owner });
            let to = TopicName::new((&*long).into()).unwrap();
            let request = ReceiptRequest { originator: Arc::clone(&originator), to: to.clone(), correlation: None };
            for copies in [0, 1, 1_000] {
                let places = vec![(SessionKey(u64::MAX), u64::MAX); copies];
                let state = ReceiptState {
                    number: u64::MAX,
                    originator: Arc::clone(&originator),
                    to: to.clone(),
                    at: Timestamp(1),
                    left_out: 7,
                    places,
                };
                let mut record = RecordBytes::default();
                ReceiptChange::Opened(Box::new(state)).put(&mut record);
                let parts: usize = record.parts.list().iter().map(|part| part.len()).sum();
                let stored = parts + record.puts.len() * 17;
                let counted = receipt_bytes(&request) + copies * COPY_BYTES;
                assert!(
                    (stored..stored + RECEIPT_BYTES + copies * COPY_BYTES).contains(&counted),
                    "{stored} {counted}"
                );
            }
        }
    }
}
