//! Constructors and text forms of packets for tests.

use std::fmt::Write;

use crate::codec::{
    Ack, AliasUse, ClientPacket, Connect, Disconnect, EncodedUserProperties, MessageProperties, MessageProperty,
    OutgoingPublish, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, RetainHandling, ServerPacket, Subscribe,
    Subscription, SubscriptionId, SubscriptionOptions, Unsubscribe, Will,
};
use crate::topic::{Filter, TopicName};

pub(super) const Q0: Qos = Qos::AtMostOnce;
pub(super) const Q1: Qos = Qos::AtLeastOnce;
pub(super) const Q2: Qos = Qos::ExactlyOnce;

pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::new(name.into()).unwrap()
}

/// A 5.0 CONNECT whose Session ends with its connection.
pub(super) fn transient(client_id: &str) -> Connect {
    Connect::new(ProtocolVersion::V5, client_id, true)
}

/// A 5.0 CONNECT with Clean Start 0 and a Session Expiry Interval of 1,000 seconds.
pub(super) fn durable(client_id: &str) -> Connect {
    let mut connect = Connect::new(ProtocolVersion::V5, client_id, false);
    connect.properties.session_expiry_interval = 1_000;
    connect
}

/// A 3.1.1 CONNECT.
pub(super) fn v311(client_id: &str, clean_session: bool) -> Connect {
    Connect::new(ProtocolVersion::V3_1_1, client_id, clean_session)
}

pub(super) fn will(name: &str, payload: &'static str) -> Will {
    Will {
        topic: topic(name),
        payload: payload.into(),
        qos: Q0,
        retain: false,
        will_delay_interval: 0,
        message_expiry_interval: None,
        properties: MessageProperties::default(),
    }
}

/// A PUBLISH; number 0: without Packet Identifier.
pub(super) fn message(name: &str, payload: &'static str, qos: Qos, packet_id: u16) -> Publish {
    Publish { qos, packet_id: PacketId::new(packet_id), ..Publish::new(topic(name), payload) }
}

pub(super) fn publish(name: &str, payload: &'static str, qos: Qos, packet_id: u16) -> ClientPacket {
    ClientPacket::Publish(message(name, payload, qos, packet_id))
}

pub(super) fn retain(name: &str, payload: &'static str, qos: Qos, packet_id: u16) -> ClientPacket {
    ClientPacket::Publish(Publish { retain: true, ..message(name, payload, qos, packet_id) })
}

pub(super) fn user_property(name: &'static str, value: &'static str) -> MessageProperty {
    MessageProperty::UserProperty(name.into(), value.into())
}

pub(super) fn puback(number: u16) -> ClientPacket {
    ClientPacket::Puback(Ack::new(id(number), ReasonCode::Success))
}

pub(super) fn pubrec(number: u16) -> ClientPacket {
    ClientPacket::Pubrec(Ack::new(id(number), ReasonCode::Success))
}

pub(super) fn pubrel(number: u16) -> ClientPacket {
    ClientPacket::Pubrel(Ack::new(id(number), ReasonCode::Success))
}

pub(super) fn pubcomp(number: u16) -> ClientPacket {
    ClientPacket::Pubcomp(Ack::new(id(number), ReasonCode::Success))
}

/// Subscription options with this QoS and the default values.
pub(super) fn options(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
}

pub(super) fn subscription(filter: &str, options: SubscriptionOptions) -> Subscription {
    Subscription { filter: Filter::new(filter.into()).unwrap(), options }
}

pub(super) fn subscribe_all(number: u16, subscription_id: u32, subscriptions: Vec<Subscription>) -> ClientPacket {
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: id(number),
        subscription_id: SubscriptionId::new(subscription_id),
        user_properties: EncodedUserProperties::new(),
        subscriptions,
    }))
}

pub(super) fn subscribe_with(filter: &str, options: SubscriptionOptions) -> ClientPacket {
    subscribe_all(1, 0, vec![subscription(filter, options)])
}

