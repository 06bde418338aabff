use super::form::TOKEN_BYTES_MAX;
use crate::codec::ReasonCode;

/// Why a token is refused. No text has a part of the token, which may be valid for others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the token is malformed")]
    Malformed,
    #[error("the algorithm of the token is not one of those that the provider accepts")]
    Algorithm,
    #[error("the keys that verify tokens were not fetched yet, or too long ago")]
    NoKeys,
    #[error(
        "no key of the issuer has the kid of the token, or it has none and there is not exactly one key for its algorithm"
    )]
    UnknownKey,
    #[error("no key of the issuer has the kid of the token, and newer keys could not be fetched")]
    NoNewKeys,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the token has no {0}")]
    Missing(String),
    #[error("the claim {0} of the token has a wrong type")]
    Type(String),
    #[error("the claim {0} of the token does not have the required value")]
    Value(String),
    #[error("the token is for an audience, and required_claims has no aud")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the claim {claim} of the token is not a list of valid topic filters: {cause}")]
    Topics { claim: String, cause: String },
}

impl Fault {
    /// The Reason Code that refuses its client.
    pub(super) const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::NoKeys | Self::NoNewKeys => ReasonCode::ServerUnavailable,
            Self::TooLarge
            | Self::Malformed
            | Self::Algorithm
            | Self::UnknownKey
            | Self::Signature
            | Self::Missing(_)
            | Self::Type(_)
            | Self::Value(_)
            | Self::Audience
            | Self::Expired
            | Self::NotYet
            | Self::Topics { .. } => ReasonCode::BadUserNameOrPassword,
        }
    }
}
