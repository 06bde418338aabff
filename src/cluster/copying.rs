use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// What a node without a usable copy asks one that has one. In JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// Begin a copy: the node keeps the files as they are until the copy ends, or nothing was asked for half a minute.
    Begin,
    /// Read a part of a file.
    Read {
        /// The copy.
        copy: u64,
        /// The number of the segment.
        segment: u32,
        /// Where to begin, in bytes.
        offset: u64,
        /// How many bytes, at most [`CHUNK_BYTES`].
        bytes: u32,
    },
    /// Read a part of a file of a stream.
    ReadStream {
        /// The copy.
        copy: u64,
        /// The number of the stream.
        stream: u32,
        /// The name of the file.
        file: String,
        /// Where to begin, in bytes.
        offset: u64,
        /// How many bytes, at most [`CHUNK_BYTES`].
        bytes: u32,
    },
    /// Verify this segment, because what was read of it is damaged.
    Verify {
        /// The copy.
        copy: u64,
        /// The number of the segment.
        segment: u32,
    },
    /// The copy is complete, or given up.
    End {
        /// The copy.
        copy: u64,
    },
}

/// A copy that has begun. In JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Its number.
    pub(super) copy: u64,
    /// The log sequence of the mark.
    pub(super) sequence: u64,
    /// The state of the mark.
    pub(super) state: Vec<u8>,
    /// The segments: number and bytes.
    pub(super) files: Vec<(u32, u64)>,
    /// The files of the streams: number of the stream, name and bytes. Earlier versions have no streams.
    #[serde(default)]
    pub(super) streams: Vec<(u32, String, u64)>,
}

/// What the node answers. Layout: 0 and the bytes; 1 and a text, or 2 and a text if its log is damaged.
pub(super) type Answer = Result<Bytes, Denied>;

/// Why a question gets no bytes, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    /// The node has no copy, or does not answer: it can be asked again.
    Refused(String),
    /// What was asked for is damaged.
    Damaged(String),
}

impl<T: Into<String>> From<T> for Denied {
    fn from(reason: T) -> Self {
        Self::Refused(reason.into())
    }
}

impl Question {
    /// Its bytes.
    pub(super) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Decodes what another node has sent.
    ///
    /// # Errors
    /// It is not a question that this version knows.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("not a question of a copy: {error}"))
    }
}

/// The bytes of an answer.
pub(super) fn encode_answer(answer: &Answer) -> Bytes {
    let (kind, text) = match answer {
        Ok(bytes) => (0, bytes.as_ref()),
        Err(Denied::Refused(reason)) => (1, reason.as_bytes()),
        Err(Denied::Damaged(reason)) => (2, reason.as_bytes()),
    };
    let mut bytes = BytesMut::with_capacity(1 + text.len());
    bytes.put_u8(kind);
    bytes.put_slice(text);
    bytes.freeze()
}

/// Decodes an answer.
///
/// # Errors
/// The node has refused, or the bytes are no answer.
pub(super) fn decode_answer(bytes: &Bytes) -> Answer {
    let reason = || String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into_owned();
    match bytes.first() {
        Some(0) => Ok(bytes.slice(1..)),
        Some(1) => Err(Denied::Refused(reason())),
        Some(2) => Err(Denied::Damaged(reason())),
        _ => Err("not an answer".into()),
    }
}

/// How many bytes of a file are read at a time, at most.
pub(super) const CHUNK_BYTES: u32 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_a_round_trip() {
        for question in [
            Question::Begin,
            Question::Read { copy: u64::MAX, segment: 7, offset: 1 << 40, bytes: CHUNK_BYTES },
            Question::ReadStream { copy: 3, stream: 7, file: "name".to_owned(), offset: 9, bytes: 1 },
            Question::Verify { copy: 3, segment: 7 },
            Question::End { copy: 3 },
        ] {
            assert_eq!(Question::decode(&question.encode()), Ok(question));
        }
        assert!(Question::decode(b"\"other\"").is_err());
        let denied = [Err(Denied::Refused("no".to_owned())), Err(Denied::Damaged("no".to_owned()))];
        for answer in [Ok(Bytes::from_static(b"bytes")), Ok(Bytes::new())].into_iter().chain(denied) {
            assert_eq!(decode_answer(&encode_answer(&answer)), answer);
        }
        assert!(decode_answer(&Bytes::new()).is_err());
        assert!(decode_answer(&Bytes::from_static(b"\x03")).is_err());
    }
}
