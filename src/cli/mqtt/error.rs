use std::io;

use oncemq::codec::{DecodeError, ReasonCode};
use oncemq::server_trust::ClientTlsError;

/// Why `oncemq pub` or `oncemq sub` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MqttError {
    /// The command line can't be right.
    #[error("{0}")]
    Usage(String),
    /// A certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// No connection.
    #[error("{place}: {source}")]
    Unreachable { place: String, source: io::Error },
    /// CONNACK with an error.
    #[error("the broker refused the connection: {}", in_words(*reason_code, reason_string.as_deref()))]
    Refused { reason_code: ReasonCode, reason_string: Option<String> },
    /// DISCONNECT of the broker.
    #[error("the broker ended the connection: {}", in_words(*reason_code, reason_string.as_deref()))]
    Disconnected { reason_code: ReasonCode, reason_string: Option<String> },
    /// The connection ended without DISCONNECT.
    #[error("the connection to the broker was lost: {0}")]
    Lost(io::Error),
    /// The broker does not answer.
    #[error("the broker did not answer within {0} seconds")]
    Silent(u64),
    /// The broker breaks the protocol.
    #[error("the broker sent a packet that is not valid: {0}")]
    Protocol(#[from] DecodeError),
    /// Something that was asked for was not done.
    #[error("{0}")]
    NotDone(String),
    /// Messages that were printed are not acknowledged completely, because a second signal came or the broker does not answer.
    #[error("messages that were printed could not be acknowledged completely")]
    Unfinished,
    /// The time of `-W` has passed.
    #[error("the time of -W has passed")]
    Elapsed,
    /// Standard input, a file or standard output.
    #[error("{what}: {source}")]
    File { what: String, source: io::Error },
}

impl MqttError {
    /// The exit code: 1 not done, 2 command line, 7 no connection, 27 `-W` as in mosquitto, otherwise the Reason Code of the broker.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Tls(_) => 2,
            Self::Refused { reason_code, .. } | Self::Disconnected { reason_code, .. } if reason_code.is_error() => {
                reason_code.number()
            }
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Disconnected { .. }
            | Self::Lost(_)
            | Self::Silent(_)
            | Self::Protocol(_) => 7,
            Self::NotDone(_) | Self::Unfinished | Self::File { .. } => 1,
            Self::Elapsed => 27,
        }
    }

    /// Whether the connection is still there, so that DISCONNECT can end it. Otherwise the broker would publish the Will.
    pub(super) const fn leaves_connection(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::NotDone(_) | Self::Elapsed | Self::File { .. })
    }
}

/// A Reason Code with the sentence of the broker, if it sent one. Control characters are escaped for the terminal.
pub(super) fn in_words(reason_code: ReasonCode, reason_string: Option<&str>) -> String {
    match reason_string {
        Some(sentence) => format!("{reason_code} (0x{:02X}): {}", reason_code.number(), sentence.escape_debug()),
        None => format!("{reason_code} (0x{:02X})", reason_code.number()),
    }
}
