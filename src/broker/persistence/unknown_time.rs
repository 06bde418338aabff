//! A start at which the time that passed is unknown.

use std::sync::Arc;

use crate::broker::persistence::recovery::Recovered;
use crate::routing::RetainedMessage;
use crate::timestamp::Timestamp;

impl Recovered {
    /// Lets every message with a Message Expiry Interval expire that was not sent yet, and every such retained message: for a start at
    /// which the time that passed is unknown.
    pub fn expire_messages(&mut self) {
        for session in &mut self.sessions {
            for message in session.queue.values_mut() {
                session.has_expired |= message.expire();
            }
        }
        self.delayed.iter_mut().for_each(|delayed| delayed.is_expired |= delayed.expires);
        for retained in self.retained.iter_mut().filter(|retained| retained.expires_at.is_some()) {
            *retained =
                Arc::new(RetainedMessage { expires_at: Some(Timestamp(0)), ..RetainedMessage::clone(retained) });
        }
    }
}
