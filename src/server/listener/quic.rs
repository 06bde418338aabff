//! MQTT over QUIC: the client opens one bidirectional stream, which is the Network Connection, as EMQX and NanoMQ have it.
//!
//! An endpoint, with its UDP socket, belongs to the thread that accepts connections: there it receives datagrams and finds the connection of
//! each. The cryptography, the timers and the sending of a connection run on the thread of its shard, because the shard accepts it.
//!
//! | what is bounded | by | when it is full |
//! | --- | --- | --- |
//! | connections, also those in their handshake | the limits of all listeners | refused, before anything is kept for them |
//! | handshakes with addresses that may be forged | `UNPROVEN_MAX` | the client must show by a Retry that the address is its own |
//! | attempts that wait for a rate limit | `INCOMING_MAX` | refused |
//! | streams of a connection | one bidirectional stream | its client can't open more |
//! | bytes received that the connection hasn't read | `WINDOW` | its client can't send more |
//! | bytes sent that the client hasn't acknowledged | `WINDOW` | they stay in the connection's output, which has its own bound |
//! | datagrams on their way to a shard | `Intake` | they stay in the socket of the operating system, which discards more |
//!
//! A client may move to another address. What the log, limits and bans know is the address of its first datagram.

#[cfg(not(feature = "quic"))]
mod absent;
#[cfg(feature = "quic")]
mod arriving;
#[cfg(feature = "quic")]
mod error;
#[cfg(feature = "quic")]
mod intake;
#[cfg(feature = "quic")]
mod settings;
#[cfg(feature = "quic")]
mod stream;

#[cfg(not(feature = "quic"))]
pub(super) use absent::{Arriving, Intake, Listening, QuicError, QuicSettings, QuicStream, establish};
#[cfg(feature = "quic")]
pub(super) use arriving::{Arriving, Listening, establish};
#[cfg(feature = "quic")]
pub(super) use error::QuicError;
#[cfg(feature = "quic")]
pub(super) use intake::Intake;
#[cfg(feature = "quic")]
pub(super) use settings::QuicSettings;
#[cfg(feature = "quic")]
pub(super) use stream::QuicStream;
