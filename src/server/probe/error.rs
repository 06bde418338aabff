use std::io;
use std::path::PathBuf;

use crate::codec::{DecodeError, ReasonCode};
use crate::server::packet_link::LinkError;
use crate::server_trust::ClientTlsError;

/// Why the probe has no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("cannot connect to {target}: {source}")]
    Unreachable { target: String, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    #[error("{0:?} is not a name for TLS")]
    ServerName(String),
    #[error("the connection was refused: {}", in_words(*.0, .1.as_deref()))]
    Refused(ReasonCode, Option<String>),
    #[error("the subscription to {topic} was refused: {}", in_words(*code, reason.as_deref()))]
    SubscriptionRefused { topic: String, code: ReasonCode, reason: Option<String> },
    #[error("the broker ended the connection: {}", in_words(*.0, .1.as_deref()))]
    Disconnected(ReasonCode, Option<String>),
    #[error("the connection ended: {0}")]
    Lost(io::Error),
    #[error("the broker sent a packet that is not valid: {0}")]
    Protocol(#[from] DecodeError),
    #[error("no answer to the connection in time")]
    Silent,
}

impl From<LinkError> for ProbeError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Lost(error) => Self::Lost(error),
            LinkError::Protocol(error) => Self::Protocol(error),
        }
    }
}

/// A Reason Code with the sentence of the broker, if it sent one.
pub(super) fn in_words(code: ReasonCode, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{code} (0x{:02X}): {reason}", code.number()),
        None => format!("{code} (0x{:02X})", code.number()),
    }
}
