use bytestring::ByteString;
use std::num::NonZeroU32;

use super::{PacketId, Qos, ReasonCode, UserProperties};
use crate::topic::Filter;

/// A Subscription Identifier: 1 to 268,435,455.
pub type SubscriptionId = NonZeroU32;

/// A SUBSCRIBE packet. [MQTT-3.8]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Answered by the SUBACK with the same. [MQTT-2.2.1-6]
    pub packet_id: PacketId,
    /// Given to every subscription of this packet.
    pub subscription_id: Option<SubscriptionId>,
    /// In order.
    pub user_properties: UserProperties,
    /// At least one. [MQTT-3.8.3-2]
    pub subscriptions: Vec<Subscription>,
}

/// One Topic Filter with its Subscription Options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What to match, and the share it belongs to if it is a Shared Subscription.
    pub filter: Filter,
    /// How to deliver.
    pub options: SubscriptionOptions,
}

/// The Subscription Options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: Qos,
    /// No Local: not what this Client published itself. Never on a Shared Subscription. [MQTT-3.8.3-4]
    pub no_local: bool,
    /// Retain As Published: keep the RETAIN flag.
    pub retain_as_published: bool,
    /// Which retained messages come at subscribing.
    pub retain_handling: RetainHandling,
}

/// Retain Handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainHandling {
    /// 0: send them at each SUBSCRIBE.
    Send,
    /// 1: send them if the subscription is new.
    SendIfNew,
    /// 2: don't.
    DoNotSend,
}

/// A SUBACK packet. [MQTT-3.9]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each subscription, in order. [MQTT-3.8.4-6]
    pub reason_codes: Vec<ReasonCode>,
    /// Why, for a person to read.
    pub reason_string: Option<ByteString>,
}
