//! Decodes and encodes the data types of section 1.5 of the standard.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use std::ops::Range;

use super::limits::{STRING_LENGTH_MAX, VARIABLE_BYTE_INTEGER_LENGTH_MAX};
use super::{DecodeError, PacketId, PacketType, ReasonCode};
use crate::topic::{Filter, TopicName};

/// Reads the fields of one packet in order, never beyond its end. Returned values are slices of the frame.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    position: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads `range` of `frame`.
    pub(super) fn new(frame: &'a Bytes, range: Range<usize>) -> Self {
        let end = range.end.min(frame.len());
        Self { frame, position: range.start.min(end), end }
    }

    pub(super) const fn frame(&self) -> &'a Bytes {
        self.frame
    }

    pub(super) const fn position(&self) -> usize {
        self.position
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.position == self.end
    }

    /// Fails if bytes remain. [MQTT-2.1.4]
    pub(super) const fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PacketIdZero)
    }

    /// A Reason Code that is valid in a packet of this type.
    pub(super) fn reason_code(&mut self, packet_type: PacketType) -> Result<ReasonCode, DecodeError> {
        let number = self.u8()?;
        let reason_code = ReasonCode::new(number).filter(|reason_code| reason_code.is_valid_in(packet_type));
        reason_code.ok_or(DecodeError::ReasonCode(number))
    }

    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let (value, length) = variable_byte_integer(self.rest())?.ok_or(DecodeError::Truncated)?;
        self.position += length;
        check_shortest(usize::try_from(value).unwrap_or(usize::MAX), length)?;
        Ok(value)
    }

    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let range = self.prefixed()?;
        Ok(self.frame.slice(range))
    }

    /// A UTF-8 Encoded String, without U+0000.
    pub(super) fn string(&mut self) -> Result<ByteString, DecodeError> {
        let string = self.utf8()?;
        if string.as_bytes().contains(&0) { Err(DecodeError::NullCharacter) } else { Ok(string) }
    }

    /// A UTF-8 Encoded String that is not yet checked for U+0000.
    pub(super) fn utf8(&mut self) -> Result<ByteString, DecodeError> {
        ByteString::try_from(self.binary()?).map_err(|_| DecodeError::Utf8)
    }

    /// As [`string`](Self::string), borrowed.
    pub(super) fn str(&mut self) -> Result<&'a str, DecodeError> {
        let range = self.prefixed()?;
        let bytes = self.frame.get(range).unwrap_or_default();
        if bytes.contains(&0) {
            return Err(DecodeError::NullCharacter);
        }
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
    }

    /// Validates a UTF-8 String Pair, and all further ones that follow immediately, each behind a byte `before`.
    pub(super) fn skip_string_pairs(&mut self, before: u8) -> Result<(), DecodeError> {
        let start = self.position;
        let mut zeros = 0;
        loop {
            for _ in 0..2 {
                let length = self.prefixed()?.len();
                zeros += usize::from(length < 0x100) + usize::from(length & 0xFF == 0);
            }
            if self.rest().first() != Some(&before) {
                break;
            }
            self.position += 1;
        }
        let end = self.position;
        let pairs = self.frame.get(start..end).unwrap_or_default();
        // Fast path: if all bytes are ASCII and only those of the lengths are zero, no string needs a look of its own.
        if pairs.is_ascii() && count_zeros(pairs) == zeros {
            return Ok(());
        }
        self.position = start;
        loop {
            self.str()?;
            self.str()?;
            if self.position == end {
                return Ok(());
            }
            self.position += 1;
        }
    }

    pub(super) fn skip_binary(&mut self) -> Result<(), DecodeError> {
        self.prefixed().map(drop)
    }

    pub(super) fn topic_name(&mut self) -> Result<TopicName, DecodeError> {
        TopicName::new(self.utf8()?).map_err(DecodeError::TopicName)
    }

    pub(super) fn filter(&mut self) -> Result<Filter, DecodeError> {
        Filter::new(self.utf8()?).map_err(DecodeError::TopicFilter)
    }

    /// All remaining bytes.
    pub(super) fn remaining(&mut self) -> Bytes {
        let range = self.position..self.end;
        self.position = self.end;
        self.frame.slice(range)
    }

    /// All remaining bytes, as a copy.
    pub(super) fn remaining_copied(&mut self) -> Bytes {
        let copy = Bytes::copy_from_slice(self.rest());
        self.position = self.end;
        copy
    }

    /// The number of remaining bytes.
    pub(super) const fn remaining_len(&self) -> usize {
        self.end - self.position
    }

    /// Runs `read` on the next `length` bytes, which it must consume completely.
    pub(super) fn within(
        &mut self,
        length: usize,
        read: impl FnOnce(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let outer_end = self.end;
        if length > outer_end - self.position {
            return Err(DecodeError::Truncated);
        }
        self.end = self.position + length;
        read(self)?;
        self.finish()?;
        self.end = outer_end;
        Ok(())
    }

    fn rest(&self) -> &'a [u8] {
        self.frame.get(self.position..self.end).unwrap_or_default()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = *self.rest().first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.position += N;
        Ok(bytes)
    }

    /// The range of the bytes that follow a Two Byte Integer with their length.
    pub(super) fn prefixed(&mut self) -> Result<Range<usize>, DecodeError> {
        let length = usize::from(self.u16()?);
        if length > self.end - self.position {
            return Err(DecodeError::Truncated);
        }
        let start = self.position;
        self.position += length;
        Ok(start..self.position)
    }
}

