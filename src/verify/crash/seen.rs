//! Which messages there are, and which of them a subscriber has got.

use std::ops::Range;

/// The topic of a publisher.
pub(super) fn topic(publisher: usize) -> String {
    format!("verify/{publisher}")
}

/// A payload that names its message, and is as long as its number says.
pub(super) fn payload(publisher: usize, number: u64) -> Vec<u8> {
    let mut text = format!("{publisher} {number} ").into_bytes();
    let filler =
        if number.is_multiple_of(LARGE_EACH) { LARGE_BYTES } else { number.wrapping_mul(2_654_435_761) % SMALL_BYTES };
    text.extend((0..filler).map(|index| b'a' + u8::try_from(index.wrapping_add(number) % 26).unwrap_or_default()));
    text
}

/// The message that has this payload, if one has.
pub(super) fn message(bytes: &[u8]) -> Option<(usize, u64)> {
    let head = bytes.get(..bytes.len().min(HEAD_BYTES))?;
    let text = head.iter().map(|byte| char::from(*byte)).collect::<String>();
    let mut words = text.split(' ');
    let (publisher, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (payload(publisher, number) == bytes).then_some((publisher, number))
}

/// The messages of one publisher that a subscriber has got since all were compared.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The number of the first message.
    base: u64,
    /// Deliveries of each message.
    counts: Vec<u32>,
    /// The newest that was delivered for the first time.
    newest: Option<u64>,
}

/// What a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    First,
    Again,
    /// A newer message of the same publisher came before it.
    LateFirst {
        newest: u64,
    },
}

impl Seen {
    pub(super) fn arrived(&mut self, number: u64) -> Arrival {
        let Some(place) = number.checked_sub(self.base).and_then(|place| usize::try_from(place).ok()) else {
            return Arrival::Again;
        };
        if self.counts.len() <= place {
            self.counts.resize(place.min(MESSAGES_MAX) + 1, 0);
        }
        let Some(count) = self.counts.get_mut(place) else { return Arrival::First };
        *count += 1;
        if *count > 1 {
            return Arrival::Again;
        }
        match self.newest {
            Some(newest) if newest > number => Arrival::LateFirst { newest },
            _ => {
                self.newest = Some(number);
                Arrival::First
            }
        }
    }

    /// The first of these messages that has not arrived.
    pub(super) fn missing(&self, sent: &Range<u64>) -> Option<u64> {
        let count = |number: u64| self.counts.get(usize::try_from(number.checked_sub(self.base)?).ok()?).copied();
        sent.clone().find(|number| count(*number).unwrap_or_default() == 0)
    }

    /// All messages below `next` were compared.
    pub(super) fn forget(&mut self, next: u64) {
        self.base = next;
        self.counts.clear();
    }
}

/// More than a publisher sends between two comparisons.
const MESSAGES_MAX: usize = 100_000;
const LARGE_EACH: u64 = 61;
const LARGE_BYTES: u64 = 12_000;
const SMALL_BYTES: u64 = 200;
/// Enough for two numbers.
const HEAD_BYTES: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_its_message_and_no_other() {
        for (publisher, number) in [(0, 1), (3, 61), (2, u64::MAX)] {
            let mut bytes = payload(publisher, number);
            assert_eq!(message(&bytes), Some((publisher, number)));
            bytes.push(b'a');
            assert_eq!(message(&bytes), None);
        }
        for bytes in [b"".as_slice(), b"1", b"1 x ", b"\xFF \xFF "] {
            assert_eq!(message(bytes), None);
        }
    }

    #[test]
    fn what_is_missing_doubled_or_late_is_found() {
        let mut seen = Seen::default();
        seen.forget(10);
        assert_eq!([10, 12, 12].map(|number| seen.arrived(number)), [Arrival::First, Arrival::First, Arrival::Again]);
        assert_eq!(seen.missing(&(10..13)), Some(11));
        assert_eq!(seen.arrived(11), Arrival::LateFirst { newest: 12 });
        assert_eq!((seen.missing(&(10..13)), seen.missing(&(10..14))), (None, Some(13)));
        seen.forget(13);
        assert_eq!(seen.arrived(12), Arrival::Again);
        assert_eq!(seen.arrived(13), Arrival::First);
    }
}
