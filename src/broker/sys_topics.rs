//! The `$SYS` topics, with the names that mosquitto uses.

use std::sync::Arc;

use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, Qos};
use crate::session::Application;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

impl Shard {
    /// Publishes the changed values as retained messages, once every `sys_interval`.
    pub(super) fn publish_sys_topics(&mut self, turn: &mut Turn<'_>) {
        if !self.lifecycle.begin_sys_topics(turn.now, self.settings.sys_interval) {
            return;
        }
        for (name, text) in self.sys_values(turn.now) {
            let Ok(topic) = TopicName::try_from(format!("$SYS/broker/{name}").as_str()) else { continue };
            let known = self.shared.retained().get(&topic).map(|retained| Arc::clone(&retained.message));
            if known.is_some_and(|message| message.payload == text.as_bytes()) {
                continue;
            }
            let application = Application {
                message: Arc::new(Message::new(topic, text)),
                is_topic_copied: true,
                qos: Qos::AtMostOnce,
                retain: true,
                packet_id: None,
                message_expiry_interval: None,
            };
            let publisher = Publisher::broker();
            self.accept(&publisher, application, turn);
        }
    }

    fn sys_values(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let counters = self.shared.counters();
        let (retained, retained_bytes) = self.shared.retained_len();
        let (subscriptions, shared_subscriptions) = self.shared.subscriptions_len();
        let (bytes_received, bytes_sent) = self.shared.traffic();
        let connected_max = self.shared.connected_max(counters.sessions_connected);
        let uptime = self.lifecycle.uptime(now).as_secs();
        let numbers = [
            ("clients/connected", counters.sessions_connected),
            ("clients/disconnected", counters.sessions - counters.sessions_connected),
            ("clients/total", counters.sessions),
            ("clients/maximum", connected_max),
            ("bytes/received", bytes_received),
            ("bytes/sent", bytes_sent),
            ("clients/expired", counters.sessions_expired),
            ("messages/received", counters.packets_received.iter().sum()),
            ("messages/sent", counters.packets_sent.iter().sum()),
            ("publish/messages/received", counters.messages_received.iter().sum()),
            ("publish/messages/sent", counters.messages_sent.iter().sum()),
            ("publish/messages/dropped", counters.dropped.iter().sum()),
            ("publish/bytes/received", counters.payload_bytes_received),
            ("publish/bytes/sent", counters.payload_bytes_sent),
            ("store/messages/count", counters.queued_messages + retained as u64),
            ("store/messages/bytes", counters.queued_bytes + retained_bytes as u64),
            ("retained messages/count", retained as u64),
            ("subscriptions/count", subscriptions as u64),
            ("shared_subscriptions/count", shared_subscriptions as u64),
        ];
        let texts = [
            ("version", format!("oncemq version {}", env!("CARGO_PKG_VERSION"))),
            ("durability", self.settings.durability.name().to_owned()),
            ("uptime", format!("{uptime} seconds")),
        ];
        texts.into_iter().chain(numbers.map(|(name, number)| (name, number.to_string()))).collect()
    }
}
