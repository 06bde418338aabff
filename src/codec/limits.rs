//! What the standard fixes.

/// The largest Variable Byte Integer, and so the largest Remaining Length. [MQTT-1.5.5]
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// The most bytes a Variable Byte Integer takes.
pub const VARIABLE_BYTE_INTEGER_LENGTH_MAX: usize = 4;

/// The largest packet there can be, its fixed header included.
pub const PACKET_SIZE_MAX: usize = 1 + VARIABLE_BYTE_INTEGER_LENGTH_MAX + REMAINING_LENGTH_MAX;

/// The most bytes of a UTF-8 Encoded String or of Binary Data: their length is two bytes. [MQTT-4.7.3-3]
pub const STRING_LENGTH_MAX: usize = 65_535;
