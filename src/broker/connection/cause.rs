use bytestring::ByteString;

use crate::codec::{DecodeError, ReasonCode};
use crate::session::ProtocolError;

/// Why a client is refused or its connection ends: a sentence for the log, and one for the client, its Reason String.
///
/// A fixed sentence of the broker, and an error in the client's own packet, are the same for both. Every other sentence
/// is made by a constructor that says what the client may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct Cause {
    log: ByteString,
    /// `None`: the same as `log`.
    client: Option<&'static str>,
}

impl Cause {
    /// A cause with details that only the operator may know. The client gets `client`.
    pub(in crate::broker) fn private(log: impl Into<ByteString>, client: &'static str) -> Self {
        Self { log: log.into(), client: Some(client) }
    }

    /// The refusal of a provider. `log` may tell whether a user exists, or which rule or file decided, so the client gets
    /// a sentence that depends on the Reason Code alone.
    pub(in crate::broker) fn of_refusal(reason_code: ReasonCode, log: ByteString) -> Self {
        let sentence = REFUSALS.iter().find(|(code, _)| *code == reason_code);
        Self::private(log, sentence.map_or_else(|| reason_code.name(), |(_, sentence)| sentence))
    }

    /// The Reason String.
    pub(in crate::broker) fn for_client(&self) -> &str {
        self.client.unwrap_or(&self.log)
    }

    /// The sentence for the log.
    pub(in crate::broker) fn into_log(self) -> ByteString {
        self.log
    }
}

impl From<&'static str> for Cause {
    fn from(sentence: &'static str) -> Self {
        Self { log: ByteString::from_static(sentence), client: None }
    }
}

impl From<DecodeError> for Cause {
    fn from(error: DecodeError) -> Self {
        Self { log: error.to_string().into(), client: None }
    }
}

impl From<ProtocolError> for Cause {
    fn from(error: ProtocolError) -> Self {
        Self { log: error.to_string().into(), client: None }
    }
}

const REFUSALS: [(ReasonCode, &str); 5] = [
    (ReasonCode::BadUserNameOrPassword, "User Name or Password is wrong"),
    (ReasonCode::NotAuthorized, "not authorized to connect"),
    (ReasonCode::Banned, "this client is banned"),
    (ReasonCode::BadAuthenticationMethod, "the Authentication Method is not supported"),
    (ReasonCode::ServerBusy, "too many clients connect at the same time; try again later"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_does_not_tell_the_client_what_it_found() {
        let causes = ["unknown user name", "wrong password", "user name without a password"];
        for log in causes {
            let cause = Cause::of_refusal(ReasonCode::BadUserNameOrPassword, log.into());
            assert_eq!(cause.for_client(), "User Name or Password is wrong");
            assert_eq!(cause.into_log(), log);
        }
        let cause = Cause::of_refusal(ReasonCode::UnspecifiedError, "/etc/oncemq/passwords: line 3".into());
        assert_eq!(cause.for_client(), "Unspecified error");
    }

    #[test]
    fn an_error_in_the_clients_packet_is_told_as_it_is_logged() {
        let error = DecodeError::PacketTooLarge { size: 300, maximum_packet_size: 256 };
        assert_eq!(Cause::from(error).for_client(), "packet of 300 bytes exceeds the maximum of 256");
        assert_eq!(Cause::from("sessions_max reached").for_client(), "sessions_max reached");
    }
}
