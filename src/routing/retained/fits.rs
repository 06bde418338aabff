use std::collections::BTreeMap;

use super::{RetainedFull, RetainedLimits, RetainedMessage, RetainedStore};

impl RetainedStore {
    /// Whether [`set`](Self::set) would retain all of these messages, one after the other.
    ///
    /// # Errors
    /// The limit that the first message without room reaches.
    pub fn fits(&self, changes: &[RetainedMessage]) -> Result<(), RetainedFull> {
        let RetainedLimits { retained_messages_max, retained_bytes_max } = self.limits;
        let (mut messages, mut bytes) = (self.messages, self.bytes);
        // The memory of the message of each changed topic; 0: it has none.
        let mut changed = BTreeMap::new();
        for change in changes {
            let topic = &change.message.topic;
            let stored = || self.get(topic).map_or(0, |stored| stored.memory());
            let old = changed.get(topic).copied().unwrap_or_else(stored);
            let new = if change.message.payload.is_empty() { 0 } else { change.memory() };
            if new > 0 && old == 0 && messages >= retained_messages_max {
                return Err(RetainedFull::Messages { retained_messages_max });
            }
            if new > old && bytes - old + new > retained_bytes_max {
                return Err(RetainedFull::Bytes { retained_bytes_max });
            }
            messages = messages - usize::from(old > 0) + usize::from(new > 0);
            bytes = bytes - old + new;
            changed.insert(topic, new);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Message, Qos};
    use crate::routing::{Current, PublishRight};
    use crate::topic::TopicName;

    fn message((topic, length): (u8, usize)) -> RetainedMessage {
        let topic = TopicName::try_from(format!("t/{topic}").as_str()).unwrap();
        RetainedMessage {
            message: Arc::new(Message::new(topic, vec![b'x'; length])),
            qos: Qos::AtMostOnce,
            expires_at: None,
            publisher: None,
            user: None,
            right: PublishRight::always(),
            number: 0,
            current: Current::default(),
            sequences: None,
        }
    }

    proptest! {
        #[test]
        fn messages_fit_if_all_of_them_can_be_set(
            before in prop::collection::vec((0..6_u8, 0..300_usize), 0..6),
            batch in prop::collection::vec((0..6_u8, 0..300_usize), 1..6),
            messages in 1..6_usize,
            bytes in 500..3_000_usize,
        ) {
            let limits = RetainedLimits { retained_messages_max: messages, retained_bytes_max: bytes };
            let mut store = RetainedStore::new(limits);
            for one in before {
                let _ = store.set(message(one));
            }
            let fits = store.fits(&batch.iter().copied().map(message).collect::<Vec<_>>());
            let set = batch.into_iter().try_for_each(|one| store.set(message(one)).map(drop));
            prop_assert_eq!(fits, set);
        }
    }
}
