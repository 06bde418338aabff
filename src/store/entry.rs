use smallvec::SmallVec;

use super::level::Level;

/// Identifies the body of a live entry.
///
/// The store doesn't interpret the parts, except that a whole group can be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The keys of a group can be deleted together.
    pub group: u64,
    /// The kind of the key.
    pub kind: u8,
    /// The number of the key. Ascending numbers need the least memory.
    pub id: u64,
}

/// An atomic change: after a crash, all of it is recovered or nothing.
///
/// It is applied in this order: `ends`, `deletes`, `puts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The body of all puts.
    pub body: &'a [u8],
    /// The keys that get this body. The entry is live while one of them has it.
    pub puts: &'a [Key],
    /// The keys that are deleted (tombstones).
    pub deletes: &'a [Key],
    /// The group whose keys are all deleted.
    pub ends: Option<u64>,
    /// When the entry counts as stable, limited by the store's level.
    pub level: Level,
    /// Whether it may use the reserve for a full disk.
    pub room: Room,
}

/// The space that an entry may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Free disk space only. On a full disk, the entry is refused if it has puts.
    Ordinary,
    /// The reserve too, because the entry completes a stored operation, so that the store can drain.
    Reserve,
}

/// Why an entry was refused. No part of it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The disk is full, and the entry may not use the reserve.
    #[error("the disk is full")]
    Full,
    /// A write or a sync failed before, so the store accepts no entries.
    #[error("the store has failed and accepts no entries")]
    Failed,
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
    /// The entry exceeds the limit of bytes or keys.
    #[error("the entry is larger than {ENTRY_BYTES_MAX} bytes or {ENTRY_KEYS_MAX} keys")]
    TooLarge,
}

/// A decoded entry of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded<'a> {
    /// Its length in bytes, including the head.
    pub(super) length: usize,
    pub(super) body: &'a [u8],
    pub(super) puts: Keys,
    pub(super) deletes: Keys,
    pub(super) ends: Option<u64>,
}

pub(super) type Keys = SmallVec<[Key; 4]>;

/// The bytes of an entry before its body.
pub(super) type Head = SmallVec<[u8; 128]>;

/// Encodes the bytes before the body, with the checksum of the whole entry.
pub(super) fn encode_head(entry: &Entry<'_>) -> Result<Head, Refused> {
    let keys = entry.puts.len().saturating_add(entry.deletes.len());
    if keys > ENTRY_KEYS_MAX || entry.body.len() > ENTRY_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    let mut head = Head::from_slice(&[0; PREFIX_BYTES]);
    encode_keys(entry.puts, &mut head);
    encode_keys(entry.deletes, &mut head);
    encode_number(u64::from(entry.ends.is_some()), &mut head);
    if let Some(group) = entry.ends {
        encode_number(group, &mut head);
    }
    let length = head.len() + entry.body.len();
    let (Ok(length), Ok(body)) = (u32::try_from(length), u32::try_from(entry.body.len())) else {
        return Err(Refused::TooLarge);
    };
    for (to, from) in head.iter_mut().skip(4).zip(length.to_le_bytes().into_iter().chain(body.to_le_bytes())) {
        *to = from;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(head.get(4..).unwrap_or_default()), entry.body);
    for (to, from) in head.iter_mut().zip(crc.to_le_bytes()) {
        *to = from;
    }
    Ok(head)
}

/// Decodes the entry at the start of `bytes`; `None` if there is none. Does not verify the checksum.
pub(super) fn decode(bytes: &[u8]) -> Option<Decoded<'_>> {
    let length = length(bytes)?;
    let body = usize::try_from(number_at::<4>(bytes, 8).map(u32::from_le_bytes)?).ok()?;
    let bytes = bytes.get(..length)?;
    let (head, body) = bytes.split_at_checked(length.checked_sub(body)?)?;
    let mut head = head.get(PREFIX_BYTES..)?;
    let puts = decode_keys(&mut head)?;
    let deletes = decode_keys(&mut head)?;
    let ends = match decode_number(&mut head)? {
        0 => None,
        1 => Some(decode_number(&mut head)?),
        _ => return None,
    };
    head.is_empty().then_some(Decoded { length, body, puts, deletes, ends })
}

/// The body of a whole entry.
pub(super) fn body(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(number_at::<4>(bytes, 8).map(u32::from_le_bytes)?).ok()?;
    bytes.get(bytes.len().checked_sub(length)?..)
}

/// The length in bytes of the entry at the start of `bytes`.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(number_at::<4>(bytes, 4).map(u32::from_le_bytes)?).ok()
}

