use std::collections::HashMap;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::keys::{
    ENTRY_KEYS_MAX, Key, Keys, Tail, decode_ends, decode_keys, decode_number, encode_keys, encode_number,
    encode_numbered_run, encode_runs, set_number,
};
use super::level::Level;

/// An atomic change: after a crash, all of it is recovered or nothing.
///
/// It is applied in this order: `ends`, `deletes`, `puts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The body of all puts.
    pub body: &'a [u8],
    /// The keys that get this body. The entry is live while one of them has it.
    pub puts: &'a [Key],
    /// What single puts have in addition to the body, in the order of the puts: a put without an element here, or with an empty one, has
    /// no part. Equal parts are stored once. A key can be read, and is copied to reclaim space, without the parts of the others.
    pub parts: &'a [&'a [u8]],
    /// The keys that are deleted (tombstones).
    pub deletes: &'a [Key],
    /// The group whose keys are all deleted.
    pub ends: Option<u64>,
    /// When the entry counts as stable, limited by the store's level.
    pub level: Level,
    /// Whether it may use the reserve for a full disk.
    pub room: Room,
}

impl<'a> Entry<'a> {
    fn part(&self, put: usize) -> &'a [u8] {
        self.parts.get(put).copied().unwrap_or_default()
    }
}

/// A further put of an entry, whose id the store gives when it appends the entry: the next one of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// The group. An entry has at most one such put in each group.
    pub group: u64,
    /// What the put has in addition to the body.
    pub part: &'a [u8],
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
    /// There is no stream of a group in which it needs a number.
    #[error("there is no such stream")]
    NoStream,
}

/// A decoded entry of the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded<'a> {
    /// Its length in bytes, including the head.
    pub(super) length: usize,
    pub(super) body: &'a [u8],
    pub(super) puts: Keys,
    /// The number of each put's part, counted from 1; 0: it has none. Empty if no put has one.
    pub(super) part_numbers: PartNumbers,
    pub(super) parts: SmallVec<[Part<'a>; 1]>,
    pub(super) deletes: Keys,
    pub(super) ends: Option<u64>,
}

/// A part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// Its distance from the start of the entry in bytes.
    pub(super) distance: u32,
    pub(super) value: &'a [u8],
}

type PartNumbers = SmallVec<[u32; 4]>;

impl<'a> Decoded<'a> {
    /// The distance of a put's place from the start of the entry: that of its part; without a part, 0.
    pub(super) fn distance(&self, put: usize) -> u32 {
        self.part_of(put).map_or(0, |part| part.distance)
    }

    /// The value of a put's part; empty if it has none.
    pub(super) fn part(&self, put: usize) -> &'a [u8] {
        self.part_of(put).map_or(&[], |part| part.value)
    }

    fn part_of(&self, put: usize) -> Option<&Part<'a>> {
        let number = self.part_numbers.get(put).and_then(|number| usize::try_from(*number).ok())?;
        self.parts.get(number.checked_sub(1)?)
    }
}

/// The bytes of an entry before and behind its body.
pub(super) struct Encoded {
    pub(super) front: [u8; FRONT_BYTES],
    pub(super) tail: Tail,
    /// Where in the tail the ids of the numbered puts are.
    numbers: SmallVec<[usize; 2]>,
}

impl Encoded {
    /// The length of the entry in bytes, with its body.
    pub(super) fn length(&self, body: &[u8]) -> usize {
        self.front.len() + body.len() + self.tail.len()
    }

    /// Sets the ids of the numbered puts, in their order. Neither the length of the entry nor a checksum depends on them.
    pub(super) fn set_numbers(&mut self, ids: &[u64]) {
        for (place, id) in self.numbers.iter().zip(ids) {
            set_number(*id, *place, &mut self.tail);
        }
    }
}

/// Encodes what surrounds the body of an entry, with its checksums.
pub(super) fn encode(entry: &Entry<'_>) -> Result<Encoded, Refused> {
    encode_numbered(entry, &[])
}

