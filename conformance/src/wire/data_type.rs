//! The data types of properties.

/// The encoding of a property's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// One byte.
    Byte,
    /// Two bytes, big-endian.
    TwoByte,
    /// Four bytes, big-endian.
    FourByte,
    /// One to four bytes.
    VariableByte,
    /// A length and UTF-8.
    Text,
    /// A length and bytes.
    Binary,
    /// Two strings.
    Pair,
}
