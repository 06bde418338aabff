//! The User Properties that a bridge adds to a message and takes away.

use std::borrow::Cow;

use bytestring::ByteString;

use crate::codec::limits::STRING_LENGTH_MAX;
use crate::codec::{MessageProperties, MessageProperty};

/// Who a message passes on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hops<'a> {
    /// The broker that it comes from, which is added to those that it has passed; `None`: not known.
    pub(super) from: Option<&'a str>,
    /// The brokers that must not be among those that it has passed: it would come back to one of them.
    pub(super) refused: [Option<&'a str>; 2],
    /// Whether the identity that the broker has added becomes the `dedup-id`.
    pub(super) identity: Identity,
}

/// What becomes of the User Property `message-id` that a broker puts in front of the others for the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// There is none.
    Absent,
    /// It becomes the `dedup-id`.
    Deduplicates,
}

/// A message that has passed one of the brokers that it must not have passed, or more than its property has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Looped;

/// The properties of a message on its way. The `dedup-id` of its publisher is taken away: the other broker would compare it with those of other
/// publishers, because the bridge is one publisher there, and discard messages that are no repeats.
pub(super) fn on_the_way(properties: &MessageProperties, hops: Hops<'_>) -> Result<MessageProperties, Looped> {
    let mut kept = Vec::new();
    let mut passed: Cow<'_, str> = "".into();
    let mut message_id = None;
    for property in properties.iter() {
        match property {
            MessageProperty::UserProperty(name, _) if &*name == DEDUP_ID => {}
            MessageProperty::UserProperty(name, value)
                if &*name == MESSAGE_ID && hops.identity != Identity::Absent && message_id.is_none() =>
            {
                message_id = Some(value);
            }
            MessageProperty::UserProperty(name, value) if &*name == VIA => {
                let all = passed.to_mut();
                if !all.is_empty() {
                    all.push(',');
                }
                all.push_str(&value);
            }
            other @ (MessageProperty::PayloadFormatIndicator(_)
            | MessageProperty::ContentType(_)
            | MessageProperty::ResponseTopic(_)
            | MessageProperty::CorrelationData(_)
            | MessageProperty::UserProperty(..)) => kept.push(other),
        }
    }
    let is_refused = |broker: &str| hops.refused.contains(&Some(broker));
    if !passed.is_empty() && (passed.split(',').any(is_refused) || passed.split(',').count() >= HOPS_MAX) {
        return Err(Looped);
    }
    let mut via = passed.into_owned();
    if let Some(from) = hops.from {
        if !via.is_empty() {
            via.push(',');
        }
        via.push_str(from);
    }
    // Such a string would be cut short on its way, and the names at its end be lost.
    if via.len() > STRING_LENGTH_MAX {
        return Err(Looped);
    }
    if !via.is_empty() {
        kept.push(user_property(VIA, via.into()));
    }
    if let Some(id) = message_id.filter(|_| hops.identity == Identity::Deduplicates) {
        kept.push(user_property(DEDUP_ID, id));
    }
    Ok(MessageProperties::from_properties(kept))
}

fn user_property(name: &'static str, value: ByteString) -> MessageProperty {
    MessageProperty::UserProperty(ByteString::from_static(name), value)
}

/// The User Property with the brokers that a message has passed, with commas between them.
const VIA: &str = "bridge-via";
const DEDUP_ID: &str = "dedup-id";
const MESSAGE_ID: &str = "message-id";
/// The User Property of CONNACK in which a broker tells a bridge that asks for it by which name it is in `bridge-via`. A bridge asks with the
/// value `ask` in CONNECT.
pub const BRIDGE_ID: &str = "bridge-id";
/// A longer way is a loop through brokers that remove what a bridge adds to it.
const HOPS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const HOPS: Hops<'static> =
        Hops { from: Some("me"), refused: [Some("me"), Some("you")], identity: Identity::Absent };

    fn of(properties: &[(&'static str, &str)]) -> MessageProperties {
        MessageProperties::from_properties(properties.iter().map(|(name, value)| user_property(name, (*value).into())))
    }

    #[test]
    fn a_message_passes_with_the_broker_that_it_comes_from_and_its_own_properties() {
        let sent = of(&[("message-id", "1-1"), ("a", "b"), ("dedup-id", "7"), ("message-id", "its own"), ("a", "c")]);
        let expected =
            of(&[("a", "b"), ("message-id", "its own"), ("a", "c"), ("bridge-via", "me"), ("dedup-id", "1-1")]);
        let hops = Hops { identity: Identity::Deduplicates, ..HOPS };
        assert_eq!(on_the_way(&sent, hops), Ok(expected));
        assert_eq!(
            on_the_way(&of(&[("message-id", "1-1")]), hops),
            Ok(of(&[("bridge-via", "me"), ("dedup-id", "1-1")]))
        );
        let hops = Hops { from: None, identity: Identity::Absent, ..HOPS };
        let untouched = of(&[("message-id", "1-1"), ("bridge-via", "x")]);
        assert_eq!(on_the_way(&untouched, hops), Ok(untouched));
        assert_eq!(on_the_way(&of(&[]), hops), Ok(of(&[])));
    }

    #[test]
    fn a_message_does_not_come_back_to_a_broker_that_it_has_passed() {
        assert_eq!(on_the_way(&of(&[("bridge-via", "x,y")]), HOPS), Ok(of(&[("bridge-via", "x,y,me")])));
        for via in ["me", "you", "x,you,y", "x,me"] {
            assert_eq!(on_the_way(&of(&[("bridge-via", via)]), HOPS), Err(Looped), "{via}");
        }
        assert_eq!(on_the_way(&of(&[("bridge-via", "x"), ("bridge-via", "you")]), HOPS), Err(Looped));
        assert!(on_the_way(&of(&[("bridge-via", &["x"; 15].join(","))]), HOPS).is_ok());
        assert_eq!(on_the_way(&of(&[("bridge-via", &["x"; 16].join(","))]), HOPS), Err(Looped));
    }
    #[test]
    fn a_name_that_has_no_room_does_not_get_lost() {
        let name = "x".repeat(STRING_LENGTH_MAX - 3);
        assert!(on_the_way(&of(&[("bridge-via", &name)]), HOPS).is_ok());
        assert_eq!(on_the_way(&of(&[("bridge-via", &format!("{name}x"))]), HOPS), Err(Looped));
        let nameless = Hops { from: None, ..HOPS };
        assert!(on_the_way(&of(&[("bridge-via", &name), ("bridge-via", "yy")]), nameless).is_ok());
        assert_eq!(on_the_way(&of(&[("bridge-via", &name), ("bridge-via", "yyy")]), nameless), Err(Looped));
    }
}
