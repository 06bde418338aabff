use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::auth::error::PasswordCause;
use crate::auth::password_file::StoredHash;

/// The password of a user, as a row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// In a format of the password file.
    Hash(StoredHash),
    /// EMQX's: one hash of the password and the salt of another column.
    Salted { salt: String, hash: Vec<u8> },
}

impl Stored {
    /// Reads `password_hash`, with the column `salt` if the row has one.
    pub(super) fn parse(text: &str, salt: Option<&str>) -> Result<Self, PasswordCause> {
        match (salt, hexadecimal(text)) {
            (Some(salt), Some(hash)) if matches!(hash.len(), SHA256_LENGTH | SHA512_LENGTH) => {
                Ok(Self::Salted { salt: salt.to_owned(), hash })
            }
            _ => StoredHash::parse(text).map(Self::Hash),
        }
    }

    /// For unknown users, before any user is known: a hash that `oncemq passwd` could have made, at its cost.
    pub(super) fn decoy() -> Self {
        Self::Hash(StoredHash::Argon2id(DECOY.to_owned()))
    }

    /// Whether it is the hash of this password. Takes milliseconds or more, and megabytes of memory.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let (salt, hash) = match self {
            Self::Hash(hash) => return hash.verify(password),
            Self::Salted { salt, hash } => (salt.as_bytes(), hash.as_slice()),
        };
        // EMQX has a setting for the order. Whichever it was, nobody finds another text with the same hash.
        let is_same = [[salt, password], [password, salt]].map(|parts| match hash.len() {
            SHA256_LENGTH => Sha256::digest(parts.concat()).as_slice().ct_eq(hash),
            _ => Sha512::digest(parts.concat()).as_slice().ct_eq(hash),
        });
        (is_same[0] | is_same[1]).into()
    }
}

/// The bytes of a text of hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    digits
        .len()
        .is_multiple_of(2)
        .then(|| digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect())
}

/// Of nothing that anybody knows.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$b25jZW1xIG9uY2VtcQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SHA256_LENGTH: usize = 32;
const SHA512_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// From EMQX's documentation: the password is `secret`, the salt `salt`.
    const EMQX: &str = "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_salted_hash_accepts_only_its_password_in_either_order() {
        let suffix = hex(&Sha256::digest(b"secretsalt"));
        let long = hex(&Sha512::digest(b"saltsecret")).to_uppercase();
        for text in [EMQX, &suffix, &long] {
            let stored = Stored::parse(text, Some("salt")).unwrap();
            assert!(stored.verify(b"secret"), "{text}");
            for wrong in ["", "Secret", "salt", "saltsecret", "secretsalt"] {
                assert!(!stored.verify(wrong.as_bytes()), "{text} {wrong}");
            }
        }
        let unsalted = hex(&Sha256::digest(b"secret"));
        assert!(Stored::parse(&unsalted, Some("")).unwrap().verify(b"secret"));
    }

    #[test]
    fn a_hash_without_salt_column_and_other_lengths_are_refused() {
        assert_eq!(Stored::parse(EMQX, None), Err(PasswordCause::UnknownHash));
        for text in ["", "secret", "abcd", &EMQX[1..], &EMQX[2..], &format!("{EMQX}0"), "\u{e4}"] {
            assert_eq!(Stored::parse(text, Some("salt")), Err(PasswordCause::UnknownHash), "{text}");
        }
    }

    #[test]
    fn the_decoy_costs_as_much_as_a_hash_of_oncemq_and_fits_no_password() {
        let Stored::Hash(StoredHash::Argon2id(decoy)) = Stored::decoy() else { panic!("another hash") };
        let made = StoredHash::hash_password(b"sesam", b"0123456789abcdef").unwrap();
        let cost = |text: &str| text.split('$').nth(3).unwrap().to_owned();
        assert_eq!(cost(&decoy), cost(&made));
        assert!(StoredHash::parse(&decoy).is_ok() && !Stored::decoy().verify(b"sesam"));
    }

    #[test]
    fn a_hash_in_another_format_needs_no_salt() {
        let hash = "$2b$04$abcdefghijklmnopqrstuua1kk8EPGkSHbWt7XiGEPDGNQWLno8Ja";
        for salt in [None, Some("salt")] {
            let stored = Stored::parse(hash, salt).unwrap();
            assert!(stored.verify(b"sesam") && !stored.verify(b"sesame"));
        }
    }
}
