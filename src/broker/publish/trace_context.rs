//! The trace that a publisher continues: the User Property `traceparent`, as W3C Trace Context defines it for a header.

use crate::codec::{MessageProperties, MessageProperty};

/// The caller's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace_id: u128,
    /// The caller's span; not 0.
    pub parent_id: u64,
    /// Whether the caller records its part of the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// The context of a message. Like a malformed one, several count as none.
    pub fn of(properties: &MessageProperties) -> Option<Self> {
        if properties.is_empty() {
            return None;
        }
        let mut values = properties.iter().filter_map(|property| match property {
            MessageProperty::UserProperty(name, value) if &*name == NAME => Some(value),
            MessageProperty::UserProperty(..)
            | MessageProperty::PayloadFormatIndicator(_)
            | MessageProperty::ContentType(_)
            | MessageProperty::ResponseTopic(_)
            | MessageProperty::CorrelationData(_) => None,
        });
        let value = values.next()?;
        if values.next().is_some() { None } else { Self::parse(&value) }
    }

    /// Parses a value: `version "-" trace-id "-" parent-id "-" trace-flags` in lower case. A later version may have more after that.
    pub fn parse(value: &str) -> Option<Self> {
        let bytes = value.as_bytes();
        let mut fields = bytes.splitn(5, |byte| *byte == b'-');
        let mut field = |length: usize| {
            let field = fields.next().filter(|field| field.len() == length)?;
            field.iter().try_fold(0_u128, |number, byte| match byte {
                b'0'..=b'9' => Some(number << 4 | u128::from(byte - b'0')),
                b'a'..=b'f' => Some(number << 4 | u128::from(byte - b'a' + 10)),
                _ => None,
            })
        };
        let (version, trace_id, parent_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let is_valid = match version {
            0 => bytes.len() == LENGTH,
            0xFF => false,
            _ => true,
        };
        let parent_id = u64::try_from(parent_id).ok()?;
        let context = Self { trace_id, parent_id, sampled: flags & SAMPLED != 0 };
        (is_valid && trace_id != 0 && parent_id != 0).then_some(context)
    }
}

const NAME: &str = "traceparent";
/// The length of a value of version 0.
const LENGTH: usize = 55;
/// The flag of a caller that records.
const SAMPLED: u128 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn user(name: &str, value: &str) -> MessageProperty {
        MessageProperty::UserProperty(name.into(), value.into())
    }

    #[test]
    fn a_value_of_the_recommendation_is_parsed() {
        let context = TraceContext::parse(VALUE).unwrap();
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.parent_id, 0x00f0_67aa_0ba9_02b7);
        assert!(context.sampled);
        assert!(!TraceContext::parse(&VALUE.replace("-01", "-00")).unwrap().sampled);
        assert!(!TraceContext::parse(&VALUE.replace("-01", "-fe")).unwrap().sampled);
    }

    #[test]
    fn a_later_version_may_have_more_and_this_one_may_not() {
        assert!(TraceContext::parse(&VALUE.replacen("00", "cc", 1)).is_some());
        assert!(TraceContext::parse(&format!("{}-what-comes", VALUE.replacen("00", "cc", 1))).is_some());
        for wrong in [
            format!("{VALUE}-what-comes"),
            format!("{VALUE}-"),
            format!("{}.what-comes", VALUE.replacen("00", "cc", 1)),
            VALUE.replacen("00", "ff", 1),
            VALUE.to_uppercase(),
            VALUE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALUE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            VALUE.replace('-', " "),
            format!(" {VALUE}"),
            String::new(),
        ] {
            assert_eq!(TraceContext::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn one_property_is_taken_up_and_several_are_not() {
        let of = |properties: Vec<MessageProperty>| TraceContext::of(&MessageProperties::from_properties(properties));
        assert_eq!(of(vec![]), None);
        assert_eq!(of(vec![user("a", VALUE), user("TraceParent", VALUE)]), None);
        assert_eq!(of(vec![user("a", "b"), user(NAME, VALUE)]), TraceContext::parse(VALUE));
        assert_eq!(of(vec![user(NAME, VALUE), user(NAME, VALUE)]), None);
        assert_eq!(of(vec![user(NAME, "no")]), None);
    }

    proptest! {
        #[test]
        fn every_context_parses_back(trace_id in 1_u128.., parent_id in 1_u64.., flags: u8) {
            let text = format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}");
            let context = TraceContext { trace_id, parent_id, sampled: flags & 1 == 1 };
            prop_assert_eq!(TraceContext::parse(&text), Some(context));
        }

        #[test]
        fn a_value_that_was_changed_anywhere_is_another_one_or_none(at in 0..LENGTH, byte in 0_u8..128) {
            let mut bytes = VALUE.as_bytes().to_vec();
            let before = std::mem::replace(&mut bytes[at], byte);
            let text = String::from_utf8(bytes).unwrap();
            let is_hex = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let parsed = TraceContext::parse(&text);
            prop_assert!(parsed.is_none() || byte == before || is_hex);
            prop_assert!(parsed.is_some() || byte != before);
        }

        #[test]
        fn no_text_causes_a_panic(text: String, dashes in "[0-9a-f-]{0,70}") {
            let _ = TraceContext::parse(&text);
            let _ = TraceContext::parse(&dashes);
        }
    }
}
