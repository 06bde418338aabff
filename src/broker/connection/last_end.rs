//! How, and why, a connection ended: what is kept of it for operators.

use std::num::NonZeroU8;

use crate::codec::ReasonCode;

/// How a Network Connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectKind {
    /// The client sent DISCONNECT.
    Disconnect,
    /// The transport was closed or failed.
    Closed,
    /// The client sent nothing within one and a half times its Keep Alive.
    KeepAlive,
    /// Another connection took the Session over.
    Takeover,
    /// The client broke the protocol.
    ProtocolError,
    /// An operator ended it.
    Kicked,
    /// The client may not be connected any more: after a reload of users, certificates or rules, or a failed re-authentication.
    NotAuthorized,
    /// A limit of the broker: memory, rate, a quota, or a pause that took too long.
    Limit,
    /// The broker stopped.
    Shutdown,
    /// It ended with the previous run of the broker, which did not record its end, because it crashed.
    Crash,
    /// It ended in a previous run of the broker: the store has only the time.
    Unknown,
}

impl DisconnectKind {
    /// Its name in the HTTP API; `None` for [`DisconnectKind::Unknown`].
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Disconnect => "disconnect",
            Self::Closed => "closed",
            Self::KeepAlive => "keep-alive",
            Self::Takeover => "takeover",
            Self::ProtocolError => "protocol-error",
            Self::Kicked => "kicked",
            Self::NotAuthorized => "not-authorized",
            Self::Limit => "limit",
            Self::Shutdown => "shutdown",
            Self::Crash => "crash",
            Self::Unknown => return None,
        })
    }

    /// How a connection ends to which the broker sends DISCONNECT with this Reason Code, if the caller does not know better.
    pub(in crate::broker) fn of(reason_code: ReasonCode) -> Self {
        let kind = KINDS.iter().find(|(code, _)| *code == reason_code);
        kind.map_or(Self::ProtocolError, |(_, kind)| *kind)
    }
}

/// A sentence about a client, at most [`TEXT_MAX`] bytes of it. A common one is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) enum ReasonText {
    /// The place in [`KNOWN`].
    Known(u8),
    /// Another sentence.
    Own(Box<str>),
}

impl ReasonText {
    pub(in crate::broker) fn of(text: &str) -> Self {
        let known = KNOWN.iter().position(|known| *known == text).and_then(|place| u8::try_from(place).ok());
        known.map_or_else(|| Self::Own(text.get(..end_of(text)).unwrap_or_default().into()), Self::Known)
    }

    pub(in crate::broker) fn as_str(&self) -> &str {
        match self {
            Self::Known(place) => KNOWN.get(usize::from(*place)).copied().unwrap_or_default(),
            Self::Own(text) => text,
        }
    }

    /// The bytes on the heap.
    pub(in crate::broker) const fn heap_bytes(&self) -> usize {
        match self {
            Self::Known(_) => 0,
            Self::Own(text) => text.len(),
        }
    }
}

/// The end of what is kept of a sentence: between two characters.
fn end_of(text: &str) -> usize {
    (0..=text.len().min(TEXT_MAX)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// The end of the last connection of a Session, but for its time and a sentence that is not common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct LastEnd {
    pub(in crate::broker) kind: DisconnectKind,
    /// `None`: the transport ended, without DISCONNECT.
    pub(in crate::broker) reason_code: Option<ReasonCode>,
    /// The place in [`KNOWN`] plus 1; `None`: the sentence is elsewhere, or not known.
    known: Option<NonZeroU8>,
}

impl LastEnd {
    /// The end that a previous run of the broker recorded, or did not.
    pub(in crate::broker) const fn restored(is_recorded: bool) -> Self {
        let kind = if is_recorded { DisconnectKind::Unknown } else { DisconnectKind::Crash };
        Self { kind, reason_code: None, known: None }
    }

    /// An end, and its sentence if that is not a common one.
    pub(in crate::broker) fn new(
        kind: DisconnectKind,
        reason_code: Option<ReasonCode>,
        text: ReasonText,
    ) -> (Self, Option<Box<str>>) {
        let (known, own) = match text {
            ReasonText::Known(place) => (NonZeroU8::new(place.saturating_add(1)), None),
            ReasonText::Own(text) => (None, Some(text)),
        };
        (Self { kind, reason_code, known }, own)
    }

    /// The sentence, if it is a common one.
    pub(in crate::broker) fn known(&self) -> Option<&'static str> {
        KNOWN.get(usize::from(self.known?.get() - 1)).copied()
    }
}