/// The same, with puts whose ids are [set](Encoded::set_numbers) later.
pub(super) fn encode_numbered(entry: &Entry<'_>, numbered: &[Numbered<'_>]) -> Result<Encoded, Refused> {
    let keys = entry.puts.len().saturating_add(entry.deletes.len()).saturating_add(numbered.len());
    if keys > ENTRY_KEYS_MAX || entry.body.len() > ENTRY_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    let mut tail = Tail::new();
    let part_numbers = encode_parts(entry, numbered, &mut tail)?;
    encode_runs(entry.puts, &part_numbers, numbered.len(), &mut tail);
    let rest = part_numbers.get(entry.puts.len()..).unwrap_or_default();
    let places = numbered.iter().enumerate();
    let numbers = places.map(|(at, put)| encode_numbered_run(put.group, rest.get(at).copied(), &mut tail)).collect();
    encode_keys(entry.deletes, &[], &mut tail);
    encode_number(u64::from(entry.ends.is_some()), &mut tail);
    if let Some(group) = entry.ends {
        encode_number(group, &mut tail);
    }
    let length = FRONT_BYTES + entry.body.len() + tail.len();
    let (Ok(length), Ok(body)) = (u32::try_from(length), u32::try_from(entry.body.len())) else {
        return Err(Refused::TooLarge);
    };
    let mut front = [0; FRONT_BYTES];
    for (to, from) in front.iter_mut().skip(5).zip(length.to_le_bytes().into_iter().chain(body.to_le_bytes())) {
        *to = from;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(front.get(4..).unwrap_or_default()), entry.body);
    for (to, from) in front.iter_mut().zip(crc.to_le_bytes()) {
        *to = from;
    }
    Ok(Encoded { front, tail, numbers })
}

/// Encodes the different parts, each once. Returns the number of each put's part.
fn encode_parts(entry: &Entry<'_>, numbered: &[Numbered<'_>], to: &mut Tail) -> Result<PartNumbers, Refused> {
    let mut numbers = PartNumbers::new();
    let has_parts = entry.parts.iter().take(entry.puts.len()).any(|part| !part.is_empty());
    if !has_parts && numbered.iter().all(|put| put.part.is_empty()) {
        to.push(0);
        return Ok(numbers);
    }
    // A message of one stream, most often.
    if let [Numbered { part, .. }] = numbered
        && !has_parts
        && part.len() <= ENTRY_BYTES_MAX
    {
        numbers.resize(entry.puts.len(), 0);
        numbers.push(1);
        to.push(1);
        encode_part(part, entry.body.len(), to);
        return Ok(numbers);
    }
    let mut parts = DistinctParts::default();
    let of_puts = (0..entry.puts.len()).map(|put| entry.part(put));
    numbers.extend(of_puts.chain(numbered.iter().map(|put| put.part)).map(|part| parts.number(part)));
    let length = parts.values.iter().fold(0_usize, |length, value| length.saturating_add(value.len()));
    if length > ENTRY_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    encode_number(parts.values.len() as u64, to);
    parts.values.into_iter().for_each(|value| encode_part(value, entry.body.len(), to));
    Ok(numbers)
}

/// Encodes a part of an entry. `body`: the length of the body of the entry in bytes.
fn encode_part(value: &[u8], body: usize, to: &mut Tail) {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    encode_number((FRONT_BYTES + body + start) as u64, to);
    encode_number(value.len() as u64, to);
    to.extend_from_slice(value);
    let crc = crc32c::crc32c(to.get(start + 4..).unwrap_or_default());
    if let Some(place) = to.get_mut(start..).and_then(|part| part.first_chunk_mut()) {
        *place = crc.to_le_bytes();
    }
}

/// Numbers equal parts equally.
#[derive(Default)]
struct DistinctParts<'a> {
    values: SmallVec<[&'a [u8]; 4]>,
    /// The number of each value. It exists only above [`SEARCHED_PARTS_MAX`] values, where a look-up is faster than a search.
    numbers: Option<HashMap<&'a [u8], u32, RandomState>>,
}

impl<'a> DistinctParts<'a> {
    fn number(&mut self, value: &'a [u8]) -> u32 {
        if value.is_empty() {
            return 0;
        }
        let found = match &self.numbers {
            None => (1..).zip(&self.values).find(|(_, known)| **known == value).map(|(number, _)| number),
            Some(numbers) => numbers.get(value).copied(),
        };
        found.unwrap_or_else(|| self.add(value))
    }

