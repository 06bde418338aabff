//! What the owners of two cells say to each other on a control connection: PUBLISH packets at QoS 0, whose payloads are these messages.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;

use crate::broker::cells::permit_message::PermitMessage;
use crate::routing::{Announced, Announcement, CellId, Fingerprint, Interest, InterestAnswer, ShareCounts};
use crate::topic::{Filter, ShareName, TopicFilter, TopicName};

/// A message of the owner of a cell to that of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    /// The first message of each side.
    Hello(Hello),
    /// What the cell wants.
    Announcement(Announcement),
    /// What it has noted of that which the other cell wants.
    Answer(InterestAnswer),
    /// About a message with a `dedup-id`.
    Permit(PermitMessage),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) cell: CellId,
    pub(super) cells: u16,
    pub(super) epoch: u64,
    /// A check value of the key of fingerprints: with another key, each side would pass by what the other wants.
    pub(super) key_check: u64,
    /// The last change of retained messages that the cell knows: those of another one come after it.
    pub(super) last_change: u64,
}

impl Control {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Hello(Hello { cell, cells, epoch, key_check, last_change }) => {
                bytes.put_u8(HELLO);
                bytes.put_u8(VERSION);
                bytes.put_u8(cell.0);
                bytes.put_u16_le(*cells);
                bytes.put_u64_le(*epoch);
                bytes.put_u64_le(*key_check);
                bytes.put_u64_le(*last_change);
            }
            Self::Announcement(Announcement { cell, epoch, last, what }) => {
                bytes.put_u8(match what {
                    Announced::Changes { .. } => CHANGES,
                    Announced::Whole { .. } => WHOLE,
                });
                bytes.put_u8(cell.0);
                bytes.put_u64_le(*epoch);
                bytes.put_u64_le(*last);
                match what {
                    Announced::Changes { first, changes } => {
                        bytes.put_u64_le(*first);
                        for (interest, is_wanted) in changes {
                            bytes.put_u8(u8::from(*is_wanted));
                            put_interest(interest, &mut bytes);
                        }
                    }
                    Announced::Whole { number, place, interest, is_last } => {
                        bytes.put_u64_le(*number);
                        bytes.put_u64_le(*place as u64);
                        bytes.put_u8(u8::from(*is_last));
                        interest.iter().for_each(|interest| put_interest(interest, &mut bytes));
                    }
                }
            }
            Self::Answer(InterestAnswer { cell, epoch, number, incoming, is_joined }) => {
                bytes.put_u8(ANSWER);
                bytes.put_u8(cell.0);
                bytes.put_u64_le(*epoch);
                bytes.put_u8(u8::from(number.is_some()));
                bytes.put_u64_le(number.unwrap_or_default());
                let (whole, place) = incoming.unwrap_or_default();
                bytes.put_u8(u8::from(incoming.is_some()));
                bytes.put_u64_le(whole);
                bytes.put_u64_le(place as u64);
                bytes.put_u8(u8::from(*is_joined));
            }
            Self::Permit(message) => {
                bytes.put_u8(PERMIT);
                message.put(&mut bytes);
            }
        }
        bytes.freeze()
    }

    /// `None`: the bytes are no message that this version knows.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let bytes = &mut bytes;
        let message = match bytes.try_get_u8().ok()? {
            HELLO => {
                let VERSION = bytes.try_get_u8().ok()? else { return None };
                let cell = CellId(bytes.try_get_u8().ok()?);
                let cells = bytes.try_get_u16_le().ok()?;
                let (epoch, key_check, last_change) = (number(bytes)?, number(bytes)?, number(bytes)?);
                Self::Hello(Hello { cell, cells, epoch, key_check, last_change })
            }
            CHANGES => {
                let (cell, epoch, last) = (CellId(bytes.try_get_u8().ok()?), number(bytes)?, number(bytes)?);
                let (first, mut changes) = (number(bytes)?, Vec::new());
                while bytes.has_remaining() {
                    let is_wanted = flag(bytes)?;
                    changes.push((interest(bytes)?, is_wanted));
                }
                Self::Announcement(Announcement { cell, epoch, last, what: Announced::Changes { first, changes } })
            }
            WHOLE => {
                let (cell, epoch, last) = (CellId(bytes.try_get_u8().ok()?), number(bytes)?, number(bytes)?);
                let (number, place) = (number(bytes)?, usize::try_from(number(bytes)?).ok()?);
                let (is_last, mut all) = (flag(bytes)?, Vec::new());
                while bytes.has_remaining() {
                    all.push(interest(bytes)?);
                }
                let what = Announced::Whole { number, place, interest: all, is_last };
                Self::Announcement(Announcement { cell, epoch, last, what })
            }
            ANSWER => {
                let (cell, epoch) = (CellId(bytes.try_get_u8().ok()?), number(bytes)?);
                let (has_number, known) = (flag(bytes)?, number(bytes)?);
                let (has_incoming, whole) = (flag(bytes)?, number(bytes)?);
                let place = usize::try_from(number(bytes)?).ok()?;
                let is_joined = flag(bytes)?;
                let (number, incoming) = (has_number.then_some(known), has_incoming.then_some((whole, place)));
                Self::Answer(InterestAnswer { cell, epoch, number, incoming, is_joined })
            }
            PERMIT => Self::Permit(PermitMessage::take(bytes)?),
            _ => return None,
        };
        bytes.is_empty().then_some(message)
    }
}

