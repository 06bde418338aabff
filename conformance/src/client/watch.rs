//! Rules that apply during a whole connection, checked on every connection of every case.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::Failure;
use crate::link;
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Connect, Text, Version, property};

/// The state of a connection that these rules depend on.
#[derive(Debug)]
pub(crate) struct Watch {
    version: Version,
    connack_seen: bool,
    disconnect_seen: bool,
    maximum_packet_size: usize,
    receive_maximum: usize,
    topic_alias_maximum: u32,
    problem_information: bool,
    authentication_method: Option<Text>,
    /// The Packet Identifiers of the broker's PUBLISH packets that aren't acknowledged completely.
    unacknowledged: BTreeSet<u16>,
    aliases: BTreeMap<u32, Text>,
}

impl Watch {
    /// The state of a new connection.
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            connack_seen: false,
            disconnect_seen: false,
            maximum_packet_size: usize::MAX,
            receive_maximum: usize::from(u16::MAX),
            topic_alias_maximum: 0,
            problem_information: true,
            authentication_method: None,
            unacknowledged: BTreeSet::new(),
            aliases: BTreeMap::new(),
        }
    }

    /// Records the limits in CONNECT.
    pub(crate) fn on_connect(&mut self, connect: &Connect) {
        let number = |id| connect.properties.number(id);
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        // A limit of 0 is a Protocol Error, so it isn't applied.
        let packet_size = number(property::MAXIMUM_PACKET_SIZE).filter(|limit| *limit > 0);
        self.maximum_packet_size = packet_size.map_or(usize::MAX, size);
        self.receive_maximum = number(property::RECEIVE_MAXIMUM).map_or(usize::from(u16::MAX), size);
        self.topic_alias_maximum = number(property::TOPIC_ALIAS_MAXIMUM).unwrap_or_default();
        self.problem_information = number(property::REQUEST_PROBLEM_INFORMATION) != Some(0);
        self.authentication_method = connect.properties.text(property::AUTHENTICATION_METHOD).cloned();
    }

    /// Records acknowledgements in sent bytes.
    pub(crate) fn on_sent(&mut self, bytes: &[u8]) {
        for (first_byte, body) in link::packets(bytes) {
            let &[high, low, ref rest @ ..] = body else { continue };
            let refused = rest.first().is_some_and(|reason| *reason >= 0x80);
            let kind = Kind::of(first_byte);
            if matches!(kind, Some(Kind::Puback | Kind::Pubcomp)) || kind == Some(Kind::Pubrec) && refused {
                self.unacknowledged.remove(&u16::from_be_bytes([high, low]));
            }
        }
    }

    /// Checks a packet from the broker, and resolves its Topic Alias.
    pub(crate) fn on_received(&mut self, packet: &mut Packet, length: usize) -> Result<(), Failure> {
        self.check_order(packet)?;
        if length > self.maximum_packet_size {
            let came = format!("{} of {length} bytes", packet.kind().name());
            let expected = format!("no packet of more than {} bytes", self.maximum_packet_size);
            return Err(Failure::new(expected, came).of("MQTT-3.1.2-24"));
        }
        self.check_problem_information(packet)?;
        self.check_authentication(packet)?;
        if let Packet::Publish(publish) = packet {
            self.check_packet_id(publish.packet_id, publish.dup)?;
            let alias = publish.properties.number(property::TOPIC_ALIAS);
            self.resolve_alias(alias, &mut publish.topic)?;
        }
        Ok(())
    }

    fn check_order(&mut self, packet: &Packet) -> Result<(), Failure> {
        let kind = packet.kind();
        if self.disconnect_seen {
            return Err(Failure::new("nothing after DISCONNECT", kind.name()).of("MQTT-3.14.4-1"));
        }
        if kind == Kind::Connack {
            if self.connack_seen {
                // 3.1.1 has no statement about it; but only a second CONNECT is answered so.
                let statement = self.version.pick("MQTT-3.1.0-2", "MQTT-3.2.0-2");
                return Err(Failure::new("a single CONNACK", "a second one").of(statement));
            }
            self.connack_seen = true;
        } else if !self.connack_seen && kind != Kind::Auth {
            let statement = if kind == Kind::Disconnect { "MQTT-3.14.0-1" } else { "MQTT-3.2.0-1" };
            return Err(Failure::new("CONNACK before any other packet", kind.name()).of(statement));
        }
        self.disconnect_seen = kind == Kind::Disconnect;
        Ok(())
    }

    fn check_problem_information(&self, packet: &Packet) -> Result<(), Failure> {
        let exempt = matches!(packet.kind(), Kind::Publish | Kind::Connack | Kind::Disconnect);
        let told = packet.properties().is_some_and(|properties| {
            properties.has(property::REASON_STRING) || properties.has(property::USER_PROPERTY)
        });
        if self.problem_information || exempt || !told {
            return Ok(());
        }
        Err(Failure::new("neither Reason String nor User Property", packet.describe()).of("MQTT-3.1.2-29"))
    }

    fn check_authentication(&self, packet: &Packet) -> Result<(), Failure> {
        let kind = packet.kind();
        if !matches!(kind, Kind::Auth | Kind::Connack) {
            return Ok(());
        }
        let method = packet.properties().and_then(|properties| properties.text(property::AUTHENTICATION_METHOD));
        match (&self.authentication_method, method) {
            (None, None) if kind == Kind::Connack => Ok(()),
            (None, _) => {
                let expected = "neither AUTH nor an Authentication Method, as CONNECT has none";
                Err(Failure::new(expected, packet.describe()).of("MQTT-4.12.0-6"))
            }
            (Some(_), None) if kind == Kind::Connack => Ok(()),
            (Some(asked), told) if told == Some(asked) => Ok(()),
            (Some(asked), _) => {
                let expected = format!("the Authentication Method {asked:?}, as in CONNECT");
                Err(Failure::new(expected, packet.describe()).of("MQTT-4.12.0-5"))
            }
        }
    }

    fn check_packet_id(&mut self, packet_id: Option<u16>, dup: bool) -> Result<(), Failure> {
        let Some(packet_id) = packet_id else { return Ok(()) };
        if !self.unacknowledged.insert(packet_id) {
            let came =
                format!("PUBLISH with the Packet Identifier {packet_id}, which is in use (DUP {})", u8::from(dup));
            return match (self.version, dup) {
                (Version::V3, true) => Ok(()),
                (Version::V3, false) => Err(Failure::new("an unused Packet Identifier", came).of("MQTT-2.3.1-4")),
                (Version::V5, true) => {
                    Err(Failure::new("no PUBLISH again but on reconnecting", came).of("MQTT-4.4.0-1"))
                }
                (Version::V5, false) => Err(Failure::new("an unused Packet Identifier", came).of("MQTT-2.2.1-4")),
            };
        }
        if self.unacknowledged.len() > self.receive_maximum {
            let expected = format!("at most {} unacknowledged PUBLISH packets", self.receive_maximum);
            let came = format!("{} of them", self.unacknowledged.len());
            return Err(Failure::new(expected, came).of("MQTT-3.3.4-9"));
        }
        Ok(())
    }

    fn resolve_alias(&mut self, alias: Option<u32>, topic: &mut Text) -> Result<(), Failure> {
        let Some(alias) = alias else { return Ok(()) };
        if alias > self.topic_alias_maximum {
            let expected = format!("no Topic Alias above {}", self.topic_alias_maximum);
            return Err(Failure::new(expected, format!("the Topic Alias {alias}")).of("MQTT-3.1.2-26"));
        }
        if !topic.as_bytes().is_empty() {
            self.aliases.insert(alias, topic.clone());
        } else if let Some(known) = self.aliases.get(&alias) {
            *topic = known.clone();
        } else {
            let came = format!("the Topic Alias {alias}, to which nothing was assigned on this connection");
            return Err(Failure::new("a Topic Alias that has a Topic Name", came).of("MQTT-3.3.2-7"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode;

    /// The state after CONNECT and CONNACK.
    fn accepted(connect: &Connect) -> Watch {
        let mut watch = Watch::new(connect.version);
        watch.on_connect(connect);
        let connack: &[u8] = if connect.version.is_v5() { &[0, 0, 0] } else { &[0, 0] };
        receive(&mut watch, 0x20, connack).unwrap();
        watch
    }

    fn receive(watch: &mut Watch, first_byte: u8, body: &[u8]) -> Result<Packet, Failure> {
        let mut packet = decode(watch.version, first_byte, body).unwrap();
        watch.on_received(&mut packet, body.len() + 2)?;
        Ok(packet)
    }

    fn broken(watch: &mut Watch, first_byte: u8, body: &[u8]) -> String {
        match receive(watch, first_byte, body) {
            Err(Failure::Broken { statement: Some(statement), .. }) => statement,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_order_of_packets_is_checked() {
        assert_eq!(broken(&mut Watch::new(Version::V3), 0xD0, &[]), "MQTT-3.2.0-1");
        assert_eq!(broken(&mut Watch::new(Version::V5), 0xE0, &[0x81]), "MQTT-3.14.0-1");
        let mut watch = accepted(&Connect::new(Version::V5));
        assert_eq!(broken(&mut watch, 0x20, &[0, 0, 0]), "MQTT-3.2.0-2");
        receive(&mut watch, 0xE0, &[0x81]).unwrap();
        assert_eq!(broken(&mut watch, 0xD0, &[]), "MQTT-3.14.4-1");
    }

    #[test]
    fn the_limits_in_connect_are_checked() {
        let with = |id, value: u32| Connect::new(Version::V5).with(id, value);
        let mut watch = accepted(&with(property::MAXIMUM_PACKET_SIZE, 6));
        assert_eq!(broken(&mut watch, 0x30, &[0, 1, b'a', 0, 1]), "MQTT-3.1.2-24");
        let mut watch = accepted(&with(property::REQUEST_PROBLEM_INFORMATION, 0));
        assert_eq!(broken(&mut watch, 0x40, &[0, 1, 0x80, 3, 0x1F, 0, 0]), "MQTT-3.1.2-29");
        let mut watch = accepted(&with(property::RECEIVE_MAXIMUM, 1));
        receive(&mut watch, 0x32, &[0, 1, b'a', 0, 1, 0]).unwrap();
        assert_eq!(broken(&mut watch, 0x32, &[0, 1, b'a', 0, 2, 0]), "MQTT-3.3.4-9");
        let mut watch = accepted(&Connect::new(Version::V5));
        assert_eq!(broken(&mut watch, 0xF0, &[0x18]), "MQTT-4.12.0-6");
    }

    #[test]
    fn topic_aliases_are_resolved_and_checked() {
        let mut watch = accepted(&Connect::new(Version::V5).with(property::TOPIC_ALIAS_MAXIMUM, 2));
        assert_eq!(broken(&mut watch, 0x30, &[0, 1, b'a', 3, 0x23, 0, 3]), "MQTT-3.1.2-26");
        assert_eq!(broken(&mut watch, 0x30, &[0, 0, 3, 0x23, 0, 2]), "MQTT-3.3.2-7");
        receive(&mut watch, 0x30, &[0, 1, b'a', 3, 0x23, 0, 2]).unwrap();
        let packet = receive(&mut watch, 0x30, &[0, 0, 3, 0x23, 0, 2]).unwrap();
        assert!(matches!(packet, Packet::Publish(publish) if publish.topic == "a"));
    }

    #[test]
    fn an_acknowledged_packet_identifier_can_be_reused() {
        let publish = |dup: u8, qos: u8| 0x30 | dup << 3 | qos << 1;
        let mut watch = accepted(&Connect::new(Version::V3));
        receive(&mut watch, publish(0, 2), &[0, 1, b'a', 0, 7]).unwrap();
        watch.on_sent(&[0x50, 2, 0, 7]);
        assert_eq!(broken(&mut watch, publish(0, 1), &[0, 1, b'a', 0, 7]), "MQTT-2.3.1-4");
        receive(&mut watch, publish(1, 2), &[0, 1, b'a', 0, 7]).unwrap();
        watch.on_sent(&[0x70, 2, 0, 7]);
        receive(&mut watch, publish(0, 1), &[0, 1, b'a', 0, 7]).unwrap();

        let mut watch = accepted(&Connect::new(Version::V5));
        receive(&mut watch, publish(0, 1), &[0, 1, b'a', 0, 7, 0]).unwrap();
        assert_eq!(broken(&mut watch, publish(1, 1), &[0, 1, b'a', 0, 7, 0]), "MQTT-4.4.0-1");
        watch.on_sent(&[0x40, 2, 0, 7]);
        receive(&mut watch, publish(0, 1), &[0, 1, b'a', 0, 7, 0]).unwrap();
    }
}
