//! Limits of the standard.

/// The largest Variable Byte Integer, and so the largest Remaining Length, in bytes. [MQTT-1.5.5]
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// The maximum length of a Variable Byte Integer in bytes.
pub const VARIABLE_BYTE_INTEGER_LENGTH_MAX: usize = 4;

/// The maximum size of a packet in bytes, including its fixed header.
pub const PACKET_SIZE_MAX: usize = 1 + VARIABLE_BYTE_INTEGER_LENGTH_MAX + REMAINING_LENGTH_MAX;

/// The maximum length of a UTF-8 Encoded String or of Binary Data in bytes, from its two-byte length. [MQTT-4.7.3-3]
pub const STRING_LENGTH_MAX: usize = 65_535;
