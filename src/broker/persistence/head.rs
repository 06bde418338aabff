//! The first fields of the body of an accepted message: its QoS and its times.

use crate::broker::persistence::body::Body;
use crate::codec::Qos;
use crate::timestamp::Timestamp;

/// The first fields of the body of [`Record::Accepted`](crate::broker::Record::Accepted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct StoredHead {
    pub(in crate::broker) qos: Qos,
    pub(in crate::broker) expires_at: Option<Timestamp>,
    /// When a message that expires was accepted; `None` in records of earlier versions.
    pub(in crate::broker) at: Option<Timestamp>,
}

/// Appends the fields. `at` is stored if the message expires.
pub(in crate::broker) fn put_head(body: &mut Vec<u8>, qos: Qos, expires_at: Option<Timestamp>, at: Timestamp) {
    body.push(qos.level());
    match expires_at {
        None => body.push(0),
        Some(expires_at) => {
            body.push(EXPIRES_SINCE);
            body.extend(expires_at.0.to_le_bytes());
            body.extend(at.0.to_le_bytes());
        }
    }
}

/// When the message in the body of [`Record::Accepted`](crate::broker::Record::Accepted) was accepted, if it expires.
pub(in crate::broker) fn accepted_at(body: &[u8]) -> Option<Timestamp> {
    StoredHead::read(&mut Body(body))?.at
}

impl StoredHead {
    pub(in crate::broker) fn read(body: &mut Body<'_>) -> Option<Self> {
        let (qos, expiry) = (Qos::new(body.u8()?)?, body.u8()?);
        let mut time = |is_present| if is_present { body.u64().map(Timestamp).map(Some) } else { Some(None) };
        let expires_at = time(matches!(expiry, EXPIRES | EXPIRES_SINCE))?;
        let at = time(expiry == EXPIRES_SINCE)?;
        (expiry <= EXPIRES_SINCE).then_some(Self { qos, expires_at, at })
    }
}

/// The values of the first byte of the times of a message that expires: with its deadline, and with the time of acceptance too.
const EXPIRES: u8 = 1;
const EXPIRES_SINCE: u8 = 2;
