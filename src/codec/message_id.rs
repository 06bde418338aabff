use std::fmt;
use std::str::FromStr;

/// The identity of a message accepted at QoS 1 or 2. It is the same in every delivery and retransmission, also after a
/// restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// A random number of the broker's run that accepted the message.
    pub run: u64,
    /// The number of the message within that run.
    pub number: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}-{:016x}", self.run, self.number)
    }
}

impl FromStr for MessageId {
    type Err = NotAMessageId;

    fn from_str(text: &str) -> Result<Self, NotAMessageId> {
        let number = |digits: &str| {
            let is_number = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(digits, 16).ok().filter(|_| is_number).ok_or(NotAMessageId)
        };
        let (run, message) = text.split_once('-').ok_or(NotAMessageId)?;
        Ok(Self { run: number(run)?, number: number(message)? })
    }
}

/// A text is not the identity of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the identity of a message")]
pub struct NotAMessageId;

/// The length of its text in bytes.
pub(super) const MESSAGE_ID_LENGTH: usize = 33;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_identity_parses_back(run: u64, number: u64) {
            let id = MessageId { run, number };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().len(), MESSAGE_ID_LENGTH);
        }

        #[test]
        fn any_other_text_is_none(text in "[0-9a-g+-]{0,40}") {
            let parsed: Result<MessageId, _> = text.parse();
            prop_assert!(parsed.is_err() || text.len() == MESSAGE_ID_LENGTH);
        }
    }

    #[test]
    fn a_sign_is_no_digit() {
        for text in ["", "-", "+000000000000001-0000000000000001", "0000000000000001-00000000000000011", "é"] {
            assert_eq!(text.parse::<MessageId>(), Err(NotAMessageId), "{text}");
        }
    }
}
