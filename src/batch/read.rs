use bytes::Bytes;

use super::malformed::Malformed;
use super::message::{BatchMessage, Terms};
use super::{json, packets};

/// The Content Type of a JSON array, which is assumed without one.
pub const JSON: &str = "application/json";

/// The Content Type of MQTT 5.0 PUBLISH packets.
pub const PACKETS: &str = "application/vnd.oncemq.mqtt5-publish";

/// Reads the messages of a batch.
///
/// # Errors
/// The Content Type is another one, there are no messages or too many, or one of them can't be read.
pub fn read(payload: &Bytes, content_type: Option<&str>, terms: Terms) -> Result<Vec<BatchMessage>, Malformed> {
    let messages = match content_type.map(essence) {
        None => json::read(payload, terms)?,
        Some(name) if name.eq_ignore_ascii_case(JSON) => json::read(payload, terms)?,
        Some(name) if name.eq_ignore_ascii_case(PACKETS) => packets::read(payload, terms)?,
        Some(_) => return Err(Malformed::whole(format!("the Content Type of a batch is {JSON} or {PACKETS}"))),
    };
    if messages.is_empty() { Err(Malformed::whole("it has no messages")) } else { Ok(messages) }
}

/// A media type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;

    const TERMS: Terms = Terms { messages_max: 3, qos: Qos::AtLeastOnce };

    #[test]
    fn the_content_type_says_what_the_payload_is() {
        let (json, packets) = (Bytes::from_static(br#"[{"topic":"t"}]"#), Bytes::from_static(b"\x30\x04\0\x01t\0"));
        for (payload, content_type, is_read) in [
            (&json, None, true),
            (&json, Some("application/json"), true),
            (&json, Some("Application/JSON; charset=utf-8"), true),
            (&json, Some(PACKETS), false),
            (&packets, Some(PACKETS), true),
            (&packets, None, false),
            (&json, Some(""), false),
            (&json, Some("text/plain"), false),
        ] {
            assert_eq!(read(payload, content_type, TERMS).is_ok(), is_read, "{content_type:?}");
        }
    }
}
