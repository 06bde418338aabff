//! The two steps of an exchange.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::file::Credentials;
use super::message::{ClientFinal, ClientFirst, Fault, prepared};
use crate::auth::exchange::{Exchange, ScramExchange};
use crate::auth::provider::{Refusal, Request, Verdict};
use crate::codec::ReasonCode;

/// The answer to the first message: the salt and the iterations of the user.
pub(super) fn challenge(stored: &Credentials, first: ClientFirst<'_>, request: &Request) -> Verdict {
    let is_same = |name: &str| prepared(name).is_some_and(|name| name == first.user);
    if request.user_name.as_deref().is_some_and(|name| !is_same(name)) {
        return refused(&Fault::OtherName, Some(&first.user));
    }
    let mut random = [0; NONCE_BYTES];
    if getrandom::fill(&mut random).is_err() {
        return refused(&Fault::Random, None);
    }
    let nonce = format!("{}{}", first.nonce, STANDARD.encode(random));
    let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&stored.salt), stored.iterations);
    let messages = format!("{},{server_first},", first.bare);
    let exchange = ScramExchange { user: first.user, header: first.header.to_owned(), nonce, messages };
    let authentication_data = Some(Bytes::from(server_first));
    Verdict::Continue { authentication_data, exchange: Exchange::scram(exchange) }
}

/// Verifies the proof in the last message of the client. Returns the last message of the broker, which proves that it knows the credentials.
pub(super) fn finish(stored: &Credentials, exchange: &ScramExchange, data: &[u8]) -> Result<String, Fault> {
    let message = ClientFinal::parse(data, exchange)?;
    let mechanism = stored.mechanism;
    let signed = [exchange.messages.as_bytes(), message.without_proof.as_bytes()];
    let client_signature = mechanism.hmac(&stored.stored_key, &signed);
    // A proof of another length gives a key of another hash.
    let client_key: Vec<u8> = message.proof.iter().zip(&client_signature).map(|(a, b)| a ^ b).collect();
    let is_right =
        mechanism.hash(&client_key).ct_eq(&stored.stored_key) & message.proof.len().ct_eq(&mechanism.bytes());
    let server_signature = mechanism.hmac(&stored.server_key, &signed);
    bool::from(is_right).then(|| format!("v={}", STANDARD.encode(server_signature))).ok_or(Fault::Proof)
}

/// The Reason Code does not tell an unknown user from a wrong proof.
pub(super) fn refused(fault: &Fault, user: Option<&str>) -> Verdict {
    let reason_code = match fault {
        Fault::UnknownUser | Fault::Proof | Fault::OtherName => ReasonCode::BadUserNameOrPassword,
        Fault::Random => ReasonCode::ServerUnavailable,
        Fault::TooLarge
        | Fault::Malformed
        | Fault::ChannelBinding
        | Fault::Authorization
        | Fault::Extension
        | Fault::UserName
        | Fault::OtherExchange => ReasonCode::NotAuthorized,
    };
    // The name has no control characters.
    let of_user = user.map(|user| format!(" (user {user})")).unwrap_or_default();
    Verdict::Refuse(Refusal { reason_code, cause: format!("SCRAM: {fault}{of_user}").into() })
}

/// As many as PostgreSQL has; 24 characters in base64.
const NONCE_BYTES: usize = 18;
