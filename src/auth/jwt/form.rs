use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Whether these bytes are a token, valid or not: three parts in base64url, of which the first is a JSON object, or too large to look.
pub(super) fn has_form(bytes: &[u8]) -> bool {
    let is_part = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let mut parts = bytes.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    [header, payload, signature].into_iter().all(is_part) && (bytes.len() > TOKEN_BYTES_MAX || object(header).is_some())
}

/// The JSON object in a part of a token.
pub(super) fn object(part: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Tokens of identity providers have up to a few KiB. A password may have 64 KiB.
pub(super) const TOKEN_BYTES_MAX: usize = 16 << 10;