pub(super) fn subscribe(filter: &str, qos: Qos) -> ClientPacket {
    subscribe_with(filter, options(qos))
}

pub(super) fn unsubscribe(number: u16, filters: &[&str]) -> ClientPacket {
    ClientPacket::Unsubscribe(Box::new(Unsubscribe {
        packet_id: id(number),
        user_properties: EncodedUserProperties::new(),
        filters: filters.iter().map(|filter| Filter::new((*filter).into()).unwrap()).collect(),
    }))
}

pub(super) fn disconnect(reason_code: ReasonCode) -> ClientPacket {
    ClientPacket::Disconnect(Box::new(Disconnect::new(reason_code)))
}

/// A packet as one line of text, which omits default values.
pub(super) fn show(packet: &ServerPacket) -> String {
    let ack = |name: &str, ack: &Ack| {
        let number = ack.packet_id.number();
        if ack.reason_code == ReasonCode::Success {
            return format!("{name} {number}");
        }
        format!("{name} {number} {:#04X}", ack.reason_code.number())
    };
    match packet {
        ServerPacket::Connack(connack) => {
            let present = if connack.session_present { " present" } else { "" };
            format!("CONNACK {:#04X}{present}", connack.reason_code.number())
        }
        ServerPacket::Publish(publish) => show_publish(publish),
        ServerPacket::Puback(puback) => ack("PUBACK", puback),
        ServerPacket::Pubrec(pubrec) => ack("PUBREC", pubrec),
        ServerPacket::Pubrel(pubrel) => ack("PUBREL", pubrel),
        ServerPacket::Pubcomp(pubcomp) => ack("PUBCOMP", pubcomp),
        ServerPacket::Suback(suback) => show_codes("SUBACK", suback.packet_id, &suback.reason_codes),
        ServerPacket::Unsuback(unsuback) => show_codes("UNSUBACK", unsuback.packet_id, &unsuback.reason_codes),
        ServerPacket::Pingresp => "PINGRESP".into(),
        ServerPacket::Disconnect(disconnect) => format!("DISCONNECT {:#04X}", disconnect.reason_code.number()),
        ServerPacket::Auth(auth) => {
            let data = auth.authentication_data.as_ref().map(|data| String::from_utf8_lossy(data).into_owned());
            let method = auth.authentication_method.as_deref().unwrap_or("-");
            format!("AUTH {:#04X} {method} {}", auth.reason_code.number(), data.unwrap_or_default())
        }
    }
}

fn show_codes(name: &str, packet_id: PacketId, reason_codes: &[ReasonCode]) -> String {
    let codes = reason_codes.iter().fold(String::new(), |mut codes, code| {
        let _ = write!(codes, " {:02X}", code.number());
        codes
    });
    format!("{name} {}{codes}", packet_id.number())
}

fn show_publish(publish: &OutgoingPublish) -> String {
    let payload = String::from_utf8_lossy(&publish.message.payload);
    let topic = &publish.message.topic.as_str()[usize::from(publish.topic_start)..];
    let mut line = format!("PUBLISH {topic} {payload} q{}", publish.qos.level());
    if let Some(packet_id) = publish.packet_id {
        let _ = write!(line, " #{}", packet_id.number());
    }
    if publish.dup {
        line.push_str(" dup");
    }
    if publish.retain {
        line.push_str(" retain");
    }
    if let Some(seconds) = publish.message_expiry_interval {
        let _ = write!(line, " expiry={seconds}");
    }
    let mut ids: Vec<u32> = publish.subscription_ids().iter().map(|id| id.get()).collect();
    ids.sort_unstable();
    if !ids.is_empty() {
        let _ = write!(line, " ids={ids:?}");
    }
    match publish.topic_alias {
        Some((alias, AliasUse::Set)) => drop(write!(line, " sets alias {alias}")),
        Some((alias, AliasUse::Known)) => drop(write!(line, " by alias {alias}")),
        None => {}
    }
    line
}
