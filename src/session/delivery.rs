use std::sync::Arc;

use super::entry::ENTRY_BYTES;
use super::link::Link;
use super::{Delivery, DropCause};
use crate::codec::{AliasUse, OutgoingPublish, PacketId};
use crate::timestamp::Timestamp;
use crate::topic::Filter;

impl Delivery {
    /// The PUBLISH that carries this to the client of `link`, unless it is too large for it. [MQTT-3.1.2-24]
    pub(super) fn publish(
        &self,
        now: Timestamp,
        packet_id: Option<PacketId>,
        dup: bool,
        link: &mut Link,
    ) -> Result<OutgoingPublish, DropCause> {
        // [MQTT-3.3.2-6]; the part of a second that has begun counts as remaining.
        let expires = self.expires_at != Timestamp::NEVER;
        let remaining = expires.then(|| self.expires_at.since(now).as_millis().div_ceil(1_000));
        let mut publish = OutgoingPublish {
            message: Arc::clone(&self.message),
            dup,
            qos: self.qos,
            retain: self.retain,
            packet_id,
            topic_alias: None,
            message_expiry_interval: remaining.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            matched: self.matched.clone(),
            message_id: link.message_ids && packet_id.is_some() && self.message.id.is_some(),
        };
        let fits = |publish: &OutgoingPublish| {
            link.maximum_packet_size.is_none_or(|maximum| publish.encoded_len(link.version) <= maximum.get() as usize)
        };
        let topic = &self.message.topic;
        publish.topic_alias = link.outbound_aliases.offer(topic);
        if !fits(&publish) {
            // To set an alias costs more than to do without.
            publish.topic_alias = publish.topic_alias.filter(|(_, alias)| *alias == AliasUse::Known);
            if !fits(&publish) {
                return Err(DropCause::PacketTooLarge);
            }
        }
        if let Some((alias, AliasUse::Set)) = publish.topic_alias {
            link.outbound_aliases.set(alias, topic);
        }
        Ok(publish)
    }

    /// The Shared Subscription it was chosen by.
    pub fn share(&self) -> Option<&Arc<Filter>> {
        self.matched.as_ref()?.share.as_ref()
    }

    /// What it counts for in a queue.
    pub fn queued_bytes(&self) -> usize {
        queued_bytes(self.message.content_len())
    }
}

/// What a message with so many bytes of topic, payload and properties counts for in a queue: these, and what we keep beside them.
pub const fn queued_bytes(content: usize) -> usize {
    content + ENTRY_BYTES
}