    fn add(&mut self, value: &'a [u8]) -> u32 {
        self.values.push(value);
        let number = number_of(self.values.len());
        match &mut self.numbers {
            None if self.values.len() <= SEARCHED_PARTS_MAX => {}
            None => self.numbers = Some(self.values.iter().copied().zip(1..).collect()),
            Some(numbers) => _ = numbers.insert(value, number),
        }
        number
    }
}

/// Entries have at most [`ENTRY_KEYS_MAX`] parts.
fn number_of(parts: usize) -> u32 {
    u32::try_from(parts).unwrap_or(u32::MAX)
}

/// Decodes the entry at the start of `bytes`; `None` if there is none. Does not verify checksums.
pub(super) fn decode(bytes: &[u8]) -> Option<Decoded<'_>> {
    let length = length(bytes)?;
    let front = front_length(bytes)?;
    let bytes = bytes.get(..length)?;
    let body = bytes.get(FRONT_BYTES..front)?;
    let mut rest = bytes.get(front..)?;
    let count = usize::try_from(decode_number(&mut rest)?).ok().filter(|count| *count <= ENTRY_KEYS_MAX)?;
    let mut parts = SmallVec::new();
    for _ in 0..count {
        let distance = u32::try_from(length - rest.len()).ok()?;
        let (pointer, value, after) = split_part(rest)?;
        if pointer != distance {
            return None;
        }
        parts.push(Part { distance, value });
        rest = after;
    }
    let mut part_numbers = PartNumbers::new();
    let puts = decode_keys(&mut rest, |rest, run| {
        if count > 0 {
            let number = u32::try_from(decode_number(rest)?).ok().filter(|number| *number <= number_of(count))?;
            part_numbers.resize(part_numbers.len() + run, number);
        }
        Some(())
    })?;
    let deletes = decode_keys(&mut rest, |_, _| Some(()))?;
    let ends = decode_ends(&mut rest)?;
    rest.is_empty().then_some(Decoded { length, body, puts, part_numbers, parts, deletes, ends })
}

/// The length in bytes of the entry at the start of `bytes`.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    number_at::<4>(bytes, 5).map(u32::from_le_bytes).and_then(|length| usize::try_from(length).ok())
}

/// The length in bytes of an entry's front and body, which have a checksum of their own.
pub(super) fn front_length(bytes: &[u8]) -> Option<usize> {
    let body = number_at::<4>(bytes, 9).map(u32::from_le_bytes).and_then(|length| usize::try_from(length).ok())?;
    FRONT_BYTES.checked_add(body)
}

/// The body of the entry at the start of `bytes`, whose checksum is verified; `None` if it is damaged.
pub(super) fn body(bytes: &[u8]) -> Option<&[u8]> {
    let front = bytes.get(..front_length(bytes)?)?;
    let is_intact = crc32c::crc32c(front.get(4..)?) == number_at::<4>(front, 0).map(u32::from_le_bytes)?;
    front.get(FRONT_BYTES..).filter(|_| is_intact)
}

/// What the place of a key points to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AtPlace<'a> {
    /// The entry itself: the key has no part.
    Entry,
    /// The part of the key.
    Part(Part<'a>),
    /// A part of which only the start is in the bytes: its length in bytes.
    Longer(usize),
}

/// Decodes what is at the place of a key, and verifies the checksum of a part; `None` if it is damaged.
pub(super) fn at_place(bytes: &[u8]) -> Option<AtPlace<'_>> {
    if *bytes.get(4)? == 0 {
        return Some(AtPlace::Entry);
    }
    let Some((distance, value, after)) = split_part(bytes) else {
        let mut rest = bytes.get(4..)?;
        decode_number(&mut rest)?;
        let length = usize::try_from(decode_number(&mut rest)?).ok().filter(|length| *length <= ENTRY_BYTES_MAX)?;
        return Some(AtPlace::Longer(bytes.len() - rest.len() + length));
    };
    let part = bytes.get(4..bytes.len() - after.len())?;
    let is_intact = crc32c::crc32c(part) == number_at::<4>(bytes, 0).map(u32::from_le_bytes)?;
    is_intact.then_some(AtPlace::Part(Part { distance, value }))
}

