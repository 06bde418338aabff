//! Sends a packet of each type with given properties, at a point where the packet is valid.
//!
//! For rules about the properties of all packets; 5.0 only.

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::wire::tables::{self, PropertyRow};
use crate::wire::{Ack, AckKind, Auth, Disconnect, Properties, Publish, Subscribe, Unsubscribe, Will, property};

/// A packet from the client that can carry properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Connect,
    Will,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

impl Carrier {
    pub(super) const ALL: [Self; 11] = [
        Self::Connect,
        Self::Will,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The name in the table of properties.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Will => "CONNECT Will Properties",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The properties that a client may send here.
    pub(super) fn allowed(self) -> impl Iterator<Item = &'static PropertyRow> {
        tables::properties().iter().filter(move |row| row.packet == self.name() && row.from_client)
    }

    /// The Reason Codes that a Malformed Packet may cause here. AUTH is a Protocol Error too, because CONNECT had no
    /// Authentication Method, and the broker may check either first.
    pub(super) const fn malformed(self) -> &'static [u8] {
        if matches!(self, Self::Auth) { &[0x81, 0x82] } else { &[0x81] }
    }

    /// Sends the packet with these properties, on a connection in the state that the packet needs.
    pub(super) fn send(self, cx: &mut Context, properties: Properties) -> Result<Client, Failure> {
        match self {
            Self::Connect | Self::Will => return self.send_connect(cx, properties),
            Self::Puback | Self::Pubrec | Self::Pubcomp => return self.send_answer(cx, properties),
            Self::Pubrel => return send_pubrel(cx, properties),
            Self::Publish | Self::Subscribe | Self::Unsubscribe | Self::Disconnect | Self::Auth => {}
        }
        let topic = cx.topic("a");
        let mut client = cx.client("a")?;
        match self {
            Self::Publish => client.send(Publish { properties, ..Publish::new(topic, "") })?,
            Self::Subscribe => client.send(Subscribe { properties, ..Subscribe::new(topic, 0).packet_id(1) })?,
            Self::Unsubscribe => client.send(Unsubscribe { properties, ..Unsubscribe::new(topic).packet_id(1) })?,
            Self::Disconnect => {
                client.send(Disconnect { properties: Some(properties), ..Disconnect::new().reason(0) })?;
            }
            Self::Auth => client.send(Auth { properties: Some(properties), ..Auth::new(0x19) })?,
            Self::Connect | Self::Will | Self::Puback | Self::Pubrec | Self::Pubrel | Self::Pubcomp => {}
        }
        Ok(client)
    }

    fn send_connect(self, cx: &mut Context, properties: Properties) -> Result<Client, Failure> {
        let mut connect = cx.connecting("a");
        if self == Self::Will {
            connect = connect.will(Will { properties, ..Will::new(cx.topic("will"), "") });
        } else {
            connect.properties = properties;
        }
        let mut client = cx.open()?;
        client.send_connect(&connect)?;
        Ok(client)
    }

    fn send_answer(self, cx: &mut Context, properties: Properties) -> Result<Client, Failure> {
        let topic = cx.topic("a");
        let qos = if self == Self::Puback { 1 } else { 2 };
        let mut client = cx.client("a")?;
        client.subscribe(&topic, qos)?;
        client.publish(Publish::new(&topic, "").qos(qos))?;
        let message = client.expect_publish()?;
        let packet_id = message.packet_id.unwrap_or_default();
        let kind = if self == Self::Puback {
            AckKind::Puback
        } else if self == Self::Pubcomp {
            client.send(Ack::pubrec(packet_id))?;
            client.expect_pubrel(packet_id)?;
            AckKind::Pubcomp
        } else {
            AckKind::Pubrec
        };
        client.send(Ack { properties: Some(properties), ..Ack::new(kind, packet_id).reason(0) })?;
        Ok(client)
    }
}

fn send_pubrel(cx: &mut Context, properties: Properties) -> Result<Client, Failure> {
    let mut client = cx.client("a")?;
    client.send(Publish::new(cx.topic("a"), "").qos(2).packet_id(1))?;
    client.expect_pubrec(1)?;
    client.send(Ack { properties: Some(properties), ..Ack::pubrel(1).reason(0) })?;
    Ok(client)
}

/// A valid value of the property.
pub(super) fn fitting(row: &PropertyRow) -> property::Value {
    use crate::wire::data_type::Type;
    match row.kind {
        Type::Byte | Type::TwoByte | Type::VariableByte => property::Value::Number(1),
        // A Maximum Packet Size must leave room for CONNACK.
        Type::FourByte => property::Value::Number(1_000),
        Type::Text | Type::Binary => "value".into(),
        Type::Pair => ("name", "value").into(),
    }
}
