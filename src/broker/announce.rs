//! Publishes events of clients on `$SYS/clients/CLIENT/EVENT`, if [`Settings::client_events`](crate::broker::Settings::client_events) asks for them.
//!
//! They wait until the event of the shard that they are about has been handled. Nothing that a delivery of one causes is an event of its own,
//! so they can't follow from each other.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::client_events::Object;
use crate::broker::publish::publisher::Publisher;
use crate::broker::report::ClientLabel;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::codec::{Message, Qos, ReasonCode};
use crate::session::Application;
use crate::timestamp::Timestamp;
use crate::topic::{Filter, TopicName};

impl Shard {
    /// Publishes an event of a client soon, if events are wanted and the client has sent CONNECT. `fields` adds those that it has of its own.
    pub(in crate::broker) fn announce(
        &mut self,
        client: &ClientLabel,
        event: &str,
        fields: impl FnOnce(&mut Object),
        now: Timestamp,
    ) {
        if self.settings.client_events && client.client_id.as_ref().is_some_and(|id| !id.as_str().is_empty()) {
            self.client_events.add(client, event, fields, now);
            self.schedule_client_events(now + DELAY);
        }
    }

    /// Like the above, for the answers to a SUBSCRIBE or UNSUBSCRIBE of the Session in `slot`.
    pub(in crate::broker) fn announce_filters<'a>(
        &mut self,
        slot: usize,
        event: &str,
        answers: impl Iterator<Item = (&'a Filter, ReasonCode)>,
        now: Timestamp,
    ) {
        let client = self.label_of_session(slot);
        self.announce(&client, event, |object| object.filters(answers), now);
    }

    /// Publishes the events that wait.
    pub(in crate::broker) fn publish_client_events(&mut self, turn: &mut Turn<'_>) {
        for event in self.client_events.take() {
            self.publish_client_event(event, turn);
        }
        match self.client_events.take_left_out(turn.now) {
            Some(Ok(event)) => self.publish_client_event(event, turn),
            Some(Err(later)) => self.schedule_client_events(later),
            None => {}
        }
    }

    fn publish_client_event(&mut self, (topic, payload): (TopicName, String), turn: &mut Turn<'_>) {
        let application = Application {
            message: Arc::new(Message::new(topic, payload)),
            is_topic_copied: true,
            qos: Qos::AtMostOnce,
            retain: false,
            packet_id: None,
            message_expiry_interval: None,
        };
        self.accept(&Publisher::broker(), application, turn);
    }

    fn schedule_client_events(&mut self, at: Timestamp) {
        if self.client_events.begin_wait() {
            self.timers.set(at, Timer::ClientEvents);
        }
    }
}

/// Events of a burst are published together.
const DELAY: Duration = Duration::from_millis(1);