/// The Topic Name of all of them, which has no meaning.
pub(super) fn topic() -> TopicName {
    TopicName::new("$link".into()).unwrap_or_else(|_| TopicName::unresolved())
}

fn put_interest(interest: &Interest, bytes: &mut BytesMut) {
    match interest {
        Interest::Exact(fingerprint) => {
            bytes.put_u8(EXACT);
            bytes.put_slice(&fingerprint.to_bytes());
        }
        Interest::Wildcard(filter) => {
            bytes.put_u8(WILDCARD);
            put_text(filter.as_str(), bytes);
        }
        Interest::Everything => bytes.put_u8(EVERYTHING),
        Interest::Share(Filter { share, topic_filter, .. }, ShareCounts { members, connected }) => {
            bytes.put_u8(SHARE);
            bytes.put_u32_le(*members);
            bytes.put_u32_le(*connected);
            put_text(share.as_ref().map_or("", ShareName::as_str), bytes);
            put_text(topic_filter.as_str(), bytes);
        }
    }
}

fn put_text(text: &str, bytes: &mut BytesMut) {
    // A Topic Filter has at most 65,535 bytes, and so has a ShareName. [MQTT-4.7.3-3]
    bytes.put_u16_le(u16::try_from(text.len()).unwrap_or(u16::MAX));
    bytes.put_slice(text.as_bytes());
}

fn interest(bytes: &mut Bytes) -> Option<Interest> {
    match bytes.try_get_u8().ok()? {
        EXACT => {
            let mut fingerprint = [0; Fingerprint::BYTES];
            bytes.try_copy_to_slice(&mut fingerprint).ok()?;
            Some(Interest::Exact(Fingerprint::from_bytes(fingerprint)?))
        }
        WILDCARD => Some(Interest::Wildcard(TopicFilter::new(text(bytes)?).ok()?.detached())),
        EVERYTHING => Some(Interest::Everything),
        SHARE => {
            let (members, connected) = (bytes.try_get_u32_le().ok()?, bytes.try_get_u32_le().ok()?);
            let share = Some(ShareName::new(text(bytes)?).ok()?);
            let filter = Filter { share, topic_filter: TopicFilter::new(text(bytes)?).ok()?, is_exclusive: false };
            Some(Interest::Share(filter.detached(), ShareCounts { members, connected }))
        }
        _ => None,
    }
}

fn text(bytes: &mut Bytes) -> Option<ByteString> {
    let length = usize::from(bytes.try_get_u16_le().ok()?);
    (length <= bytes.len()).then(|| bytes.split_to(length))?.try_into().ok()
}

fn number(bytes: &mut Bytes) -> Option<u64> {
    bytes.try_get_u64_le().ok()
}

