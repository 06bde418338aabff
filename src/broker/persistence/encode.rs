//! Encodes records for the store: a body, the keys that it is stored under, and the deleted keys. `docs/STORAGE.md` has the layout.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::broker::owner::Owner;
use crate::broker::persistence::body::{Body, put_length, put_message, put_option, put_str};
use crate::broker::persistence::body::{owner_part, put_deduplicated, put_will};
use crate::broker::persistence::delay::Delay;
use crate::broker::persistence::grant::{RecordParts, StoredGrant};
use crate::broker::persistence::head::{StoredHead, put_head};
use crate::broker::persistence::record::{
    Deduplicated, InsteadOf, ObsoleteRetained, Record, RetainedChange, WillState,
};
use crate::broker::persistence::record_key::{RecordKey, group_of};
use crate::broker::persistence::redelivery::put_redelivery;
use crate::broker::streams::table::TopicStreams;
use crate::codec::{ClientId, Message, PacketId, Qos, Will};
use crate::session::{Delivery, DeliveryPlace, RestoredMessage};
use crate::timestamp::Timestamp;
use crate::topic::{MountPoint, TopicFilter};

/// A record for the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordBytes {
    /// The body of all puts.
    pub body: Vec<u8>,
    /// The keys that the body is stored under.
    pub puts: SmallVec<[RecordKey; 4]>,
    /// What single puts have in addition to the body.
    pub parts: RecordParts,
    /// The streams whose next sequence the store gives to the body, as a further put in each of them.
    pub streams: TopicStreams,
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
            Self::SessionOpened { .. } => self.put_opened(&mut bytes),
            Self::SessionDetached { .. } => self.put_detached(&mut bytes),
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
            Self::Subscribed { .. } => self.put_subscribed(&mut bytes),
            Self::Unsubscribed { key, filters } => {
                bytes.deletes = filters.iter().map(|filter| RecordKey::subscription(*key, filter)).collect();
            }
            Self::StreamPosition { key, position } => position.put(*key, &mut bytes),
            Self::StreamPositionsRemoved { key, numbers } => {
                bytes.deletes = numbers.iter().map(|number| RecordKey::stream_position(*key, *number)).collect();
            }
            Self::Accepted { .. } => self.put_accepted(&mut bytes),
            Self::DeduplicationRemoved { numbers } => {
                bytes.deletes = numbers.iter().copied().map(RecordKey::deduplicated).collect();
            }
            Self::RetainedDeletion { number, filter } => {
                bytes.puts.push(RecordKey::retained_deletion(*number));
                put_str(&mut bytes.body, filter.as_str());
            }
            Self::RetainedObsolete(obsolete) => bytes.deletes = obsolete_keys(obsolete).collect(),
            Self::Redelivery { key, sequence, state } => {
                bytes.puts.push(RecordKey::redelivery(*key, *sequence));
                put_redelivery(&mut bytes.body, state);
            }
            Self::RedeliveryRemoved { key, sequence } => bytes.deletes.push(RecordKey::redelivery(*key, *sequence)),
            Self::DeadLetterKept { letter, sequence, at, change } => {
                letter.put(*sequence, *at, &mut bytes);
                change.iter().for_each(|change| change.put(&mut bytes));
            }
            Self::DeadLettersRemoved { numbers } => {
                bytes.deletes = numbers.iter().copied().map(RecordKey::dead_letter).collect();
            }
            Self::GroupStored { group, .. } => group.put(&mut bytes),
            Self::GroupRemoved { stream, number } => bytes.deletes.push(RecordKey::stream_group(*stream, *number)),
            Self::DelayedRemoved { numbers } => bytes.deletes.extend(numbers.iter().copied().map(RecordKey::delayed)),
            Self::ReceivedReleased { key, packet_id, .. } => {
                bytes.deletes.push(RecordKey::of(*key, RecordKey::RECEIVED, u64::from(packet_id.number())));
            }
            Self::OutboundReleased { key, sequence, .. } => {
                bytes.deletes.push(RecordKey::queued(*key, *sequence));
                bytes.puts.push(RecordKey::of(*key, RecordKey::RELEASED, *sequence));
            }
            Self::Done { key, sequence } => {
                bytes.deletes.push(RecordKey::queued(*key, *sequence));
                bytes.deletes.push(RecordKey::of(*key, RecordKey::RELEASED, *sequence));
            }
            Self::CopyLeft { key, sequence, change } => {
                bytes = Self::Done { key: *key, sequence: *sequence }.to_bytes();
                change.put_alone(&mut bytes);
            }
            Self::Fence => {}
            Self::ReceiptRemoved { number } => bytes.ends = Some(group_of(*number)),
        }
        bytes
    }

    fn put_detached(&self, bytes: &mut RecordBytes) {
        let Self::SessionDetached { key, session_expiry_interval, at, will, sent_until } = self else { return };
        bytes.puts.push(RecordKey::of(*key, RecordKey::DETACHED, 0));
        bytes.body.extend(session_expiry_interval.to_le_bytes());
        bytes.body.extend(at.0.to_le_bytes());
        if *will == WillState::Gone {
            bytes.deletes.push(RecordKey::of(*key, RecordKey::WILL, 0));
        }
        bytes.body.extend(sent_until.to_le_bytes());
    }

    fn put_opened(&self, bytes: &mut RecordBytes) {
        let Self::SessionOpened { key, client_id, owner, session_expiry_interval, will } = self else { return };
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
        if let Some(mount_point) = owner.mount_point() {
            put_str(body, mount_point.as_str());
        }
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
            streams,
            instead_of,
            delayed,
            receipt,
            ..
        } = self
        else {
            return;
        };
        bytes.streams.clone_from(streams);
        bytes.ends = instead_of.as_ref().and_then(InsteadOf::group);
        bytes.deletes.extend(instead_of.iter().flat_map(InsteadOf::keys));
        if let Some((key, packet_id)) = publisher {
            bytes.puts.push(RecordKey::of(*key, RecordKey::RECEIVED, u64::from(packet_id.number())));
        }
        let mut retainer = None;
        match retained {
            RetainedChange::None => {}
            RetainedChange::Set { number, gone, publisher, owner } => {
                if let Some(owner) = owner {
                    bytes.parts.skip(bytes.puts.len());
                    bytes.parts.push_bytes(&owner_part(owner));
                }
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
        put_length(body, 0); // the receivers, which are parts since version 2
        if !receivers.is_empty() {
            bytes.parts.skip(bytes.puts.len());
        }
        for receiver in receivers.iter() {
            bytes.puts.push(RecordKey::queued(receiver.to.key, receiver.sequence));
            bytes.parts.push(&receiver.delivery);
        }
        put_option(body, deduplicated.as_deref(), put_deduplicated);
        if let (Some(InsteadOf::Refused(_, _, state)), Some(receiver)) = (instead_of, receivers.first()) {
            let mut part = Vec::new();
            put_redelivery(&mut part, state);
            bytes.puts.push(RecordKey::redelivery(receiver.to.key, receiver.sequence));
            bytes.parts.push_bytes(&part);
        }
        if let Some(delay) = delayed {
            put_delay(delay, bytes);
        }
        receipt.iter().for_each(|receipt| receipt.put(bytes));
    }
}