const KINDS: [(ReasonCode, DisconnectKind); 10] = [
    (ReasonCode::KeepAliveTimeout, DisconnectKind::KeepAlive),
    (ReasonCode::SessionTakenOver, DisconnectKind::Takeover),
    (ReasonCode::AdministrativeAction, DisconnectKind::Kicked),
    (ReasonCode::NotAuthorized, DisconnectKind::NotAuthorized),
    (ReasonCode::BadUserNameOrPassword, DisconnectKind::NotAuthorized),
    (ReasonCode::Banned, DisconnectKind::NotAuthorized),
    (ReasonCode::ServerBusy, DisconnectKind::Limit),
    (ReasonCode::QuotaExceeded, DisconnectKind::Limit),
    (ReasonCode::ServerShuttingDown, DisconnectKind::Shutdown),
    (ReasonCode::UseAnotherServer, DisconnectKind::Shutdown),
];
/// Common sentences. A sentence that is missing here takes a few bytes for each Session that ended with it.
const KNOWN: [&str; 24] = [
    "DISCONNECT",
    "end of stream",
    "connection reset",
    "connection aborted",
    "broken pipe",
    "no answer from the network",
    "write timeout",
    "Keep Alive timeout",
    "session taken over by another connection",
    "broker is shutting down",
    "disconnected by an operator",
    "memory_max is nearly reached",
    "its Session Expiry Interval has passed",
    "CONNECT with Clean Start",
    "CONNECT of a verified user",
    "forgotten by an operator",
    "queue_full",
    "slow_receiver",
    "packet_too_large",
    "not_authorized",
    "unreadable",
    "will_refused",
    "banned",
    "wrong password",
];
/// The bytes of a sentence that are kept.
const TEXT_MAX: usize = 256;

// It is in each Session.
const _: () = assert!(size_of::<Option<LastEnd>>() == 3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_sentence_is_not_stored_and_a_long_one_is_cut_between_characters() {
        for text in KNOWN {
            let known = ReasonText::of(text);
            assert_eq!((known.heap_bytes(), known.as_str()), (0, text));
            let (end, own) = LastEnd::new(DisconnectKind::Closed, None, known);
            assert_eq!((end.known(), own), (Some(text), None));
        }
        let own = ReasonText::of(&"ü".repeat(200));
        assert_eq!((own.heap_bytes(), own.as_str()), (256, &*"ü".repeat(128)));
        let (end, own) = LastEnd::new(DisconnectKind::ProtocolError, Some(ReasonCode::ProtocolError), own);
        assert_eq!((end.known(), own.map(|text| text.len())), (None, Some(256)));
    }

    #[test]
    fn a_reason_code_tells_how_the_broker_ends_a_connection() {
        for (reason_code, name) in [
            (ReasonCode::KeepAliveTimeout, "keep-alive"),
            (ReasonCode::SessionTakenOver, "takeover"),
            (ReasonCode::AdministrativeAction, "kicked"),
            (ReasonCode::ServerShuttingDown, "shutdown"),
            (ReasonCode::MalformedPacket, "protocol-error"),
            (ReasonCode::QuotaExceeded, "limit"),
            (ReasonCode::NotAuthorized, "not-authorized"),
        ] {
            assert_eq!(DisconnectKind::of(reason_code).name(), Some(name));
        }
    }
}
