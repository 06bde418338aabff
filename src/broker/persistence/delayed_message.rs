//! Reads and writes delayed messages: the body of the record that accepted them, and the part of their key.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::broker::persistence::body::{Body, put_owner, put_str};
use crate::broker::persistence::delay::Delay;
use crate::broker::persistence::head::StoredHead;
use crate::codec::{ClientId, Message, Qos};
use crate::routing::SessionKey;
use crate::session;
use crate::timestamp::Timestamp;

/// A delayed message as it is in the store.
#[derive(Debug)]
pub(in crate::broker) struct DelayedMessage {
    pub(in crate::broker) message: Arc<Message>,
    pub(in crate::broker) qos: Qos,
    pub(in crate::broker) expires_at: Option<Timestamp>,
    pub(in crate::broker) delay: Delay,
}

impl Delay {
    pub(in crate::broker) fn to_part(&self) -> Vec<u8> {
        let Self { number: _, due, at, retain, session, client_id, owner } = self;
        let mut part = Vec::with_capacity(PART_BYTES + client_id.as_str().len());
        for number in [due.0, at.0, session.0] {
            part.extend(number.to_le_bytes());
        }
        part.push(u8::from(*retain));
        put_str(&mut part, client_id.as_str());
        put_owner(&mut part, owner);
        part
    }

    /// Reads the part of the key with this number.
    pub(in crate::broker) fn read(number: u64, part: &[u8]) -> Option<Self> {
        let body = &mut Body(part);
        let (due, at) = (Timestamp(body.u64()?), Timestamp(body.u64()?));
        let (session, retain) = (SessionKey(body.u64()?), body.bool()?);
        let client_id = ClientId::from(body.str()?);
        let owner = body.owner()?;
        body.0.is_empty().then_some(Self { number, due, at, retain, session, client_id, owner })
    }
}

impl DelayedMessage {
    /// Decodes it from the body of [`Record::Accepted`](crate::broker::Record::Accepted) and the part of its key. `bytes` are the bytes of
    /// the body, if its payload may stay a slice of them.
    pub(in crate::broker) fn read(number: u64, body: &[u8], part: &[u8], bytes: Option<&Bytes>) -> Option<Self> {
        let delay = Delay::read(number, part)?;
        let body = &mut Body(body);
        let StoredHead { qos, expires_at, .. } = StoredHead::read(body)?;
        body.option(Body::bytes)?;
        let message = match bytes {
            Some(bytes) => body.message_of(qos, bytes)?,
            None => body.message_in(qos, &mut BytesMut::new())?,
        };
        Some(Self { message: Arc::new(message), qos, expires_at, delay })
    }
}

/// The length and the expiry of the content in the body of [`Record::Accepted`](crate::broker::Record::Accepted).
fn content_of(body: &[u8]) -> Option<(usize, Option<Timestamp>)> {
    let body = &mut Body(body);
    let StoredHead { expires_at, .. } = StoredHead::read(body)?;
    body.option(Body::bytes)?;
    Some((body.message_length()?, expires_at))
}

/// A delayed message of the previous run. Its content stays in the store.
#[derive(Debug, Clone)]
pub struct RecoveredDelayed {
    /// Its number.
    pub number: u64,
    /// When it is published.
    pub due: Timestamp,
    /// When it was accepted.
    pub at: Timestamp,
    /// The Session of its originator, which may have ended.
    pub session: SessionKey,
    /// The name under which it is counted.
    pub counted_for: Arc<str>,
    /// What it counts for.
    pub bytes: u32,
    /// Whether it has a Message Expiry Interval.
    pub expires: bool,
    /// Whether it has expired by [`Recovered::expire_messages`](crate::broker::Recovered::expire_messages).
    pub is_expired: bool,
}

impl RecoveredDelayed {
    /// Decodes what is needed at the start. `originators` has the name of each originator once.
    pub(in crate::broker) fn read(
        number: u64,
        body: &[u8],
        part: &[u8],
        originators: &mut BTreeSet<Arc<str>>,
    ) -> Option<Self> {
        let delay = Delay::read(number, part)?;
        let (content, expires_at) = content_of(body)?;
        let bytes = u32::try_from(session::queued_bytes(content)).ok()?;
        let name: Arc<str> = delay.counted_for().into();
        let counted_for = originators.get(&name).cloned().unwrap_or_else(|| {
            originators.insert(Arc::clone(&name));
            name
        });
        let Delay { due, at, session, .. } = delay;
        let expires = expires_at.is_some();
        Some(Self { number, due, at, session, counted_for, bytes, expires, is_expired: false })
    }
}

/// The bytes of a part without its texts.
const PART_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::owner::Owner;
    use crate::topic::MountPoint;

    #[test]
    fn the_layout_of_a_part_is_that_of_the_format() {
        let delay = Delay {
            number: 7,
            due: Timestamp(0x0102),
            at: Timestamp(0x03),
            retain: true,
            session: SessionKey(4),
            client_id: "c".into(),
            owner: Owner::Anonymous,
        };
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1];
        expected.extend_from_slice(b"\x01\0\0\0c\0\x01\x09\0\0\0anonymous\0");
        assert_eq!(delay.to_part(), expected);
    }

    #[test]
    fn a_part_is_read_as_it_was_written_and_never_if_it_is_cut() {
        let below = Owner::Anonymous.below(MountPoint::new("a/").ok().as_ref());
        for owner in [Owner::Anonymous, Owner::named("alice".into()), below] {
            let delay = Delay {
                number: 7,
                due: Timestamp(9_000),
                at: Timestamp(4_000),
                retain: true,
                session: SessionKey(3),
                client_id: "c".into(),
                owner,
            };
            let part = delay.to_part();
            assert_eq!(Delay::read(7, &part), Some(delay));
            for length in 0..part.len() {
                assert_eq!(Delay::read(7, &part[..length]), None, "{length}");
            }
        }
    }
}
