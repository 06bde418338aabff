//! The messages of a client (RFC 5802, section 7).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stringprep::saslprep;

use crate::auth::exchange::ScramExchange;

/// Why an exchange fails. No text has a part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a message of the client has more than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("a message of the client is malformed")]
    Malformed,
    #[error("the client asks for channel binding, which the mechanism does not have")]
    ChannelBinding,
    #[error("the client asks to act for another user")]
    Authorization,
    #[error("the client asks for an extension")]
    Extension,
    #[error("the user name is not one of SASLprep")]
    UserName,
    #[error("the User Name of CONNECT, or the user before, is another one")]
    OtherName,
    #[error("a message of the client does not belong to the exchange")]
    OtherExchange,
    #[error("wrong proof")]
    Proof,
    #[error("unknown user name")]
    UnknownUser,
    #[error("the system has no random numbers")]
    Random,
}

/// The first message of a client: `n,,n=user,r=nonce`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// `n,,` or `y,,`, perhaps with the user as the authorization identity.
    pub(super) header: &'a str,
    /// The user, by SASLprep.
    pub(super) user: String,
    pub(super) nonce: &'a str,
    /// The message without the header.
    pub(super) bare: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Fault> {
        let text = text(data)?;
        let (flag, rest) = text.split_once(',').ok_or(Fault::Malformed)?;
        match flag {
            // `y`: the client could bind the channel, and has seen that the broker can't.
            "n" | "y" => {}
            flag if flag.starts_with("p=") => return Err(Fault::ChannelBinding),
            _ => return Err(Fault::Malformed),
        }
        let (authorization, bare) = rest.split_once(',').ok_or(Fault::Malformed)?;
        let header = text.get(..text.len() - bare.len()).ok_or(Fault::Malformed)?;
        let mut attributes = bare.split(',');
        let mut next = || attributes.next().ok_or(Fault::Malformed);
        let name = next()?;
        if name.starts_with(MANDATORY) {
            return Err(Fault::Extension);
        }
        let user = user_name(name.strip_prefix("n=").ok_or(Fault::Malformed)?)?;
        let nonce = next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce)).ok_or(Fault::Malformed)?;
        attributes.try_for_each(check_extension)?;
        if !authorization.is_empty() && user_name(authorization.strip_prefix("a=").ok_or(Fault::Malformed)?)? != user {
            return Err(Fault::Authorization);
        }
        Ok(Self { header, user, nonce, bare })
    }
}

/// The last message of a client: `c=biws,r=nonce,p=proof`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    /// The message without the proof.
    pub(super) without_proof: &'a str,
    pub(super) proof: Vec<u8>,
}

impl<'a> ClientFinal<'a> {
    /// Reads the message, which must belong to `exchange`.
    pub(super) fn parse(data: &'a [u8], exchange: &ScramExchange) -> Result<Self, Fault> {
        let (without_proof, proof) = text(data)?.rsplit_once(",p=").ok_or(Fault::Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| Fault::Malformed)?;
        let mut attributes = without_proof.split(',');
        let mut next = |key| attributes.next().and_then(|text| text.strip_prefix(key)).ok_or(Fault::Malformed);
        let (binding, nonce) = (STANDARD.decode(next("c=")?).map_err(|_| Fault::Malformed)?, next("r=")?);
        attributes.try_for_each(check_extension)?;
        if binding != exchange.header.as_bytes() || nonce != exchange.nonce {
            return Err(Fault::OtherExchange);
        }
        Ok(Self { without_proof, proof })
    }
}

/// The name in the form in which names are compared; an empty one is none.
pub(in crate::auth) fn prepared(name: &str) -> Option<String> {
    saslprep(name).ok().filter(|name| !name.is_empty()).map(Into::into)
}

fn text(data: &[u8]) -> Result<&str, Fault> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    str::from_utf8(data).map_err(|_| Fault::Malformed)
}

/// A `saslname`: `=2C` stands for a comma and `=3D` for an equals sign.
fn user_name(text: &str) -> Result<String, Fault> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('=');
    name.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(Fault::Malformed),
        };
        name.push(sign);
        name.push_str(rest);
    }
    prepared(&name).ok_or(Fault::UserName)
}

/// Printable ASCII characters without the comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// An extension that the client does not insist on is ignored.
fn check_extension(text: &str) -> Result<(), Fault> {
    let mut characters = text.chars();
    let (name, sign, value) = (characters.next(), characters.next(), characters.as_str());
    if text.starts_with(MANDATORY) {
        return Err(Fault::Extension);
    }
    let is_extension = name.is_some_and(|name| name.is_ascii_alphabetic()) && sign == Some('=');
    (is_extension && !value.is_empty() && !value.contains('\0')).then_some(()).ok_or(Fault::Malformed)
}

/// An extension that the client insists on.
const MANDATORY: &str = "m=";

/// Names and nonces have far less. What an exchange remembers has a few times as much.
const MESSAGE_BYTES_MAX: usize = 1_024;