/// Splits the part at the start of `bytes` into its distance from the start of the entry, its value, and what follows it.
fn split_part(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let mut rest = bytes.get(4..)?;
    let distance = u32::try_from(decode_number(&mut rest)?).ok()?;
    let length = usize::try_from(decode_number(&mut rest)?).ok()?;
    let (value, after) = rest.split_at_checked(length)?;
    Some((distance, value, after))
}

/// The `N` bytes at an offset.
pub(super) fn number_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Checksum of what follows and of the body, 0 instead of the distance of a part, length of the entry, length of its body.
pub(super) const FRONT_BYTES: usize = 13;

/// Up to this many different parts are searched one by one.
const SEARCHED_PARTS_MAX: usize = 8;

/// The largest entry in bytes. Larger than any MQTT packet with its topic and keys; offsets in a segment still fit 32 bits.
pub const ENTRY_BYTES_MAX: usize = 1 << 29;

/// The most bytes of entries that are appended together: as those of the largest entry.
pub(super) const TOGETHER_BYTES_MAX: usize = ENTRY_BYTES_MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keys::NUMBERED;
    use super::*;

    fn keys() -> impl Strategy<Value = Vec<Key>> {
        let key = (0u64..3, 0u8..3, prop_oneof![0u64..20, any::<u64>()]);
        prop::collection::vec(key.prop_map(|(group, kind, id)| Key { group, kind, id }), 0..30)
    }

    fn entry<'a>(body: &'a [u8], puts: &'a [Key], parts: &'a [&'a [u8]]) -> Entry<'a> {
        Entry { body, puts, parts, deletes: &[], ends: None, level: Level::PowerLoss, room: Room::Ordinary }
    }

    fn encoded(entry: &Entry<'_>) -> Vec<u8> {
        let Encoded { front, tail, .. } = encode(entry).unwrap();
        [&front[..], entry.body, &tail].concat()
    }

    proptest! {
        #[test]
        fn an_encoded_entry_decodes_to_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..300), puts in keys(), deletes in keys(), ends in any::<Option<u64>>(),
            parts in prop::collection::vec(prop::collection::vec(0u8..2, 0..6), 0..40),
        ) {
            let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
            let whole = Entry { deletes: &deletes, ends, ..entry(&bytes, &puts, &parts) };
            let mut bytes_of_entry = encoded(&whole);
            let length = bytes_of_entry.len();
            bytes_of_entry.extend_from_slice(b"what follows");
            let decoded = decode(&bytes_of_entry).unwrap();
            prop_assert_eq!(decoded.body, &bytes[..]);
            prop_assert_eq!(body(&bytes_of_entry), Some(&bytes[..]));
            prop_assert_eq!(decoded.puts.as_slice(), &puts[..]);
            prop_assert_eq!(decoded.deletes.as_slice(), &deletes[..]);
            prop_assert_eq!((decoded.ends, decoded.length), (ends, length));
            for put in 0..puts.len() {
                prop_assert_eq!(decoded.part(put), whole.part(put));
                let at = at_place(&bytes_of_entry[decoded.distance(put) as usize..]).unwrap();
                let (distance, value) = (decoded.distance(put), whole.part(put));
                let expected = if value.is_empty() { AtPlace::Entry } else { AtPlace::Part(Part { distance, value }) };
                prop_assert_eq!(at, expected);
            }
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (decode(&bytes), at_place(&bytes), body(&bytes));
            let mut framed = vec![0, 0, 0, 0, 0, 80, 0, 0, 0, 3, 0, 0, 0];
            framed.extend_from_slice(&bytes);
            framed.resize(80, 0);
            let _ = decode(&framed);
        }
    }

    proptest! {
        #[test]
        fn numbered_puts_are_behind_the_others_with_any_id(
            puts in keys(), ids in prop::collection::vec(0..=u64::MAX >> 1, 0..4), has_part in any::<bool>(),
        ) {
            let part: &[u8] = if has_part { b"12345678" } else { b"" };
            let numbered: Vec<_> = (0..ids.len() as u64).map(|group| Numbered { group: 1 << 63 | group, part }).collect();
            let whole = entry(b"body", &puts, &[b"first"]);
            let mut encoded = encode_numbered(&whole, &numbered).unwrap();
            encoded.set_numbers(&ids);
            let bytes = [&encoded.front[..], whole.body, &encoded.tail].concat();
            let decoded = decode(&bytes).unwrap();
            let given = numbered.iter().zip(&ids).map(|(put, id)| Key { group: put.group, kind: NUMBERED, id: *id });
            let expected: Vec<_> = puts.iter().copied().chain(given).collect();
            prop_assert_eq!(decoded.puts.as_slice(), expected);
            for put in 0..decoded.puts.len() {
                let expected = if put < puts.len() { whole.part(put) } else { part };
                prop_assert_eq!(decoded.part(put), expected);
            }
            prop_assert_eq!(body(&bytes), Some(whole.body));
        }
    }

    #[test]
    fn every_changed_bit_of_a_body_or_a_part_is_detected() {
        let puts = [1, 3, 5].map(|id| Key { group: 7, kind: 2, id });
        let bytes = encoded(&entry(b"common", &puts, &[b"first", b"", b"third"]));
        let decoded = decode(&bytes).unwrap();
        let places = [0, 1, 2].map(|put| decoded.distance(put) as usize);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let in_front = bit / 8 < FRONT_BYTES + 6;
            assert_eq!(body(&changed).is_none(), in_front, "bit {bit}");
            for (place, value) in [(places[0], &b"first"[..]), (places[2], &b"third"[..])] {
                let part = at_place(&changed[place..]);
                let is_same = part == Some(AtPlace::Part(Part { distance: u32::try_from(place).unwrap(), value }));
                let in_part = (place..place + 4 + 1 + 1 + 5).contains(&(bit / 8));
                assert!(
                    is_same != in_part && !(in_part && matches!(part, Some(AtPlace::Part(_)))),
                    "bit {bit}: {part:?}"
                );
            }
        }
    }

    #[test]
    fn a_part_that_is_not_complete_tells_its_length() {
        let value = [9; 1000];
        let bytes = encoded(&entry(b"", &[Key { group: 1, kind: 1, id: 1 }], &[&value]));
        let place = decode(&bytes).unwrap().distance(0);
        let part = &bytes[place as usize..];
        assert_eq!(at_place(&part[..20]), Some(AtPlace::Longer(4 + 1 + 2 + 1000)));
        assert_eq!(at_place(&part[..5]), None);
        assert_eq!(at_place(part), Some(AtPlace::Part(Part { distance: place, value: &value })));
    }

    #[test]
    fn equal_parts_are_stored_once() {
        let puts: Vec<_> = (0..1000).map(|group| Key { group, kind: 2, id: 1 }).collect();
        let length = |parts: &[&[u8]]| encoded(&entry(b"", &puts, parts)).len();
        let (none, alike) = (length(&[]), length(&vec![&[1; 50][..]; 1000]));
        assert_eq!(alike, none + 1000 + 4 + 2 + 50);
        let values: Vec<_> = (0..20_u8).map(|value| [value; 50]).collect();
        let parts: Vec<_> = values.iter().map(|value| &value[..]).cycle().take(1000).collect();
        assert_eq!(length(&parts), none + 1000 + 20 * (4 + 2 + 1 + 50) - 3);
    }

    #[test]
    fn consecutive_keys_cost_as_much_as_one() {
        let many: Vec<_> = (1..=1000).map(|id| Key { group: 7, kind: 2, id }).collect();
        let length = |deletes| encoded(&Entry { deletes, ..entry(&[], &[], &[]) }).len();
        assert_eq!(length(&many), length(&many[..1]) + 1);
        let part: &[u8] = b"part";
        let alike = vec![part; 1000];
        let length = |count: usize| encoded(&entry(&[], &many[..count], &alike)).len();
        assert_eq!(length(1000), length(1) + 1);
    }

    #[test]
    fn a_run_of_too_many_keys_is_not_an_entry() {
        let mut bytes = vec![0; FRONT_BYTES];
        let mut tail = Tail::new();
        for number in [0, 1, 1, 1, 0, u64::MAX, 0, 0] {
            encode_number(number, &mut tail);
        }
        bytes.extend_from_slice(&tail);
        bytes[5] = u8::try_from(bytes.len()).unwrap();
        assert_eq!(decode(&bytes), None);
    }
}
