//! Encodes records for the store: a body, the keys that it is stored under, and the deleted keys. `docs/STORAGE.md` has the layout.

use std::sync::Arc;

use bytes::BytesMut;
use bytestring::ByteString;
use smallvec::SmallVec;

use crate::broker::owner::Owner;
use crate::broker::persistence::body::{Body, put_length, put_message, put_option, put_str, put_subscription};
use crate::broker::persistence::body::{put_deduplicated, put_will};
use crate::broker::persistence::head::{StoredHead, put_head};
use crate::broker::persistence::record::{Deduplicated, InsteadOf, Record, RetainedChange, WillState};
use crate::broker::persistence::record_key::RecordKey;
use crate::codec::{ClientId, Matched, Message, PacketId, Qos, Subscription, SubscriptionId, Will};
use crate::routing::SessionKey;
use crate::session::{Delivery, DeliveryPlace, RestoredMessage};
use crate::timestamp::Timestamp;
use crate::topic::Filter;

/// A record for the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordBytes {
    /// The body of all puts.
    pub body: Vec<u8>,
    /// The keys that the body is stored under.
    pub puts: SmallVec<[RecordKey; 4]>,
    /// Keys deleted by this record (tombstones).
    pub deletes: SmallVec<[RecordKey; 4]>,
    /// The group of which all keys are deleted.
    pub ends: Option<u64>,
}

impl Record {
    /// Encodes the record for the store.
    pub fn to_bytes(&self) -> RecordBytes {
        let mut bytes = RecordBytes::default();
        match self {
            Self::SessionOpened { key, client_id, owner, session_expiry_interval, will } => {
                bytes.puts.push(RecordKey::of(*key, RecordKey::SESSION, 0));
                bytes.deletes.push(RecordKey::of(*key, RecordKey::DETACHED, 0));
                let wills = if will.is_some() { &mut bytes.puts } else { &mut bytes.deletes };
                wills.push(RecordKey::of(*key, RecordKey::WILL, 0));
                let body = &mut bytes.body;
                put_str(body, client_id.as_str());
                put_option(body, owner.user().map(|user| &**user), put_str);
                body.extend(session_expiry_interval.to_le_bytes());
                put_option(body, will.as_deref(), put_will);
                put_option(body, owner.provider(), put_str);
            }
            Self::SessionDetached { key, session_expiry_interval, at, will, sent_until } => {
                bytes.puts.push(RecordKey::of(*key, RecordKey::DETACHED, 0));
                bytes.body.extend(session_expiry_interval.to_le_bytes());
                bytes.body.extend(at.0.to_le_bytes());
                if *will == WillState::Gone {
                    bytes.deletes.push(RecordKey::of(*key, RecordKey::WILL, 0));
                }
                bytes.body.extend(sent_until.to_le_bytes());
            }
            Self::SessionEnded { key } => bytes.ends = Some(key.0),
            Self::SessionReplaced { key } => {
                let kinds = [RecordKey::SESSION, RecordKey::DETACHED, RecordKey::WILL];
                bytes.deletes = kinds.into_iter().map(|kind| RecordKey::of(*key, kind, 0)).collect();
            }
            Self::SessionGone { key, left } => {
                let kinds = [RecordKey::SESSION, RecordKey::DETACHED, RecordKey::WILL];
                bytes.deletes.extend(kinds.map(|kind| RecordKey::of(*key, kind, 0)));
                let states = [RecordKey::QUEUED, RecordKey::RELEASED];
                let queued = left.iter().flat_map(|id| states.map(|kind| RecordKey::of(*key, kind, *id)));
                bytes.deletes.extend(queued);
            }
            Self::Subscribed { key, subscriptions, subscription_id, message_id } => {
                bytes.puts = subscriptions.iter().map(|one| RecordKey::subscription(*key, &one.filter)).collect();
                bytes.body.extend(subscription_id.map_or(0, SubscriptionId::get).to_le_bytes());
                put_length(&mut bytes.body, subscriptions.len());
                for subscription in subscriptions {
                    put_subscription(&mut bytes.body, subscription);
                }
                bytes.body.push(u8::from(*message_id));
            }
            Self::Unsubscribed { key, filters } => {
                bytes.deletes = filters.iter().map(|filter| RecordKey::subscription(*key, filter)).collect();
            }
            Self::Accepted { .. } => self.put_accepted(&mut bytes),
            Self::DeduplicationRemoved { numbers } => {
                bytes.deletes = numbers.iter().copied().map(RecordKey::deduplicated).collect();
            }
            Self::RetainedObsolete { numbers } => {
                bytes.deletes = numbers.iter().copied().map(RecordKey::retained).collect();
            }
            Self::ReceivedReleased { key, packet_id } => {
                bytes.deletes.push(RecordKey::of(*key, RecordKey::RECEIVED, u64::from(packet_id.number())));
            }
            Self::OutboundReleased { key, sequence } => {
                bytes.deletes.push(RecordKey::queued(*key, *sequence));
                bytes.puts.push(RecordKey::of(*key, RecordKey::RELEASED, *sequence));
            }
            Self::Done { key, sequence } => {
                bytes.deletes.push(RecordKey::queued(*key, *sequence));
                bytes.deletes.push(RecordKey::of(*key, RecordKey::RELEASED, *sequence));
            }
        }
        bytes
    }

