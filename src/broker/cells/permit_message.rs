//! What two cells tell each other about a message with a `dedup-id`: see [`permits`](super::permits).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;

/// A publisher's name in the deduplication window, and its `dedup-id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::broker) struct DedupName {
    pub(in crate::broker) publisher: ByteString,
    pub(in crate::broker) id: ByteString,
}

/// A message on a control connection about a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) enum PermitMessage {
    /// To the home of the publisher: may this cell accept the message? `number` is one of this cell.
    Request { number: u64, name: DedupName },
    /// The answer to it.
    Answer { number: u64, answer: PermitAnswer },
    /// From the home to the cell with the permit: has it accepted the message? `number` is that of the permit. If it has not, it may not any more.
    Question { number: u64, name: DedupName },
    /// The answer to it.
    Outcome { number: u64, is_accepted: bool },
}

/// What the home of a publisher says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum PermitAnswer {
    /// The cell may accept the message.
    Granted,
    /// The message was accepted before.
    Duplicate,
    /// It is not known yet: ask again.
    Later,
}

impl PermitMessage {
    pub(super) fn put(&self, bytes: &mut BytesMut) {
        let (kind, number) = match self {
            Self::Request { number, .. } => (REQUEST, number),
            Self::Answer { number, .. } => (ANSWER, number),
            Self::Question { number, .. } => (QUESTION, number),
            Self::Outcome { number, .. } => (OUTCOME, number),
        };
        bytes.put_u8(kind);
        bytes.put_u64_le(*number);
        match self {
            Self::Request { name, .. } | Self::Question { name, .. } => {
                put_text(&name.publisher, bytes);
                put_text(&name.id, bytes);
            }
            Self::Answer { answer, .. } => bytes.put_u8(match answer {
                PermitAnswer::Granted => 0,
                PermitAnswer::Duplicate => 1,
                PermitAnswer::Later => 2,
            }),
            Self::Outcome { is_accepted, .. } => bytes.put_u8(u8::from(*is_accepted)),
        }
    }

    /// `None`: the bytes do not begin with such a message.
    pub(super) fn take(bytes: &mut Bytes) -> Option<Self> {
        let (kind, number) = (bytes.try_get_u8().ok()?, bytes.try_get_u64_le().ok()?);
        let name = |bytes: &mut Bytes| Some(DedupName { publisher: text(bytes)?, id: text(bytes)? });
        Some(match kind {
            REQUEST => Self::Request { number, name: name(bytes)? },
            ANSWER => {
                let answer = match bytes.try_get_u8().ok()? {
                    0 => PermitAnswer::Granted,
                    1 => PermitAnswer::Duplicate,
                    2 => PermitAnswer::Later,
                    _ => return None,
                };
                Self::Answer { number, answer }
            }
            QUESTION => Self::Question { number, name: name(bytes)? },
            OUTCOME => {
                let is_accepted = match bytes.try_get_u8().ok()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Self::Outcome { number, is_accepted }
            }
            _ => return None,
        })
    }
}

fn put_text(text: &str, bytes: &mut BytesMut) {
    // Names of users have up to 65,535 bytes, and more is in front of them.
    bytes.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
    bytes.put_slice(text.as_bytes());
}

fn text(bytes: &mut Bytes) -> Option<ByteString> {
    let length = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    let text = (length <= bytes.len()).then(|| bytes.split_to(length))?;
    // Copied, so that it does not keep the read buffer alive.
    std::str::from_utf8(&text).ok().map(ByteString::from)
}

const REQUEST: u8 = 0;
const ANSWER: u8 = 1;
const QUESTION: u8 = 2;
const OUTCOME: u8 = 3;