fn put_delay(delay: &Delay, bytes: &mut RecordBytes) {
    bytes.parts.skip(bytes.puts.len());
    bytes.puts.push(RecordKey::delayed(delay.number));
    bytes.parts.push_bytes(&delay.to_part());
}

impl InsteadOf {
    /// The group of the place where the message was, if it had one of its own.
    const fn group(&self) -> Option<u64> {
        match *self {
            Self::Receipt(number) => Some(group_of(number)),
            Self::Will(_) | Self::Queued(..) | Self::Delayed(_) | Self::Refused(..) | Self::DeadLetter(_) => None,
        }
    }

    /// The keys of the place where the message was.
    fn keys(&self) -> SmallVec<[RecordKey; 2]> {
        let (first, second) = match *self {
            Self::Will(key) => (RecordKey::of(key, RecordKey::WILL, 0), None),
            Self::Queued(key, sequence) => (RecordKey::queued(key, sequence), None),
            Self::Delayed(number) => (RecordKey::delayed(number), None),
            Self::Refused(key, sequence, _) => {
                (RecordKey::queued(key, sequence), Some(RecordKey::redelivery(key, sequence)))
            }
            Self::DeadLetter(number) => (RecordKey::dead_letter(number), None),
            Self::Receipt(_) => return SmallVec::new(), // its group ends
        };
        [first].into_iter().chain(second).collect()
    }
}

