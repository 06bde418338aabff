use bytes::Bytes;
use oncemq::codec::{MessageProperty, SubscriptionId};

use super::error::MqttError;

/// The properties of 5.0 that `-D` sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Properties {
    pub(super) connect_user_properties: Vec<(String, String)>,
    pub(super) subscribe_user_properties: Vec<(String, String)>,
    pub(super) subscription_id: Option<SubscriptionId>,
    pub(super) publish: OfMessage,
    pub(super) will: OfMessage,
    /// In seconds.
    pub(super) will_delay_interval: u32,
}

/// The properties of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OfMessage {
    pub(super) properties: Vec<MessageProperty>,
    /// In seconds.
    pub(super) expiry_interval: Option<u32>,
}

impl Properties {
    /// `words` are those of all `-D` in order: packet, name and value, or packet, `user-property`, name and value.
    pub(super) fn parse(words: &[String]) -> Result<Self, MqttError> {
        let mut properties = Self::default();
        let mut rest = words;
        while !rest.is_empty() {
            rest = match rest {
                [packet, property, name, value, rest @ ..] if property == "user-property" => {
                    properties.add_user_property(packet, name, value)?;
                    rest
                }
                [packet, property, value, rest @ ..] => {
                    properties.add(packet, property, value)?;
                    rest
                }
                _ => return Err(MqttError::Usage(format!("-D {} is incomplete", rest.join(" ")))),
            };
        }
        Ok(properties)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a property is of a packet that `oncemq sub` doesn't send.
    pub(super) fn has_publish(&self) -> bool {
        self.publish != OfMessage::default()
    }

    /// Whether a property is of a packet that `oncemq pub` doesn't send.
    pub(super) fn has_subscribe(&self) -> bool {
        self.subscription_id.is_some() || !self.subscribe_user_properties.is_empty()
    }

    pub(super) fn has_will(&self) -> bool {
        self.will != OfMessage::default() || self.will_delay_interval > 0
    }

    fn add_user_property(&mut self, packet: &str, name: &str, value: &str) -> Result<(), MqttError> {
        let property = MessageProperty::UserProperty(name.into(), value.into());
        match packet {
            "connect" => self.connect_user_properties.push((name.to_owned(), value.to_owned())),
            "subscribe" => self.subscribe_user_properties.push((name.to_owned(), value.to_owned())),
            "publish" => self.publish.properties.push(property),
            "will" => self.will.properties.push(property),
            _ => return Err(unknown(packet, "user-property")),
        }
        Ok(())
    }

    fn add(&mut self, packet: &str, property: &str, value: &str) -> Result<(), MqttError> {
        match (packet, property) {
            ("subscribe", "subscription-identifier") => {
                let id = SubscriptionId::new(number(property, value)?).filter(|id| id.get() <= SUBSCRIPTION_ID_MAX);
                self.subscription_id = Some(id.ok_or_else(|| wrong_number(property, value))?);
            }
            ("will", "will-delay-interval") => self.will_delay_interval = number(property, value)?,
            ("publish", _) => self.publish.add(packet, property, value)?,
            ("will", _) => self.will.add(packet, property, value)?,
            _ => return Err(unknown(packet, property)),
        }
        Ok(())
    }
}

impl OfMessage {
    fn add(&mut self, packet: &str, property: &str, value: &str) -> Result<(), MqttError> {
        let added = match property {
            "content-type" => MessageProperty::ContentType(value.into()),
            "response-topic" => MessageProperty::ResponseTopic(value.into()),
            "correlation-data" => MessageProperty::CorrelationData(Bytes::copy_from_slice(value.as_bytes())),
            "payload-format-indicator" => match value {
                "0" | "1" => MessageProperty::PayloadFormatIndicator(value == "1"),
                _ => return Err(wrong_number(property, value)),
            },
            "message-expiry-interval" => {
                self.expiry_interval = Some(number(property, value)?);
                return Ok(());
            }
            _ => return Err(unknown(packet, property)),
        };
        let is_same = |other: &MessageProperty| std::mem::discriminant(other) == std::mem::discriminant(&added);
        if self.properties.iter().any(is_same) {
            return Err(MqttError::Usage(format!("-D {packet} {property} is there twice")));
        }
        self.properties.push(added);
        Ok(())
    }
}

fn number(property: &str, value: &str) -> Result<u32, MqttError> {
    value.parse().map_err(|_| wrong_number(property, value))
}

fn wrong_number(property: &str, value: &str) -> MqttError {
    MqttError::Usage(format!("{property}: {value:?} is not a valid number"))
}

fn unknown(packet: &str, property: &str) -> MqttError {
    MqttError::Usage(format!(
        "-D {packet} {property} is not supported. There are: user-property of connect, subscribe, publish and will; \
         subscription-identifier of subscribe; will-delay-interval of will; content-type, response-topic, \
         correlation-data, payload-format-indicator and message-expiry-interval of publish and will"
    ))
}

/// The largest Variable Byte Integer.
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Properties, MqttError> {
        Properties::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn properties_are_told_apart_by_packet_and_number_of_values() {
        let text = "publish user-property a b publish content-type text connect user-property explain true \
                    will will-delay-interval 5 publish message-expiry-interval 9 subscribe subscription-identifier 3";
        let properties = parse(text).unwrap();
        assert_eq!(properties.connect_user_properties, [("explain".to_owned(), "true".to_owned())]);
        assert_eq!(properties.publish.properties.len(), 2);
        assert_eq!((properties.publish.expiry_interval, properties.will_delay_interval), (Some(9), 5));
        assert_eq!(properties.subscription_id, SubscriptionId::new(3));
        assert!(properties.has_publish() && properties.has_subscribe() && properties.has_will());
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_done_is_refused() {
        for text in [
            "publish user-property a",
            "publish content-type",
            "publish topic-alias 3",
            "auth user-property a b",
            "connect content-type x",
            "publish payload-format-indicator 2",
            "publish message-expiry-interval -1",
            "subscribe subscription-identifier 0",
            "subscribe subscription-identifier 268435456",
            "publish content-type a publish content-type b",
        ] {
            assert!(matches!(parse(text), Err(MqttError::Usage(_))), "{text}");
        }
    }
}
