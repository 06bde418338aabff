use std::io;
use std::path::PathBuf;

use crate::bridge::{Ended, in_words};
use crate::codec::ReasonCode;
use crate::server::packet_link::LinkError;
use crate::server_trust::ClientTlsError;

/// Why a bridge is not connected.
#[derive(Debug, thiserror::Error)]
pub(super) enum BridgeError {
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    #[error("TLS: {0}")]
    Handshake(io::Error),
    #[error("WebSocket: {0}")]
    WebSocket(io::Error),
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot read or write {}: {source}", path.display())]
    Mark { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    #[error("{0:?} is not a name for TLS")]
    ServerName(String),
    #[error("no address is valid")]
    NoAddress,
    #[error("the other broker refused the connection: {}", in_words(*.0, .1.as_deref()))]
    Refused(ReasonCode, Option<String>),
    #[error("this broker refused the connection: {}", in_words(*.0, .1.as_deref()))]
    RefusedHere(ReasonCode, Option<String>),
    #[error("the other broker: {0}")]
    There(LinkError),
    #[error("this broker: {0}")]
    Here(LinkError),
    #[error("{0}")]
    Ended(#[from] Ended),
    #[error("no answer within {0} s")]
    Silent(u64),
    #[error("the shards do not answer")]
    NoAnswer,
    #[error("the other broker sent too much before the bridge was ready")]
    TooMuch,
}

impl BridgeError {
    /// Whether an old broker may have ended the connection because it does not know the bridge bit.
    pub(super) fn may_be_the_bridge_bit(&self) -> bool {
        matches!(self, Self::Refused(ReasonCode::UnsupportedProtocolVersion, _) | Self::There(LinkError::Lost(_)))
    }
    /// Whether the other broker may have refused the connection because of the Will, which is retained and has a QoS.
    pub(super) const fn may_be_the_will(&self) -> bool {
        matches!(self, Self::Refused(ReasonCode::RetainNotSupported | ReasonCode::QosNotSupported, _))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_will_is_given_up_only_where_it_is_the_reason() {
        let is_will = |code| BridgeError::Refused(code, None).may_be_the_will();
        assert!(is_will(ReasonCode::RetainNotSupported) && is_will(ReasonCode::QosNotSupported));
        assert!(!is_will(ReasonCode::NotAuthorized));
    }
}
