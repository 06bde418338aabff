//! Chooses the messages of which the caller makes a trace.

use crate::broker::action::Action;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::sampled_message::SampledMessage;
use crate::broker::publish::trace_context::TraceContext;
use crate::broker::shard::{Shard, Turn};
use crate::codec::prefix_within;

impl Shard {
    /// Tells the caller about an accepted message if it is in the sample. A publisher that has begun a trace decides; for the others, the
    /// part in the settings is drawn. Messages of the broker itself are in no trace.
    #[cold]
    pub(in crate::broker) fn sample(
        &mut self,
        accepted: &AcceptedMessage,
        publisher: &Publisher,
        waits: bool,
        turn: &mut Turn<'_>,
    ) {
        let (Some(per_million), Some(_)) = (self.settings.traced_per_million, publisher.key) else { return };
        let message = &accepted.message;
        if message.id.is_some() && !message.is_noted {
            return; // there will be no steps
        }
        let parent = TraceContext::of(&message.properties);
        if !parent.map_or_else(|| self.sampler.draws(per_million), |parent| parent.sampled) {
            return;
        }
        let slot = publisher.slot.and_then(|slot| self.sessions.get(slot));
        let sampled = SampledMessage {
            id: message.id,
            qos: accepted.qos,
            topic: prefix_within(message.topic.as_str(), TOPIC_MAX).to_owned(),
            client_id: slot.map(|entry| entry.subscriber.client_id.clone()),
            bytes: message.payload.len(),
            at: turn.now,
            waits,
            parent,
        };
        turn.actions.push(Action::Sampled(Box::new(sampled)));
    }
}

/// The greatest length of a Topic Name in a trace, in bytes.
const TOPIC_MAX: usize = 256;
