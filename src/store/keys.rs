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

/// The kind of the key with the definition of the stream of its group, whose id is 0. It is in the log before the first message of the stream.
pub(super) const DEFINED: u8 = 15;

pub(super) type Keys = SmallVec<[Key; 4]>;

/// The bytes of an entry behind its body.
pub(super) type Tail = SmallVec<[u8; 128]>;

/// Encodes keys as runs of consecutive ids with the same part.
pub(super) fn encode_keys(keys: &[Key], part_numbers: &[u32], to: &mut Tail) {
    encode_runs(keys, part_numbers, 0, to);
}

/// The same, if the caller encodes `more` runs behind them.
pub(super) fn encode_runs(keys: &[Key], part_numbers: &[u32], more: usize, to: &mut Tail) {
    if let [only] = keys {
        encode_number(1 + more as u64, to);
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
pub(super) fn set_number(number: u64, place: usize, to: &mut Tail) {
    let [bytes @ .., _] = spread(number, NUMBER_BYTES);
    if let Some(to) = to.get_mut(place..place + NUMBER_BYTES) {
        to.copy_from_slice(&bytes);
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
        match count {
            1 => keys.push(Key { group, kind, id: first }),
            _ => keys.extend((first..=end).map(|id| Key { group, kind, id })),
        }
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

/// Encodes a number in groups of seven bits, the lowest first; all bytes but the last one have their highest bit set.
#[inline(always)]
pub(super) fn encode_number(number: u64, to: &mut Tail) {
    if number < 0x80 { to.push(number.to_le_bytes()[0]) } else { encode_longer(number, to) }
}

fn encode_longer(mut number: u64, to: &mut Tail) {
    if number >= 1 << 28 {
        return encode_long(number, to);
    }
    while number >= 0x80 {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

/// The same for a number of at least two bytes, with the same work for any length.
fn encode_long(number: u64, to: &mut Tail) {
    let length = (u64::BITS - number.leading_zeros()).div_ceil(7) as usize;
    let end = to.len() + length;
    // A copy of a fixed length takes a few instructions.
    to.extend_from_slice(&spread(number, length));
    to.truncate(end);
}

/// The bytes of a number that is encoded in `length` bytes; what is behind these has no meaning.
fn spread(number: u64, length: usize) -> [u8; LONGEST_NUMBER_BYTES] {
    let low = number & LOW_56;
    let low = (low & 0x0FFF_FFFF) | (low & 0x00FF_FFFF_F000_0000) << 4;
    let low = (low & 0x0000_3FFF_0000_3FFF) | (low & 0x0FFF_C000_0FFF_C000) << 2;
    let low = (low & 0x007F_007F_007F_007F) | (low & 0x3F80_3F80_3F80_3F80) << 1;
    let followed = if length > 8 { HIGHEST_BITS } else { HIGHEST_BITS & ((1 << (8 * (length - 1))) - 1) };
    let [a, b, c, d, e, f, g, h] = (low | followed).to_le_bytes();
    let [ninth, tenth, ..] = ((number >> 56) & 0x7F | u64::from(length > 9) << 7 | (number >> 63) << 8).to_le_bytes();
    [a, b, c, d, e, f, g, h, ninth, tenth]
}

#[inline(always)]
pub(super) fn decode_number(bytes: &mut &[u8]) -> Option<u64> {
    if let [byte @ ..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Some(u64::from(*byte));
    }
    decode_longer(bytes)
}

fn decode_longer(bytes: &mut &[u8]) -> Option<u64> {
    match bytes.first_chunk() {
        Some(word) => decode_long(u64::from_le_bytes(*word), bytes),
        None => decode_bytewise(bytes),
    }
}

/// The same for bytes that begin with these eight.
fn decode_long(word: u64, bytes: &mut &[u8]) -> Option<u64> {
    let ends = !word & HIGHEST_BITS;
    if ends != 0 {
        let length = ends.trailing_zeros() / 8 + 1;
        *bytes = bytes.get(length as usize..)?;
        return Some(gathered(word & (u64::MAX >> (u64::BITS - 8 * length))));
    }
    let rest = bytes.get(8..)?;
    let (number, rest) = match *rest {
        [ninth @ ..0x80, ref rest @ ..] => (u64::from(ninth) << 56, rest),
        [ninth, tenth @ ..2, ref rest @ ..] => (u64::from(ninth & 0x7F) << 56 | u64::from(tenth) << 63, rest),
        _ => return None,
    };
    *bytes = rest;
    Some(number | gathered(word))
}

/// The number of the lowest seven bits of each byte.
const fn gathered(word: u64) -> u64 {
    let word = (word & 0x007F_007F_007F_007F) | (word & 0x7F00_7F00_7F00_7F00) >> 1;
    let word = (word & 0x0000_3FFF_0000_3FFF) | (word & 0x3FFF_0000_3FFF_0000) >> 2;
    (word & 0x0FFF_FFFF) | (word & 0x0FFF_FFFF_0000_0000) >> 4
}

/// The same at the end of an entry.
fn decode_bytewise(bytes: &mut &[u8]) -> Option<u64> {
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

const LOW_56: u64 = (1 << 56) - 1;
const HIGHEST_BITS: u64 = 0x8080_8080_8080_8080;

/// Enough for every number.
const LONGEST_NUMBER_BYTES: usize = 10;

/// Enough for every number below 2^63.
const NUMBER_BYTES: usize = 9;

/// One message to every session of a very large broker. It bounds the memory that a short run expands to.
pub(super) const ENTRY_KEYS_MAX: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded_bytewise(mut number: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() + 1 < length || number >= 0x80 {
            bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        bytes.push(number.to_le_bytes()[0]);
        bytes
    }

    fn check(number: u64) {
        let mut encoded = Tail::from_slice(b"before");
        encode_number(number, &mut encoded);
        assert_eq!(encoded[6..], encoded_bytewise(number, 1), "{number:#x}");
        if number < 1 << 63 {
            let mut fixed = Tail::from_slice(&[9; 2 + NUMBER_BYTES + 2]);
            set_number(number, 2, &mut fixed);
            let expected = [&[9; 2][..], &encoded_bytewise(number, NUMBER_BYTES), &[9; 2]].concat();
            assert_eq!(fixed[..], expected, "{number:#x}");
        }
    }

    #[test]
    fn a_number_is_encoded_in_groups_of_seven_bits() {
        for shift in 0..64 {
            for number in [1 << shift, (1 << shift) - 1, u64::MAX >> shift, (1 << shift) | 1] {
                check(number);
            }
        }
    }

    proptest! {
        #[test]
        fn random_numbers_are_encoded_in_groups_of_seven_bits(number: u64, shift in 0..64) {
            check(number >> shift);
        }

        #[test]
        fn any_bytes_are_decoded_as_byte_by_byte(
            mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..0x82_u8, 0..3_u8], 0..14),
            long in 0..12_usize,
        ) {
            bytes.iter_mut().take(long).for_each(|byte| *byte |= 0x80);
            let (mut whole, mut bytewise) = (&bytes[..], &bytes[..]);
            let number = decode_number(&mut whole);
            prop_assert_eq!(number, decode_bytewise(&mut bytewise));
            if number.is_some() {
                prop_assert_eq!(whole, bytewise);
            }
        }
    }
}
