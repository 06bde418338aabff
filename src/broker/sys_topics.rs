//! The `$SYS` topics, with the names that mosquitto uses.

use std::borrow::Cow;
use std::sync::Arc;

use crate::broker::counters::Counters;
use crate::broker::load::Totals;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, Qos};
use crate::session::Application;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

impl Shard {
    /// Called once a second: samples the load, and publishes the changed values as retained messages once every `sys_interval`.
    pub(super) fn publish_sys_topics(&mut self, turn: &mut Turn<'_>) {
        if self.settings.sys_interval.is_zero() {
            return;
        }
        let (counters, sockets) = (self.shared.counters(), self.shared.process().sockets_opened);
        self.load.sample(turn.now, Totals::new(&counters, self.shared.traffic(), sockets));
        if !self.lifecycle.begin_sys_topics(turn.now, self.settings.sys_interval) {
            return;
        }
        for (name, text) in self.sys_values(&counters, turn.now) {
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

    fn sys_values(&self, counters: &Counters, now: Timestamp) -> Vec<(Cow<'static, str>, String)> {
        let uptime = self.lifecycle.uptime(now).as_secs();
        let texts = [
            ("version", format!("oncemq version {}", env!("CARGO_PKG_VERSION"))),
            ("durability", self.settings.durability.name().to_owned()),
            ("uptime", format!("{uptime} seconds")),
        ];
        let averages = self.load.averages();
        let averages =
            averages.map(|(name, window, value)| (format!("load/{name}/{window}").into(), format!("{value:.2}")));
        let numbers = self.sys_numbers(counters).into_iter().map(|(name, number)| (name.into(), number.to_string()));
        // Memory that the operating system does not report has no topic.
        let process = self.shared.process();
        let memory = [("heap/current", process.resident_bytes), ("heap/maximum", process.resident_bytes_max)];
        let memory = memory.into_iter().filter_map(|(name, bytes)| Some((name.into(), bytes?.to_string())));
        texts.map(|(name, text)| (name.into(), text)).into_iter().chain(numbers).chain(averages).chain(memory).collect()
    }

    fn sys_numbers(&self, counters: &Counters) -> [(&'static str, u64); 23] {
        let (retained, retained_bytes) = self.shared.retained_len();
        let (subscriptions, shared_subscriptions) = self.shared.subscriptions_len();
        let (bytes_received, bytes_sent) = self.shared.traffic();
        let connected = counters.sessions_connected;
        let disconnected = counters.sessions.saturating_sub(connected);
        let stored = counters.queued_messages + retained as u64;
        [
            ("clients/connected", connected),
            ("clients/active", connected),
            ("clients/disconnected", disconnected),
            ("clients/inactive", disconnected),
            ("clients/total", counters.sessions),
            ("clients/maximum", self.shared.connected_max(connected)),
            ("clients/expired", counters.sessions_expired),
            ("bytes/received", bytes_received),
            ("bytes/sent", bytes_sent),
            ("messages/received", counters.packets_received.iter().sum()),
            ("messages/sent", counters.packets_sent.iter().sum()),
            ("messages/stored", stored),
            ("messages/inflight", counters.in_flight_messages),
            ("publish/messages/received", counters.messages_received.iter().sum()),
            ("publish/messages/sent", counters.messages_sent.iter().sum()),
            ("publish/messages/dropped", counters.dropped.iter().sum()),
            ("publish/bytes/received", counters.payload_bytes_received),
            ("publish/bytes/sent", counters.payload_bytes_sent),
            ("store/messages/count", stored),
            ("store/messages/bytes", counters.queued_bytes + retained_bytes as u64),
            ("retained messages/count", retained as u64),
            ("subscriptions/count", subscriptions as u64),
            ("shared_subscriptions/count", shared_subscriptions as u64),
        ]
    }
}
