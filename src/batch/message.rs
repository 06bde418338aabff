use crate::codec::{Message, Qos};

/// A message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchMessage {
    /// The message. It shares no memory with the payload of the batch.
    pub message: Message,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Message Expiry Interval in seconds.
    pub message_expiry_interval: Option<u32>,
}

/// What holds for the messages of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The greatest number of messages.
    pub messages_max: usize,
    /// The QoS of a message in JSON that says none.
    pub qos: Qos,
}
