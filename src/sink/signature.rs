use std::fmt::Write as _;

use pbkdf2::hmac::digest::KeyInit;
use pbkdf2::hmac::{Hmac, Mac};
use sha2::Sha256;

/// The value of the header that signs a request: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of the seconds, a full stop and the body. The time is a part
/// of what is signed, so that a receiver can refuse a request that somebody has recorded.
pub fn signature(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let mut text = format!("t={seconds},v1=");
    // HMAC takes a key of any length.
    if let Ok(mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(secret) {
        let code = mac.chain_update(seconds.to_string()).chain_update(b".").chain_update(body).finalize().into_bytes();
        for byte in code {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_other_implementations() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
        assert_eq!(signature(b"0123456789abcdef", 1_700_000_000, br#"{"a":1}"#), expected);
    }
}
