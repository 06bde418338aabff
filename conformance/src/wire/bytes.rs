//! Byte-level building blocks of packets.

use std::fmt;

use super::kind::Kind;
use super::version::Version;

/// Something that can be sent: a packet, well-formed or not, or raw bytes.
pub trait Encode {
    /// The bytes on the wire.
    fn encode(&self, version: Version) -> Vec<u8>;

    /// The description in the trace.
    fn describe(&self) -> String;
}

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self, version: Version) -> Vec<u8> {
        (**self).encode(version)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

impl Encode for [u8] {
    fn encode(&self, _: Version) -> Vec<u8> {
        self.to_vec()
    }

    fn describe(&self) -> String {
        describe(self)
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, _: Version) -> Vec<u8> {
        self.clone()
    }

    fn describe(&self) -> String {
        describe(self)
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, _: Version) -> Vec<u8> {
        self.to_vec()
    }

    fn describe(&self) -> String {
        describe(self)
    }
}

/// Bytes that are usually text: a topic, a Client Identifier, a payload. They need not be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, with invalid UTF-8 replaced.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 80;
        match std::str::from_utf8(&self.0) {
            Ok(text) if text.len() <= SHOWN_MAX => write!(f, "{text:?}"),
            Ok(_) | Err(_) if self.0.len() > SHOWN_MAX => write!(f, "({} bytes)", self.0.len()),
            Ok(_) | Err(_) => write!(f, "[{}]", hex(&self.0)),
        }
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Text {
    fn from(bytes: &T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Test strings for every UTF-8 Encoded String.
#[derive(Debug)]
pub struct Utf8;

impl Utf8 {
    /// Ill-formed UTF-8, each with a description.
    pub const ILL_FORMED: [(&str, &[u8]); 7] = [
        ("a lone continuation byte", b"a\x80b"),
        ("a sequence that breaks off", b"a\xC3"),
        ("an overlong encoding of U+002F", b"a\xC0\xAF"),
        ("an overlong encoding of U+0000", b"a\xC0\x80"),
        ("the surrogate U+D800", b"a\xED\xA0\x80"),
        ("the surrogate U+DFFF", b"a\xED\xBF\xBF"),
        ("a code point above U+10FFFF", b"a\xF4\x90\x80\x80"),
    ];
    /// A string with the null character.
    pub const NUL: &[u8] = b"a\0b";
    /// A string that begins with U+FEFF, which a server must not strip.
    pub const BYTE_ORDER_MARK: &str = "\u{FEFF}a";
}

/// Describes raw bytes by the packet that they begin with.
fn describe(bytes: &[u8]) -> String {
    let kind = bytes.first().and_then(|first_byte| Kind::of(*first_byte));
    kind.map_or_else(|| "bytes".to_owned(), |kind| format!("{} as bytes", kind.name()))
}

/// Bytes as hexadecimal digits, abbreviated in the middle.
pub fn hex(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 160;
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ");
    match bytes.split_at_checked(SHOWN_MAX) {
        Some((head, rest)) if !rest.is_empty() => format!("{} … {} more bytes", digits(head), rest.len()),
        Some(_) | None => digits(bytes),
    }
}

/// A fixed header with the Remaining Length of `body`, followed by `body`.
pub fn frame(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    bytes.extend(variable_byte_integer(length(body)));
    bytes.extend_from_slice(body);
    bytes
}

/// The number of bytes; no case builds more than a packet can have.
pub fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A Variable Byte Integer in its shortest form. Above the maximum it takes five bytes, which is malformed.
pub fn variable_byte_integer(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let seven_bits = value.to_le_bytes().first().copied().unwrap_or_default() & 0x7F;
        value >>= 7;
        if value == 0 {
            bytes.push(seven_bits);
            return bytes;
        }
        bytes.push(seven_bits | 0x80);
    }
}

/// A UTF-8 Encoded String or Binary Data: a two-byte length, followed by the bytes.
pub fn prefixed(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes
}
