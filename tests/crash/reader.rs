//! A consumer of a stream that keeps its own position: it stores the sequence of the last message, and continues behind it.

use std::time::Instant;

use crate::client::{Link, Shared, Stage};
use crate::ledger::{Fault, number_in};
use wire::{Packet, Publish, SUBACK};

/// The position of a consumer.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The topics that it wants; `None`: all.
    filter: Option<&'static str>,
    qos: u8,
    /// The sequence behind that of the last message.
    next: u64,
    /// The last message of this subscription.
    previous: Option<u64>,
    /// Where the unanswered SUBSCRIBE begins.
    asks: Option<u64>,
    is_subscribed: bool,
    leave_at: Option<Instant>,
    leaves: bool,
}

impl Reader {
    pub(crate) const fn new(filter: Option<&'static str>, qos: u8, leaves: bool) -> Self {
        let (previous, asks, leave_at) = (None, None, None);
        Self { filter, qos, next: 1, previous, asks, is_subscribed: false, leave_at, leaves }
    }

    /// Subscribes after connecting.
    pub(crate) fn resume(&mut self, link: &mut Link, shared: &mut Shared) {
        (self.is_subscribed, self.previous, self.leave_at) = (false, None, None);
        let filter = self.filter.map(|filter| format!("/{filter}")).unwrap_or_default();
        let filter = format!("$stream/{STREAM}@seq:{}{filter}", self.next);
        self.asks = Some(self.next);
        shared.ledger.note(link.client, "sends SUBSCRIBE", 0, None);
        link.send(&link.version.subscribe(SUBSCRIBE_ID, &filter, self.qos));
    }

    /// Whether it ends its connection now, and comes back.
    pub(crate) fn wants_to_leave(&mut self, shared: &mut Shared) -> bool {
        let is_due = self.leaves && shared.stage == Stage::Load;
        let now = shared.now;
        is_due && *self.leave_at.get_or_insert_with(|| shared.within(600)) < now
    }

    /// Returns the Packet Identifier to acknowledge.
    pub(crate) fn on_packet(
        &mut self,
        packet: &Packet,
        link: &mut Link,
        shared: &mut Shared,
    ) -> Result<Option<(u16, u64)>, Fault> {
        if packet.kind() == SUBACK {
            if packet.reason_code() != self.qos || self.asks.take().is_none() {
                return link.fault(None, format!("did not expect {packet:x?}"));
            }
            shared.ledger.note(link.client, "gets SUBACK", 0, None);
            self.is_subscribed = true;
            return Ok(None);
        }
        let Some(publish) = Publish::parse(link.version, packet) else {
            return link.fault(None, format!("{packet:x?} is malformed"));
        };
        let Some(number) = number_in(&publish.payload) else {
            return link.fault(None, format!("a payload that was not sent: {publish:?}"));
        };
        shared.ledger.note(link.client, "gets PUBLISH of the stream", publish.packet_id, Some(number));
        let text = |name| user_property(packet, name);
        let Some(sequence) = text("stream-sequence").and_then(|text| text.parse::<u64>().ok()) else {
            return link.fault(Some(number), "it has no sequence".to_owned());
        };
        let previous = self.previous.map_or("none".to_owned(), |previous| previous.to_string());
        if text("stream-previous").as_deref() != Some(&previous) {
            let said = text("stream-previous");
            return link.fault(Some(number), format!("{sequence} comes after {said:?}, and not {previous}"));
        }
        let is_next = if self.filter.is_some() { sequence >= self.next } else { sequence == self.next };
        if !is_next || publish.dup || publish.retain {
            return link.fault(Some(number), format!("{sequence} comes at {}: {publish:?}", self.next));
        }
        if let Err(text) = shared.content.note(sequence, number, &publish.topic) {
            return link.fault(Some(number), text);
        }
        (self.next, self.previous) = (sequence + 1, Some(sequence));
        Ok((publish.qos > 0).then_some((publish.packet_id, number)))
    }

    /// Whether it has all messages below this sequence; with a filter, its last one may be an earlier one.
    pub(crate) fn has(&self, end: u64) -> bool {
        self.is_subscribed && (self.filter.is_some() || self.next >= end)
    }

    /// The topics that it wants, and where it is.
    pub(crate) const fn position(&self) -> (Option<&'static str>, u64) {
        (self.filter, self.next)
    }
}

/// The value of the first User Property with this name.
pub(crate) fn user_property(packet: &Packet, name: &str) -> Option<String> {
    let length = u16::try_from(name.len()).unwrap().to_be_bytes();
    let wanted = [&[0x26], &length[..], name.as_bytes()].concat();
    let place = packet.body.windows(wanted.len()).position(|bytes| bytes == wanted)? + wanted.len();
    let (length, rest) = packet.body.get(place..)?.split_first_chunk()?;
    let value = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    String::from_utf8(value.to_vec()).ok()
}

/// The stream of all events.
pub(crate) const STREAM: &str = "events";
const SUBSCRIBE_ID: u16 = 60_000;
