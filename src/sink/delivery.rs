use crate::codec::{MessageId, MessageProperty, PacketId, Publish, Qos};
use crate::timestamp::WallTime;
use crate::topic::TopicName;

/// A message that the Session of a sink has sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The packet. Its User Properties begin with the identity of the message, if it has one.
    pub publish: Publish,
    /// When it came.
    pub taken: WallTime,
}

impl Delivery {
    /// Its Topic Name.
    pub fn topic(&self) -> &TopicName {
        &self.publish.message.topic
    }

    pub(super) fn bytes(&self) -> usize {
        self.publish.message.content_len()
    }

    /// What its acknowledgement needs; `None` at QoS 0.
    pub(super) fn to_acknowledge(&self) -> Option<(PacketId, Qos)> {
        self.publish.packet_id.filter(|_| self.publish.qos > Qos::AtMostOnce).map(|id| (id, self.publish.qos))
    }

    /// The identity that the broker gave to the message, and the User Properties that its publisher gave to it.
    pub(super) fn identity_and_properties(&self) -> (Option<MessageId>, Vec<MessageProperty>) {
        let mut properties: Vec<_> = self.publish.message.properties.iter().collect();
        let is_user = |property: &MessageProperty| matches!(property, MessageProperty::UserProperty(..));
        let Some(first) = properties.iter().position(is_user).filter(|_| self.publish.qos > Qos::AtMostOnce) else {
            return (None, properties);
        };
        let id = match properties.get(first) {
            Some(MessageProperty::UserProperty(name, value)) if name == MESSAGE_ID => value.parse().ok(),
            Some(_) | None => None,
        };
        if id.is_some() {
            properties.remove(first);
        }
        (id, properties)
    }

    /// The properties that its publisher gave to it.
    pub fn properties(&self) -> Vec<MessageProperty> {
        self.identity_and_properties().1
    }
}

const MESSAGE_ID: &str = "message-id";
