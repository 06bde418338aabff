//! Records of format version 1: the body of an accepted message had the parts of all its receivers.

use crate::broker::persistence::body::Body;
use crate::broker::persistence::head::StoredHead;
use crate::broker::persistence::record_key::RecordKey;

/// Divides the body of a record of version 1 into the body and the parts of these puts, in their order; `None` if it needs no division, or
/// lacks one of them.
pub fn upgrade_record(body: &[u8], puts: &[RecordKey]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let has_receivers = puts.iter().any(|key| key.kind == RecordKey::QUEUED);
    if !has_receivers {
        return None;
    }
    let rest = &mut Body(body);
    StoredHead::read(rest)?;
    rest.option(Body::bytes)?;
    rest.message_length()?;
    let common = body.len() - rest.0.len();
    let mut parts = Vec::with_capacity(puts.len());
    let mut wanted = puts.iter().peekable();
    for _ in 0..rest.length()? {
        let (session, sequence) = (rest.u64()?, rest.u64()?);
        let part = read_part(rest)?;
        while wanted.peek().is_some_and(|key| key.kind != RecordKey::QUEUED) {
            wanted.next();
            parts.push(Vec::new());
        }
        if wanted.peek().is_some_and(|key| (key.group, key.id) == (session, sequence)) {
            wanted.next();
            parts.push(part);
        }
    }
    if wanted.any(|key| key.kind == RecordKey::QUEUED) {
        return None;
    }
    let mut upgraded = body.get(..common)?.to_vec();
    upgraded.extend(0_u32.to_le_bytes());
    upgraded.extend_from_slice(rest.0);
    Some((upgraded, parts))
}

/// Reads what version 1 stored for a receiver, as the part of version 2.
fn read_part(body: &mut Body<'_>) -> Option<Vec<u8>> {
    let (qos, retain) = (body.u8()?, body.bool()?);
    let start = body.0;
    let ids = body.length()?;
    body.take(ids.checked_mul(size_of::<u32>())?)?;
    let is_shared = body.option(Body::bytes)?.is_some();
    let matched = start.get(..start.len() - body.0.len())?;
    let flags = qos | if retain { 4 } else { 0 };
    let has_matched = ids > 0 || is_shared;
    Some(if has_matched { [&[flags | 8], matched].concat() } else { vec![flags] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::persistence::body::{put_bytes, put_length, put_option, put_str};

    fn queued(group: u64, id: u64) -> RecordKey {
        RecordKey { group, kind: RecordKey::QUEUED, id }
    }

    /// Topic `t`, payload `x`, without expiry, with these receivers and what follows them.
    fn body(receivers: &[&[u8]], rest: &[u8]) -> Vec<u8> {
        let mut body = vec![1, 0, 0];
        put_str(&mut body, "t");
        put_bytes(&mut body, b"");
        put_bytes(&mut body, b"x");
        body.push(0);
        put_length(&mut body, receivers.len());
        body.extend(receivers.concat());
        body.extend_from_slice(rest);
        body
    }

    fn receiver(session: u64, sequence: u64, (qos, retain): (u8, u8), ids: &[u32], share: Option<&str>) -> Vec<u8> {
        let mut bytes = [session.to_le_bytes(), sequence.to_le_bytes()].concat();
        bytes.extend([qos, retain]);
        put_length(&mut bytes, ids.len());
        ids.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
        put_option(&mut bytes, share, put_str);
        bytes
    }

    #[test]
    fn receivers_are_divided_from_the_message() {
        let first = receiver(1, 7, (1, 0), &[], None);
        let second = receiver(2, 9, (2, 1), &[5, 6], Some("$share/g/t"));
        let body_of_both = body(&[&first, &second], &[0]);
        let received = RecordKey { group: 3, kind: RecordKey::RECEIVED, id: 1 };
        let (upgraded, parts) = upgrade_record(&body_of_both, &[received, queued(1, 7), queued(2, 9)]).unwrap();
        assert_eq!(upgraded, body(&[], &[0]));
        assert_eq!((&parts[0][..], &parts[1][..]), (&[][..], &[1][..]));
        assert_eq!(parts[2][..9], [2 | 4 | 8, 2, 0, 0, 0, 5, 0, 0, 0]);
        assert!(parts[2].ends_with(b"$share/g/t"));
        let (upgraded, parts) = upgrade_record(&body_of_both, &[queued(2, 9)]).unwrap();
        assert_eq!((upgraded, parts.len()), (body(&[], &[0]), 1));
        assert_eq!(upgrade_record(&body_of_both, &[queued(2, 8)]), None);
        assert_eq!(upgrade_record(&body_of_both, &[received]), None);
    }

    proptest! {
        #[test]
        fn any_body_is_divided_or_not(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = upgrade_record(&body, &[queued(1, 1)]);
        }
    }
}