fn flag(bytes: &mut Bytes) -> Option<bool> {
    match bytes.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

const VERSION: u8 = 3;
const HELLO: u8 = 1;
const CHANGES: u8 = 2;
const WHOLE: u8 = 3;
const ANSWER: u8 = 4;
const PERMIT: u8 = 5;

const EXACT: u8 = 0;
const WILDCARD: u8 = 1;
const EVERYTHING: u8 = 2;
const SHARE: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::cells::permit_message::{DedupName, PermitAnswer};
    use crate::routing::InterestKey;

    fn interest() -> impl Strategy<Value = Interest> {
        let filter = |text: &str| TopicFilter::new(text.to_owned().into()).unwrap();
        let of = move |text: &str| Interest::new(&filter(text), &InterestKey::new(&[1; 16]));
        let text = || prop::sample::select(vec!["a", "a/+", "#", "ä/b/+/#", "c/d/e"]);
        let share = (prop::sample::select(vec!["g", "ö "]), text(), any::<(u32, u32)>());
        let share = share.prop_map(move |(name, text, (members, connected))| {
            let share = Some(ShareName::try_from(name).unwrap());
            let filter = Filter { share, topic_filter: filter(text), is_exclusive: false };
            Interest::Share(filter, ShareCounts { members, connected })
        });
        prop_oneof![6 => text().prop_map(of), 3 => share, 1 => Just(Interest::Everything)]
    }

    fn permit() -> impl Strategy<Value = PermitMessage> {
        let name = || ("[a-zé/]{0,9}", "[a-z]{0,5}").prop_map(|(publisher, id)| (publisher.into(), id.into()));
        let name = move || name().prop_map(|(publisher, id)| DedupName { publisher, id });
        let answer = prop::sample::select(vec![PermitAnswer::Granted, PermitAnswer::Duplicate, PermitAnswer::Later]);
        prop_oneof![
            (any::<u64>(), name()).prop_map(|(number, name)| PermitMessage::Request { number, name }),
            (any::<u64>(), answer).prop_map(|(number, answer)| PermitMessage::Answer { number, answer }),
            (any::<u64>(), name()).prop_map(|(number, name)| PermitMessage::Question { number, name }),
            any::<(u64, bool)>().prop_map(|(number, is_accepted)| PermitMessage::Outcome { number, is_accepted }),
        ]
    }

    fn control() -> impl Strategy<Value = Control> {
        let hello = (any::<u8>(), any::<u16>(), any::<(u64, u64, u64)>());
        let hello = hello.prop_map(|(cell, cells, (epoch, key_check, last_change))| {
            Control::Hello(Hello { cell: CellId(cell), cells, epoch, key_check, last_change })
        });
        let changes = prop::collection::vec((interest(), any::<bool>()), 0..5);
        let changes = (any::<u64>(), changes).prop_map(|(first, changes)| Announced::Changes { first, changes });
        let whole = (any::<u64>(), 0..1_000_usize, prop::collection::vec(interest(), 0..5), any::<bool>());
        let whole =
            whole.prop_map(|(number, place, interest, is_last)| Announced::Whole { number, place, interest, is_last });
        let what = prop_oneof![changes, whole];
        let announcement = (any::<u8>(), any::<(u64, u64)>(), what).prop_map(|(cell, (epoch, last), what)| {
            Control::Announcement(Announcement { cell: CellId(cell), epoch, last, what })
        });
        let answer = (any::<(u8, u64, bool)>(), any::<Option<u64>>(), any::<Option<(u64, u16)>>());
        let answer = answer.prop_map(|((cell, epoch, is_joined), number, incoming)| {
            let incoming = incoming.map(|(number, place)| (number, place.into()));
            Control::Answer(InterestAnswer { cell: CellId(cell), epoch, number, incoming, is_joined })
        });
        prop_oneof![hello, announcement, answer, permit().prop_map(Control::Permit)]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_with_more_bytes_it_is_another_message_or_none(
            control in control(),
            more in prop::collection::vec(any::<u8>(), 1..9),
        ) {
            let bytes = control.encode();
            prop_assert_eq!(Control::decode(bytes.clone()), Some(control.clone()));
            let longer = Control::decode([&bytes[..], &more].concat().into());
            prop_assert_ne!(longer, Some(control));
        }

        #[test]
        fn any_bytes_are_a_message_with_these_bytes_or_none(kind in 0..7_u8, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from([&[kind][..], &bytes].concat());
            if let Some(control) = Control::decode(bytes.clone()) {
                prop_assert_eq!(Control::decode(control.encode()), Some(control));
            }
        }
    }
}
