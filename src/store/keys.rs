//! Keys and numbers in the bytes of an entry.

use smallvec::SmallVec;

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

pub(super) type Keys = SmallVec<[Key; 4]>;

/// The bytes of an entry behind its body.
pub(super) type Tail = SmallVec<[u8; 128]>;

/// Encodes keys as runs of consecutive ids with the same part.
pub(super) fn encode_keys(keys: &[Key], part_numbers: &[u32], to: &mut Tail) {
    let number_of = |put: usize| part_numbers.get(put).copied();
    let follows = |put: usize, (a, b): (&Key, &Key)| {
        a.group == b.group
            && a.kind == b.kind
            && a.id.checked_add(1) == Some(b.id)
            && number_of(put) == number_of(put + 1)
    };
    let starts = || {
        let pairs = keys.iter().zip(keys.iter().skip(1)).enumerate();
        let later = pairs.filter(|(put, pair)| !follows(*put, *pair)).map(|(put, _)| put + 1);
        (!keys.is_empty()).then_some(0).into_iter().chain(later)
    };
    encode_number(starts().count() as u64, to);
    for (start, end) in starts().zip(starts().skip(1).chain([keys.len()])) {
        if let Some(first) = keys.get(start) {
            to.push(first.kind);
            encode_number(first.group, to);
            encode_number(first.id, to);
            encode_number((end - start) as u64, to);
            if let Some(number) = number_of(start) {
                encode_number(u64::from(number), to);
            }
        }
    }
}

/// Decodes runs of keys. `after_run` decodes what follows a run with so many keys.
pub(super) fn decode_keys<'a>(
    bytes: &mut &'a [u8],
    mut after_run: impl FnMut(&mut &'a [u8], usize) -> Option<()>,
) -> Option<Keys> {
    let mut keys = Keys::new();
    for _ in 0..decode_number(bytes)? {
        let (&kind, rest) = bytes.split_first()?;
        *bytes = rest;
        let group = decode_number(bytes)?;
        let first = decode_number(bytes)?;
        let count = decode_number(bytes)?;
        let room = ENTRY_KEYS_MAX.checked_sub(keys.len())?;
        let end = first.checked_add(count.checked_sub(1)?)?;
        let count = usize::try_from(count).ok().filter(|count| *count <= room)?;
        keys.extend((first..=end).map(|id| Key { group, kind, id }));
        after_run(bytes, count)?;
    }
    Some(keys)
}

/// Decodes the group that ends.
pub(super) fn decode_ends(bytes: &mut &[u8]) -> Option<Option<u64>> {
    match decode_number(bytes)? {
        0 => Some(None),
        1 => Some(Some(decode_number(bytes)?)),
        _ => None,
    }
}

pub(super) fn encode_number(mut number: u64, to: &mut Tail) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7F;
        number >>= 7;
        if number == 0 {
            return to.push(low);
        }
        to.push(low | 0x80);
    }
}

pub(super) fn decode_number(bytes: &mut &[u8]) -> Option<u64> {
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

/// One message to every session of a very large broker. It bounds the memory that a short run expands to.
pub(super) const ENTRY_KEYS_MAX: usize = 1 << 24;