    fn put_accepted(&self, bytes: &mut RecordBytes) {
        let Self::Accepted {
            publisher,
            message,
            qos,
            at,
            expires_at,
            retained,
            deduplicated,
            receivers,
            instead_of,
            ..
        } = self
        else {
            return;
        };
        bytes.deletes.extend(instead_of.map(|before| match before {
            InsteadOf::Will(key) => RecordKey::of(key, RecordKey::WILL, 0),
            InsteadOf::Queued(key, sequence) => RecordKey::of(key, RecordKey::QUEUED, sequence),
        }));
        if let Some((key, packet_id)) = publisher {
            bytes.puts.push(RecordKey::of(*key, RecordKey::RECEIVED, u64::from(packet_id.number())));
        }
        let mut retainer = None;
        match retained {
            RetainedChange::None => {}
            RetainedChange::Set { number, gone, publisher } => {
                bytes.puts.push(RecordKey::retained(*number));
                bytes.deletes.extend(gone.iter().copied().map(RecordKey::retained));
                retainer = publisher.as_ref();
            }
            RetainedChange::Cleared { number, gone } => {
                bytes.puts.push(RecordKey::retained(*number));
                bytes.deletes.extend(gone.iter().copied().map(RecordKey::retained));
            }
        }
        if let Some(entry) = deduplicated {
            bytes.puts.push(RecordKey::deduplicated(entry.number));
            bytes.deletes.extend(entry.left.iter().copied().map(RecordKey::deduplicated));
        }
        let body = &mut bytes.body;
        body.reserve(message.topic.as_str().len() + message.payload.len() + ACCEPTED_BYTES);
        put_head(body, *qos, *expires_at, *at);
        put_option(body, retainer, |body, client_id| put_str(body, client_id.as_str()));
        put_message(body, message);
        put_length(body, receivers.len());
        for receiver in receivers.iter() {
            bytes.puts.push(RecordKey::queued(receiver.to.key, receiver.sequence));
            let Delivery { qos, retain, matched, .. } = &receiver.delivery;
            let (subscription_ids, share) = match matched.as_deref() {
                Some(Matched { subscription_ids, share }) => (&**subscription_ids, share.as_deref()),
                None => (&[][..], None),
            };
            body.extend(receiver.to.key.0.to_le_bytes());
            body.extend(receiver.sequence.to_le_bytes());
            body.push(qos.level());
            body.push(u8::from(*retain));
            put_length(body, subscription_ids.len());
            for id in subscription_ids {
                body.extend(id.get().to_le_bytes());
            }
            put_option(body, share, |body, filter| put_str(body, &filter.to_string()));
        }
        put_option(body, deduplicated.as_ref(), put_deduplicated);
    }
}

/// The body of [`Record::SessionOpened`].
#[derive(Debug)]
pub(in crate::broker) struct StoredSession {
    pub(in crate::broker) client_id: ClientId,
    pub(in crate::broker) owner: Owner,
    pub(in crate::broker) session_expiry_interval: u32,
    pub(in crate::broker) will: Option<Box<Will>>,
}

/// The body of [`Record::SessionDetached`].
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct StoredDetached {
    pub(in crate::broker) session_expiry_interval: u32,
    pub(in crate::broker) at: Timestamp,
    pub(in crate::broker) sent_until: u64,
}

/// The body of [`Record::Accepted`], without its deliveries.
#[derive(Debug)]
pub(in crate::broker) struct StoredMessage {
    pub(in crate::broker) message: Arc<Message>,
    pub(in crate::broker) qos: Qos,
    pub(in crate::broker) expires_at: Option<Timestamp>,
    pub(in crate::broker) retainer: Option<ClientId>,
    pub(in crate::broker) deduplicated: Option<Deduplicated>,
}

impl StoredSession {
    pub(in crate::broker) fn read(body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let client_id = ClientId::from(body.str()?);
        let user = body.option(|body| body.str().map(Arc::from))?;
        let session_expiry_interval = body.u32()?;
        let will = body.option(Body::will)?.map(Box::new);
        // Records of earlier versions end here.
        let provider = if body.0.is_empty() { None } else { body.option(Body::str)? };
        Some(Self { client_id, owner: Owner::from_stored(user, provider), session_expiry_interval, will })
    }
}

impl StoredDetached {
    pub(in crate::broker) fn read(body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let (session_expiry_interval, at) = (body.u32()?, Timestamp(body.u64()?));
        Some(Self { session_expiry_interval, at, sent_until: body.u64()? })
    }
}