fn obsolete_keys(ObsoleteRetained { messages, deletions }: &ObsoleteRetained) -> impl Iterator<Item = RecordKey> {
    let messages = messages.iter().copied().map(RecordKey::retained);
    messages.chain(deletions.iter().copied().map(RecordKey::retained_deletion))
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
        let mount_point = if body.0.is_empty() { None } else { Some(MountPoint::new(body.str()?).ok()?) };
        let owner = Owner::from_stored(user, provider, mount_point);
        Some(Self { client_id, owner, session_expiry_interval, will })
    }
}

impl StoredDetached {
    pub(in crate::broker) fn read(body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let (session_expiry_interval, at) = (body.u32()?, Timestamp(body.u64()?));
        Some(Self { session_expiry_interval, at, sent_until: body.u64()? })
    }
}

/// The body of [`Record::RetainedDeletion`].
pub(in crate::broker) fn read_filter(body: &[u8]) -> Option<TopicFilter> {
    TopicFilter::new(Body(body).str()?.into()).ok()
}

impl StoredMessage {
    pub(in crate::broker) fn read(body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let StoredHead { qos, expires_at, .. } = StoredHead::read(body)?;
        let retainer = body.option(|body| body.str().map(ClientId::from))?;
        let message = Arc::new(body.message(qos)?);
        skip_receivers(body)?;
        let deduplicated = body.option(Body::deduplicated)?;
        Some(Self { message, qos, expires_at, retainer, deduplicated })
    }
}

/// Skips the receivers in the body of [`Record::Accepted`], which only format version 1 has.
fn skip_receivers(body: &mut Body<'_>) -> Option<()> {
    for _ in 0..body.length()? {
        body.take(RECEIVER_BYTES)?;
        let ids = body.length()?;
        body.take(ids.checked_mul(size_of::<u32>())?)?;
        body.option(Body::bytes)?;
    }
    Some(())
}

/// Decodes a message from the body of [`Record::Accepted`], as a Session with this part gets it. Its content is copied into `buffer`, or is a
/// slice of `bytes`, if these are the bytes of the body.
pub(in crate::broker) fn read_delivery(
    body: &[u8],
    StoredGrant { qos, retain, matched }: StoredGrant,
    bytes: Option<&Bytes>,
    buffer: &mut BytesMut,
) -> Option<Delivery> {
    let body = &mut Body(body);
    let StoredHead { qos: published, expires_at, .. } = StoredHead::read(body)?;
    body.option(Body::bytes)?;
    let message = match bytes {
        Some(bytes) => body.message_of(published, bytes)?,
        None => body.message_in(published, buffer)?,
    };
    let (message, expires_at) = (Arc::new(message), expires_at.unwrap_or(Timestamp::NEVER));
    Some(Delivery { message, qos, retain, expires_at, matched, place: DeliveryPlace::Record })
}

/// Decodes the queue entries of messages from the body of [`Record::Accepted`] and the parts of the Sessions.
pub(in crate::broker) fn read_queued<'a>(
    body: &[u8],
    queued: impl Iterator<Item = (RecordKey, &'a [u8])>,
    mut found: impl FnMut(RecordKey, RestoredMessage),
) -> Option<()> {
    let rest = &mut Body(body);
    let StoredHead { expires_at, .. } = StoredHead::read(rest)?;
    rest.option(Body::bytes)?;
    let content = u32::try_from(rest.message_length()?).ok()?;
    for (key, part) in queued {
        let grant = StoredGrant::read(part)?;
        let is_shared = grant.matched.as_ref().is_some_and(|matched| matched.own_share().is_some());
        let message = if is_shared {
            // It is in memory, because it moves to another member when this Session ends.
            RestoredMessage::Shared(Box::new(read_delivery(body, grant, None, &mut BytesMut::new())?))
        } else {
            let expires_at = expires_at.unwrap_or(Timestamp::NEVER);
            RestoredMessage::Queued { qos: grant.qos, expires_at, content }
        };
        found(key, message);
    }
    Some(())
}

/// The Packet Identifier in a key of kind [`RecordKey::RECEIVED`].
pub(in crate::broker) fn received_packet_id(id: u64) -> Option<PacketId> {
    u16::try_from(id).ok().and_then(PacketId::new)
}

/// Session, sequence, QoS and RETAIN of a receiver in the body of format version 1.
const RECEIVER_BYTES: usize = 8 + 8 + 1 + 1;

/// Bytes to reserve for the body of an accepted message with one receiver, in addition to its content.
const ACCEPTED_BYTES: usize = 64;