/// The Variable Byte Integer at the front of `input` and its length in bytes; `None` if it is incomplete. It may be
/// longer than its value needs, as 3.1 and 3.1.1 permit for the Remaining Length.
pub(super) fn variable_byte_integer(input: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    // Fast path: most packets are small.
    if let Some(&byte @ 0..0x80) = input.first() {
        return Ok(Some((u32::from(byte), 1)));
    }
    let mut value = 0;
    for (index, &byte) in input.iter().take(VARIABLE_BYTE_INTEGER_LENGTH_MAX).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if input.len() < VARIABLE_BYTE_INTEGER_LENGTH_MAX { Ok(None) } else { Err(DecodeError::VariableByteInteger) }
}

/// Fails if `length` bytes are more than `value` needs as a Variable Byte Integer. [MQTT-1.5.5-1]
pub(super) const fn check_shortest(value: usize, length: usize) -> Result<(), DecodeError> {
    if length > 1 && length > variable_byte_integer_len(value) { Err(DecodeError::VariableByteInteger) } else { Ok(()) }
}

/// The number of zero bytes, counted in pieces that a byte can count, which the compiler vectorizes.
fn count_zeros(bytes: &[u8]) -> usize {
    let count = |piece: &[u8]| piece.iter().fold(0_u8, |count, byte| count.wrapping_add(u8::from(*byte == 0)));
    bytes.chunks(usize::from(u8::MAX)).map(|piece| usize::from(count(piece))).sum()
}

/// The length of `value` as a Variable Byte Integer, in bytes.
pub(super) const fn variable_byte_integer_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// `value` is at most [`REMAINING_LENGTH_MAX`](super::limits::REMAINING_LENGTH_MAX).
pub(super) fn put_variable_byte_integer(output: &mut BytesMut, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            output.put_u8(low & 0x7F);
            return;
        }
        output.put_u8(low | 0x80);
    }
}

/// Encodes a UTF-8 Encoded String, truncated at its maximum length.
pub(super) fn put_string(output: &mut BytesMut, string: &str) {
    put_binary(output, prefix_within(string, STRING_LENGTH_MAX).as_bytes());
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends between characters.
pub fn prefix_within(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Encodes Binary Data, truncated at its maximum length.
pub(super) fn put_binary(output: &mut BytesMut, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    output.put_u16(length);
    output.put_slice(bytes.get(..usize::from(length)).unwrap_or_default());
}

/// Encodes a packet: its first byte, its Remaining Length and `body`.
pub(super) fn put_packet(output: &mut BytesMut, first_byte: u8, body: &[u8]) {
    output.reserve(1 + VARIABLE_BYTE_INTEGER_LENGTH_MAX + body.len());
    output.put_u8(first_byte);
    put_variable_byte_integer(output, body.len());
    output.put_slice(body);
}