/// Whether the checksum of a whole entry is right.
pub(super) fn is_intact(bytes: &[u8]) -> bool {
    let Some(crc) = number_at::<4>(bytes, 0).map(u32::from_le_bytes) else { return false };
    bytes.get(4..).is_some_and(|rest| crc32c::crc32c(rest) == crc)
}

/// The `N` bytes at an offset.
pub(super) fn number_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Encodes keys as runs of consecutive ids.
fn encode_keys(keys: &[Key], to: &mut Head) {
    let runs = || keys.chunk_by(|a, b| a.group == b.group && a.kind == b.kind && a.id.checked_add(1) == Some(b.id));
    encode_number(runs().count() as u64, to);
    for run in runs() {
        if let Some(first) = run.first() {
            to.push(first.kind);
            encode_number(first.group, to);
            encode_number(first.id, to);
            encode_number(run.len() as u64, to);
        }
    }
}

fn decode_keys(bytes: &mut &[u8]) -> Option<Keys> {
    let mut keys = Keys::new();
    for _ in 0..decode_number(bytes)? {
        let (&kind, rest) = bytes.split_first()?;
        *bytes = rest;
        let group = decode_number(bytes)?;
        let first = decode_number(bytes)?;
        let count = decode_number(bytes)?;
        let room = ENTRY_KEYS_MAX.checked_sub(keys.len())?;
        let end = first.checked_add(count.checked_sub(1)?)?;
        if usize::try_from(count).ok()? > room {
            return None;
        }
        keys.extend((first..=end).map(|id| Key { group, kind, id }));
    }
    Some(keys)
}

fn encode_number(mut number: u64, to: &mut Head) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7F;
        number >>= 7;
        if number == 0 {
            return to.push(low);
        }
        to.push(low | 0x80);
    }
}

fn decode_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7F);
        let shifted = low << shift;
        if shifted >> shift != low {
            return None;
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Checksum, length of the entry, length of its body.
const PREFIX_BYTES: usize = 12;

/// Larger than any MQTT packet with its topic and keys; offsets in a segment still fit 32 bits.
const ENTRY_BYTES_MAX: usize = 1 << 29;

/// One message to every session of a very large broker. It bounds the memory that a short run expands to.
const ENTRY_KEYS_MAX: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = Vec<Key>> {
        let key = (0u64..3, 0u8..3, prop_oneof![0u64..20, any::<u64>()]);
        prop::collection::vec(key.prop_map(|(group, kind, id)| Key { group, kind, id }), 0..30)
    }

    proptest! {
        #[test]
        fn an_encoded_entry_decodes_to_the_same(
            body in prop::collection::vec(any::<u8>(), 0..300), puts in keys(), deletes in keys(), ends in any::<Option<u64>>(),
        ) {
            let (level, room) = (Level::PowerLoss, Room::Ordinary);
            let entry = Entry { body: &body, puts: &puts, deletes: &deletes, ends, level, room };
            let mut bytes = encode_head(&entry).unwrap().to_vec();
            bytes.extend_from_slice(&body);
            let length = bytes.len();
            prop_assert!(is_intact(&bytes));
            bytes.extend_from_slice(b"what follows");
            let decoded = decode(&bytes).unwrap();
            prop_assert_eq!(decoded.body, &body[..]);
            prop_assert_eq!(decoded.puts.as_slice(), &puts[..]);
            prop_assert_eq!(decoded.deletes.as_slice(), &deletes[..]);
            prop_assert_eq!((decoded.ends, decoded.length), (ends, length));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
            let mut framed = vec![0, 0, 0, 0, 80, 0, 0, 0, 3, 0, 0, 0];
            framed.extend_from_slice(&bytes);
            framed.resize(80, 0);
            let _ = decode(&framed);
        }
    }

    #[test]
    fn consecutive_keys_cost_as_much_as_one() {
        let many: Vec<_> = (1..=1000).map(|id| Key { group: 7, kind: 2, id }).collect();
        let (level, room) = (Level::PowerLoss, Room::Reserve);
        let entry = |deletes| Entry { body: &[], puts: &[], deletes, ends: None, level, room };
        let one = encode_head(&entry(&many[..1])).unwrap().len();
        assert_eq!(encode_head(&entry(&many)).unwrap().len(), one + 1);
    }

    #[test]
    fn a_run_of_too_many_keys_is_not_an_entry() {
        let mut head = Head::from_slice(&[0; PREFIX_BYTES]);
        encode_number(1, &mut head);
        head.push(1);
        for number in [1, 0, u64::MAX, 0, 0] {
            encode_number(number, &mut head);
        }
        let length = u32::try_from(head.len()).unwrap();
        head[4..8].copy_from_slice(&length.to_le_bytes());
        assert_eq!(decode(&head), None);
    }
}
