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

/// The kind of a key whose id the store gives: the numbers of its group are consecutive, in the order of the log. What is stored under such a
/// key is copied to the stream of the group.
pub(super) const NUMBERED: u8 = 16;

pub(super) type Keys = SmallVec<[Key; 4]>;

/// The bytes of an entry behind its body.
pub(super) type Tail = SmallVec<[u8; 128]>;

/// Encodes keys as runs of consecutive ids with the same part.
pub(super) fn encode_keys(keys: &[Key], part_numbers: &[u32], to: &mut Tail) {
    encode_runs(keys, part_numbers, 0, to);
}

/// The same, if the caller encodes `more` runs behind them.
pub(super) fn encode_runs(keys: &[Key], part_numbers: &[u32], more: usize, to: &mut Tail) {
    if let ([only], 0) = (keys, more) {
        to.push(1);
        return encode_run(*only, 1, part_numbers.first().copied(), to);
    }
    let mut lengths = SmallVec::<[usize; 8]>::new();
    let mut before: Option<(Key, Option<&u32>)> = None;
    for (put, &key) in keys.iter().enumerate() {
        let number = part_numbers.get(put);
        let follows = before.is_some_and(|(before, part)| before.is_followed_by(key) && part == number);
        match lengths.last_mut().filter(|_| follows) {
            Some(length) => *length += 1,
            None => lengths.push(1),
        }
        before = Some((key, number));
    }
    encode_number((lengths.len() + more) as u64, to);
    let mut start = 0;
    for length in lengths {
        if let Some(first) = keys.get(start) {
            encode_run(*first, length, part_numbers.get(start).copied(), to);
        }
        start += length;
    }
}

fn encode_run(first: Key, length: usize, part_number: Option<u32>, to: &mut Tail) {
    to.push(first.kind);
    encode_number(first.group, to);
    encode_number(first.id, to);
    encode_number(length as u64, to);
    if let Some(number) = part_number {
        encode_number(u64::from(number), to);
    }
}

/// Encodes a run of one key whose id is not known yet. Returns where [`set_number`] writes the id.
pub(super) fn encode_numbered_run(group: u64, part_number: Option<u32>, to: &mut Tail) -> usize {
    to.push(NUMBERED);
    encode_number(group, to);
    let place = to.len();
    to.extend_from_slice(&[0; NUMBER_BYTES]);
    encode_number(1, to);
    if let Some(number) = part_number {
        encode_number(u64::from(number), to);
    }
    place
}

/// Writes a number of a fixed length.
pub(super) fn set_number(mut number: u64, place: usize, to: &mut Tail) {
    let bytes = to.iter_mut().skip(place).take(NUMBER_BYTES).enumerate();
    for (index, byte) in bytes {
        let more = if index + 1 < NUMBER_BYTES { 0x80 } else { 0 };
        *byte = number.to_le_bytes()[0] & 0x7F | more;
        number >>= 7;
    }
}

impl Key {
    fn is_followed_by(self, next: Self) -> bool {
        self.group == next.group && self.kind == next.kind && self.id.checked_add(1) == Some(next.id)
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

#[inline]
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

/// Enough for every number below 2^63.
const NUMBER_BYTES: usize = 9;

/// One message to every session of a very large broker. It bounds the memory that a short run expands to.
pub(super) const ENTRY_KEYS_MAX: usize = 1 << 24;
