//! Reads and writes the records of kept dead letters.

use bytes::{Bytes, BytesMut};

use crate::broker::owner::Owner;
use crate::broker::persistence::body::{Body, put_length, put_message, put_owner, put_str};
use crate::broker::persistence::dead_letter::{DeadLetter, DeadLetterInfo};
use crate::broker::persistence::encode::{RecordBytes, read_delivery};
use crate::broker::persistence::grant::{StoredGrant, grant_of};
use crate::broker::persistence::head::put_head;
use crate::broker::persistence::record_key::RecordKey;
use crate::codec::ClientId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

impl DeadLetter {
    /// Encodes the record that keeps it. `sequence`: of the message in the queue.
    pub(in crate::broker) fn put(&self, sequence: u64, at: Timestamp, bytes: &mut RecordBytes) {
        let Self { number, info, delivery } = self;
        bytes.deletes.push(RecordKey::queued(info.session, sequence));
        bytes.deletes.push(RecordKey::redelivery(info.session, sequence));
        bytes.puts.push(RecordKey::dead_letter(*number));
        let message = &delivery.message;
        let expires_at = Some(delivery.expires_at).filter(|at| *at != Timestamp::NEVER);
        put_head(&mut bytes.body, message.qos, expires_at, at);
        bytes.body.push(0); // it is not retained
        put_message(&mut bytes.body, message);
        put_length(&mut bytes.body, 0);
        bytes.body.push(0); // it is in no deduplication window
        let mut part = Vec::with_capacity(PART_BYTES);
        for number in [info.session.0, info.at.0] {
            part.extend(number.to_le_bytes());
        }
        part.extend(u32::from(info.attempts).to_le_bytes());
        part.push(info.reason_code);
        put_str(&mut part, info.client_id.as_str());
        put_owner(&mut part, &info.owner);
        part.extend(grant_of(delivery));
        bytes.parts.push_bytes(&part);
    }

    /// Decodes it from the body and the part of its key. `bytes` are those of the body, if its payload may stay a slice of them.
    pub(in crate::broker) fn read(number: u64, body: &[u8], part: &[u8], bytes: Option<&Bytes>) -> Option<Self> {
        let (session, at, attempts, reason_code, client_id, owner, grant) = read_part(part)?;
        let delivery = read_delivery(body, grant, bytes, &mut BytesMut::new())?;
        let (topic, size) = (delivery.message.topic.as_str().into(), delivery.queued_bytes());
        let bytes = u32::try_from(size).unwrap_or(u32::MAX);
        let info = DeadLetterInfo { session, client_id, owner, attempts, reason_code, at, topic, bytes };
        Some(Self { number, info, delivery })
    }
}

type Part = (SessionKey, Timestamp, u16, u8, ClientId, Owner, StoredGrant);

fn read_part(part: &[u8]) -> Option<Part> {
    let body = &mut Body(part);
    let (session, at) = (SessionKey(body.u64()?), Timestamp(body.u64()?));
    let (attempts, reason_code) = (u16::try_from(body.u32()?).ok()?, body.u8()?);
    let client_id = ClientId::from(body.str()?);
    let owner = body.owner()?;
    Some((session, at, attempts, reason_code, client_id, owner, StoredGrant::read(body.0)?))
}

/// Capacity for a part in bytes, to allocate it once. A longer part allocates again.
const PART_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::Record;
    use crate::codec::{Message, Qos};
    use crate::session::{Delivery, DeliveryPlace};
    use crate::topic::TopicName;

    #[test]
    fn a_dead_letter_is_read_as_it_was_written_and_never_if_its_part_is_cut() {
        let message = Message::new(TopicName::new("t".into()).unwrap(), "payload");
        let message = Arc::new(Message { qos: Qos::ExactlyOnce, ..message });
        let place = DeliveryPlace::Record;
        let (qos, retain, expires_at, matched) = (Qos::AtLeastOnce, true, Timestamp(9_000), None);
        let delivery = Delivery { message, qos, retain, expires_at, matched, place };
        let info = DeadLetterInfo {
            session: SessionKey(3),
            client_id: "c".into(),
            owner: Owner::named("alice".into()),
            attempts: 5,
            reason_code: 0x80,
            at: Timestamp(4_000),
            topic: "t".into(),
            bytes: u32::try_from(delivery.queued_bytes()).unwrap(),
        };
        let letter = DeadLetter { number: 7, info, delivery };
        let (at, change) = (Timestamp(4_000), None);
        let record = Record::DeadLetterKept { letter: Box::new(letter.clone()), sequence: 2, at, change };
        let bytes = record.to_bytes();
        assert_eq!(bytes.puts[..], [RecordKey::dead_letter(7)]);
        assert_eq!(bytes.deletes[..], [RecordKey::queued(SessionKey(3), 2), RecordKey::redelivery(SessionKey(3), 2)]);
        let parts = bytes.parts.list();
        assert_eq!(DeadLetter::read(7, &bytes.body, parts[0], None), Some(letter));
        for length in 0..parts[0].len() {
            assert_eq!(DeadLetter::read(7, &bytes.body, &parts[0][..length], None), None, "{length}");
        }
    }
}
