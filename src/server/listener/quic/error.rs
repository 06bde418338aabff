use std::io;

use quinn::{ConnectionError, ReadError, VarInt, WriteError};

/// Why a QUIC connection did not get as far as MQTT.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum QuicError {
    /// The client closed the connection without an error before it opened a stream, as a health check does.
    #[error("closed before it opened a stream")]
    Silent,
    /// The connection failed.
    #[error("{}", described(.0))]
    Lost(#[from] ConnectionError),
}

impl QuicError {
    /// Whether the client has sent nothing.
    pub(in crate::server::listener) const fn is_silence(&self) -> bool {
        matches!(self, Self::Silent)
    }

    /// The end of a connection before its stream.
    pub(super) fn before_stream(error: ConnectionError) -> Self {
        if is_regular_end(&error) { Self::Silent } else { Self::Lost(error) }
    }
}

/// Whether the client has closed the connection without an error.
pub(super) fn is_regular_end(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(0))
}

/// The error of a read; `None`: the end of the stream.
pub(super) fn of_read(error: ReadError) -> Option<io::Error> {
    match error {
        ReadError::ConnectionLost(error) if is_regular_end(&error) => None,
        ReadError::ConnectionLost(error) => Some(of_connection(&error)),
        ReadError::Reset(code) => Some(reset("the client reset the stream", code)),
        error @ (ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => {
            Some(io::Error::new(io::ErrorKind::NotConnected, error))
        }
    }
}

/// The error of a write.
pub(super) fn of_write(error: WriteError) -> io::Error {
    match error {
        WriteError::ConnectionLost(error) if is_regular_end(&error) => io::ErrorKind::BrokenPipe.into(),
        WriteError::ConnectionLost(error) => of_connection(&error),
        WriteError::Stopped(code) => reset("the client stopped the stream", code),
        error @ (WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
            io::Error::new(io::ErrorKind::NotConnected, error)
        }
    }
}

fn of_connection(error: &ConnectionError) -> io::Error {
    match error {
        ConnectionError::TimedOut => io::ErrorKind::TimedOut.into(),
        ConnectionError::Reset => io::ErrorKind::ConnectionReset.into(),
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => io::Error::other(described(error)),
    }
}

fn reset(what: &str, code: VarInt) -> io::Error {
    io::Error::other(format!("{what} with code {code}"))
}

/// What happened, without the text that the client may have sent with it.
fn described(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            format!("the client closed the connection with code {}", close.error_code)
        }
        ConnectionError::ConnectionClosed(close) => format!("the client ended the connection: {}", close.error_code),
        error @ (ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted) => error.to_string(),
    }
}
