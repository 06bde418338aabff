use super::form::TOKEN_BYTES_MAX;

/// Why a token is refused. No text has a part of the token, which may be valid for others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the token is malformed")]
    Malformed,
    #[error("the algorithm of the token is not one of those that the provider accepts")]
    Algorithm,
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