/// The body of [`Record::Subscribed`].
pub(in crate::broker) fn read_subscriptions(body: &[u8]) -> Option<(Vec<Subscription>, Option<SubscriptionId>, bool)> {
    let body = &mut Body(body);
    let id = SubscriptionId::new(body.u32()?);
    let count = body.length()?;
    let subscriptions = (0..count).map(|_| body.subscription()).collect::<Option<_>>()?;
    Some((subscriptions, id, body.bool()?))
}

/// A delivery in the body of [`Record::Accepted`].
struct StoredDelivery<'a> {
    session: u64,
    sequence: u64,
    qos: Qos,
    retain: bool,
    subscription_ids: Body<'a>,
    share: Option<&'a str>,
}

impl StoredMessage {
    pub(in crate::broker) fn read(body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let StoredHead { qos, expires_at, .. } = StoredHead::read(body)?;
        let retainer = body.option(|body| body.str().map(ClientId::from))?;
        let message = Arc::new(body.message(qos)?);
        for _ in 0..body.length()? {
            StoredDelivery::read(body)?;
        }
        let deduplicated = body.option(Body::deduplicated)?;
        Some(Self { message, qos, expires_at, retainer, deduplicated })
    }
}

impl<'a> StoredDelivery<'a> {
    fn read(body: &mut Body<'a>) -> Option<Self> {
        let (session, sequence) = (body.u64()?, body.u64()?);
        let (qos, retain) = (Qos::new(body.u8()?)?, body.bool()?);
        let ids = body.length()?;
        let subscription_ids = Body(body.take(ids.checked_mul(size_of::<u32>())?)?);
        let share = body.option(Body::str)?;
        Some(Self { session, sequence, qos, retain, subscription_ids, share })
    }

    fn delivery(mut self, message: &Arc<Message>, expires_at: Timestamp) -> Option<Delivery> {
        let mut subscription_ids = SmallVec::new();
        while let Some(id) = self.subscription_ids.u32() {
            subscription_ids.push(SubscriptionId::new(id)?);
        }
        let share = match self.share {
            Some(filter) => Some(Arc::new(Filter::new(ByteString::from(filter)).ok()?)),
            None => None,
        };
        let (qos, retain) = (self.qos, self.retain);
        let (matched, place) = (Matched::new(subscription_ids, share), DeliveryPlace::Record);
        Some(Delivery { message: Arc::clone(message), qos, retain, expires_at, matched, place })
    }
}

/// Decodes a message from the body of [`Record::Accepted`], as one Session gets it with this sequence. Its content is copied into
/// `buffer`.
pub(in crate::broker) fn read_delivery(
    body: &[u8],
    (session, sequence): (SessionKey, u64),
    buffer: &mut BytesMut,
) -> Option<Delivery> {
    let body = &mut Body(body);
    let StoredHead { qos, expires_at, .. } = StoredHead::read(body)?;
    body.option(Body::bytes)?;
    let message = Arc::new(body.message_in(qos, buffer)?);
    for _ in 0..body.length()? {
        let stored = StoredDelivery::read(body)?;
        if (stored.session, stored.sequence) == (session.0, sequence) {
            return stored.delivery(&message, expires_at.unwrap_or(Timestamp::NEVER));
        }
    }
    None
}

/// Decodes the queue entries of messages in the body of [`Record::Accepted`]: those in `wanted`, by Session and sequence, in the order of the
/// body.
pub(in crate::broker) fn read_queued(
    body: &[u8],
    mut wanted: impl Iterator<Item = (u64, u64)>,
    mut found: impl FnMut(u64, u64, RestoredMessage),
) -> Option<()> {
    let whole = Body(body);
    let body = &mut Body(body);
    let StoredHead { expires_at, .. } = StoredHead::read(body)?;
    body.option(Body::bytes)?;
    let content = u32::try_from(body.message_length()?).ok()?;
    let mut next = wanted.next();
    for _ in 0..body.length()? {
        let Some(place) = next else { return Some(()) };
        let stored = StoredDelivery::read(body)?;
        let (session, sequence) = (stored.session, stored.sequence);
        if (session, sequence) != place {
            continue;
        }
        let message = if stored.share.is_some() {
            // It is in memory, because it moves to another member when this Session ends.
            RestoredMessage::Shared(Box::new(read_delivery(
                whole.0,
                (SessionKey(session), sequence),
                &mut BytesMut::new(),
            )?))
        } else {
            let expires_at = expires_at.unwrap_or(Timestamp::NEVER);
            RestoredMessage::Queued { qos: stored.qos, expires_at, content }
        };
        found(session, sequence, message);
        next = wanted.next();
    }
    next.is_none().then_some(())
}

/// The Packet Identifier in a key of kind [`RecordKey::RECEIVED`].
pub(in crate::broker) fn received_packet_id(id: u64) -> Option<PacketId> {
    u16::try_from(id).ok().and_then(PacketId::new)
}

/// Bytes to reserve for the body of an accepted message with one receiver, in addition to its content.
const ACCEPTED_BYTES: usize = 64;
