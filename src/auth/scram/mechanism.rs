use pbkdf2::hmac::{Hmac, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};

/// The hash function of SCRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    /// The mechanism of this name: an Authentication Method, or the beginning of the credentials of a user. Those with `-PLUS`, which bind
    /// the channel, are not known.
    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| mechanism.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The length of its hashes.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    pub(super) fn hash(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        }
    }

    /// HMAC over the parts of a text.
    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => hmac::<Hmac<Sha256>>(key, parts),
            Self::Sha512 => hmac::<Hmac<Sha512>>(key, parts),
        }
    }

    /// `Hi` of RFC 5802: the costly step, which clients and `oncemq passwd` do.
    pub(super) fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut salted = vec![0; self.bytes()];
        match self {
            Self::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted),
            Self::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted),
        }
        salted
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac<M: Mac + pbkdf2::hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as Mac>::new_from_slice(key).expect("a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}
