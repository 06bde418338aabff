use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// The mode of the file of a Unix socket, in octal: `"0660"`. Who may write to it may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// A mode that lets the owner connect, and has no bits but those for reading and writing.
    pub const fn new(bits: u32) -> Option<Self> {
        if bits & OWNER == OWNER && bits & !(READ_AND_WRITE) == 0 { Some(Self(bits)) } else { None }
    }

    /// The bits of the mode.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl Default for SocketMode {
    /// The owner only: anonymous clients are accepted over Unix sockets by default.
    fn default() -> Self {
        Self(OWNER)
    }
}

impl Serialize for SocketMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Octal)
    }
}

struct Octal;

impl Visitor<'_> for Octal {
    type Value = SocketMode;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mode in octal from \"0600\" to \"0666\", without execute bits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SocketMode, E> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal = digits.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(digits, 8).ok().filter(|_| is_octal).and_then(SocketMode::new);
        mode.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    /// `0o660` in TOML. A decimal 660 is refused: it has other bits.
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<SocketMode, E> {
        let mode = u32::try_from(number).ok().and_then(SocketMode::new);
        mode.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
}

/// The owner reads and writes.
const OWNER: u32 = 0o600;
const READ_AND_WRITE: u32 = 0o666;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Option<u32> {
        let table: Result<std::collections::BTreeMap<String, SocketMode>, _> =
            toml::from_str(&format!("mode = {value}"));
        table.ok().map(|table| table["mode"].bits())
    }

    #[test]
    fn a_mode_is_octal() {
        for (text, bits) in [("\"0660\"", 0o660), ("\"600\"", 0o600), ("\"0o666\"", 0o666), ("0o620", 0o620)] {
            assert_eq!(parse(text), Some(bits), "{text}");
        }
        for text in [
            "660", "600", "666", "\"0770\"", "\"0060\"", "\"0400\"", "\"-600\"", "\"+600\"", "\"0680\"", "\"1600\"",
            "\"\"", "true",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_written_mode_is_read_as_the_same() {
        for bits in [0o600, 0o606, 0o660, 0o666] {
            let mode = SocketMode::new(bits).unwrap();
            assert_eq!(parse(&toml::Value::try_from(mode).unwrap().to_string()), Some(bits));
        }
    }
}
