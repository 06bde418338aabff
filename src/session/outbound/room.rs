//! Whether there is room for a message that is to be sent at once.

use std::num::NonZeroU16;

use super::{Outbound, PACKET_IDS};
use crate::session::limits::{SHORT_BYTES_MAX, SHORT_MESSAGES_MAX};

impl Outbound {
    /// Whether a message that is appended now is sent at once: nothing waits before it, the window of `send_maximum` messages is open, and the
    /// queue has room.
    pub(in crate::session) fn sends_at_once(&self, send_maximum: NonZeroU16) -> bool {
        let limits = &*self.limits;
        let (messages, bytes) = self.queued();
        let is_short = limits.is_memory_short && (messages >= SHORT_MESSAGES_MAX || bytes >= SHORT_BYTES_MAX);
        self.is_all_sent()
            && self.early.is_none()
            && self.in_flight < u32::from(send_maximum.get())
            && self.in_flight_bytes < limits.inflight_bytes_max
            && self.end - self.front() < PACKET_IDS
            && messages < limits.queued_messages_max
            && bytes < limits.queued_bytes_max
            && !is_short
    }
}
