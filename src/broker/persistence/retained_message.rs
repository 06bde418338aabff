//! Reads retained messages: the body of the record that accepted them, and the part of their key, which says whose they are.

use std::sync::Arc;

use crate::broker::owner::Owner;
use crate::broker::persistence::body::Body;
use crate::broker::persistence::encode::StoredMessage;
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::streams::number::StreamNumber;
use crate::routing::{Current, RetainedMessage, RetainedUsers, StreamSequences};

/// Decodes a retained message from the body of [`Record::Accepted`](crate::broker::Record::Accepted) and the part of its key, which is empty if an
/// earlier version wrote it, or if the broker or an operator published it. A later version may append to the part. `sequences`: those of the other
/// keys of its entry.
pub(in crate::broker) fn read_retained(
    number: u64,
    body: &[u8],
    part: &[u8],
    sequences: Option<Arc<StreamSequences>>,
    users: &mut RetainedUsers,
) -> Option<RetainedMessage> {
    let StoredMessage { message, qos, expires_at, retainer: publisher, .. } = StoredMessage::read(body)?;
    let owner = if part.is_empty() { Owner::Unknown } else { Body(part).owner()? };
    let (user, right) = owner.as_source();
    let user = user.map(|user| users.intern(user));
    let current = Current::default();
    Some(RetainedMessage { message, qos, expires_at, publisher, user, right, number, sequences, current })
}

/// The sequences in streams that are among the keys of an entry.
pub(in crate::broker) fn sequences(puts: &[RecordKey]) -> Option<Arc<StreamSequences>> {
    let sequence = |key: &RecordKey| Some((StreamNumber::of_group(key.group)?.0, key.id));
    let mut given = puts.iter().filter(|key| key.kind == RecordKey::STREAM_MESSAGE).filter_map(sequence).peekable();
    given.peek()?;
    let sequences = StreamSequences::default();
    sequences.give(given, None);
    sequences.set_final();
    Some(Arc::new(sequences))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::persistence::body::owner_part;
    use crate::topic::MountPoint;

    #[test]
    fn the_layout_of_a_part_is_that_of_the_format() {
        assert_eq!(owner_part(&Owner::Anonymous), b"\0\x01\x09\0\0\0anonymous\0");
        let alice = Owner::named("alice".into()).below(MountPoint::new("m/").ok().as_ref());
        assert_eq!(owner_part(&alice), b"\x01\x05\0\0\0alice\0\x01\x02\0\0\0m/");
    }

    #[test]
    fn a_part_is_read_as_it_was_written_or_with_more_behind_it_and_never_if_it_is_cut() {
        let below = Owner::Anonymous.below(MountPoint::new("a/").ok().as_ref());
        for owner in [Owner::Anonymous, Owner::named("alice".into()), below] {
            let part = owner_part(&owner);
            assert_eq!(Body(&part).owner().as_ref(), Some(&owner));
            assert_eq!(Body(&[&part[..], b"later"].concat()).owner().as_ref(), Some(&owner));
            assert!((0..part.len()).all(|length| Body(&part[..length]).owner().is_none()));
        }
    }
}
