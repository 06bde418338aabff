//! Decodes packets from a server, and names the statement that a packet violates.
//!
//! Every packet that any case receives is decoded here, so rules for all packets are checked all the time.

use super::bytes::Text;
use super::data_type::Type;
use super::kind::Kind;
use super::packet::{Ack, AckKind, Auth, Connack, Disconnect, Packet};
use super::property::{self, Properties, Property, Value};
use super::publish::Publish;
use super::subscribe::{Suback, Unsuback};
use super::tables;
use super::version::Version;
use crate::rows;

/// A violation by a packet from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The statement, or the section if there is none.
    pub statement: String,
    /// What is wrong.
    pub what: String,
}

type Result<T> = std::result::Result<T, Violation>;

/// Decodes one packet: its first byte, and what follows the Remaining Length.
pub fn decode(version: Version, first_byte: u8, body: &[u8]) -> Result<Packet> {
    let kind = Kind::of(first_byte).ok_or_else(|| violation(version, ["2.2.1", "2.1.2"], "the packet type is 0"))?;
    let flags = first_byte & 0x0F;
    if kind != Kind::Publish && flags != kind.first_byte() & 0x0F {
        let what = format!("the flags of {} are {flags:04b}", kind.name());
        return Err(violation(version, ["MQTT-2.2.2-1", "MQTT-2.1.3-1"], what));
    }
    let mut reader = Reader { version, kind, rest: body };
    let packet = match kind {
        Kind::Connack => Packet::Connack(connack(&mut reader)?),
        Kind::Publish => Packet::Publish(publish(&mut reader, flags)?),
        Kind::Puback => Packet::Ack(ack(&mut reader, AckKind::Puback)?),
        Kind::Pubrec => Packet::Ack(ack(&mut reader, AckKind::Pubrec)?),
        Kind::Pubrel => Packet::Ack(ack(&mut reader, AckKind::Pubrel)?),
        Kind::Pubcomp => Packet::Ack(ack(&mut reader, AckKind::Pubcomp)?),
        Kind::Suback => Packet::Suback(suback(&mut reader)?),
        Kind::Unsuback => Packet::Unsuback(unsuback(&mut reader)?),
        Kind::Pingresp => Packet::Pingresp,
        Kind::Disconnect if version.is_v5() => {
            let (reason, properties) = reader.reason_and_properties(["", "MQTT-3.14.2-1"])?;
            Packet::Disconnect(Disconnect { reason, properties, flags: None })
        }
        Kind::Auth if version.is_v5() => {
            let (reason, properties) = reader.reason_and_properties(["", "MQTT-3.15.2-1"])?;
            Packet::Auth(Auth { reason, properties, flags: None })
        }
        Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq | Kind::Disconnect | Kind::Auth => {
            let what = format!("{} is not sent by a Server in {version}", kind.name());
            return Err(violation(version, ["2.2.1", "2.1.2"], what));
        }
    };
    if !reader.rest.is_empty() {
        let what = format!("{} has {} bytes behind its last field", kind.name(), reader.rest.len());
        return Err(violation(version, ["2.2.3", "2.1.4"], what));
    }
    Ok(packet)
}

/// The violation of a statement in 3.1.1 and in 5.0.
pub fn violation(version: Version, [v3, v5]: [&str; 2], what: impl Into<String>) -> Violation {
    Violation { statement: version.pick(v3, v5).to_owned(), what: what.into() }
}

fn connack(reader: &mut Reader<'_>) -> Result<Connack> {
    let version = reader.version;
    let flags = reader.byte()?;
    if flags > 1 {
        let what = format!("the Connect Acknowledge Flags are {flags:08b}");
        return Err(violation(version, ["3.1.1/3.2.2.1/1", "MQTT-3.2.2-1"], what));
    }
    let reason = reader.byte()?;
    let known = version.is_v5() && tables::server_may_send(Kind::Connack, reason) || !version.is_v5() && reason <= 5;
    if !known {
        let what = format!("CONNACK has the code {reason}");
        return Err(violation(version, ["MQTT-3.2.2-6", "MQTT-3.2.2-8"], what));
    }
    if reason != 0 && flags != 0 {
        let what = format!("CONNACK has the code {reason} and Session Present");
        return Err(violation(version, ["MQTT-3.2.2-4", "MQTT-3.2.2-6"], what));
    }
    let properties = if version.is_v5() { reader.properties()? } else { Properties::default() };
    Ok(Connack { session_present: flags == 1, reason, properties })
}

fn publish(reader: &mut Reader<'_>, flags: u8) -> Result<Publish> {
    let version = reader.version;
    let (dup, qos, retain) = (flags & 0b1000 != 0, flags >> 1 & 0b11, flags & 1 != 0);
    if qos == 3 {
        return Err(violation(version, ["MQTT-3.3.1-4", "MQTT-3.3.1-4"], "PUBLISH has QoS 3"));
    }
    if qos == 0 && dup {
        return Err(violation(version, ["MQTT-3.3.1-2", "MQTT-3.3.1-2"], "PUBLISH has QoS 0 and DUP"));
    }
    let topic = reader.text()?;
    let packet_id = if qos > 0 { Some(reader.packet_id()?) } else { None };
    let properties = if version.is_v5() { reader.properties()? } else { Properties::default() };
    if topic.as_bytes().iter().any(|byte| matches!(byte, b'+' | b'#')) {
        let what = format!("the Topic Name {topic:?} has wildcards");
        return Err(violation(version, ["MQTT-3.3.2-2", "MQTT-3.3.2-2"], what));
    }
    if topic.as_bytes().is_empty() && !properties.has(property::TOPIC_ALIAS) {
        let what = "PUBLISH has neither a Topic Name nor a Topic Alias";
        return Err(violation(version, ["MQTT-4.7.3-1", "5.0/3.3.2.1/1"], what));
    }
    if properties.number(property::TOPIC_ALIAS) == Some(0) {
        return Err(violation(version, ["", "MQTT-3.3.2-8"], "PUBLISH has the Topic Alias 0"));
    }
    if properties.numbers(property::SUBSCRIPTION_IDENTIFIER).contains(&0) {
        return Err(violation(version, ["", "5.0/3.3.2.3.8/1"], "PUBLISH has the Subscription Identifier 0"));
    }
    let payload = Text(std::mem::take(&mut reader.rest).to_vec());
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload })
}

fn ack(reader: &mut Reader<'_>, kind: AckKind) -> Result<Ack> {
    let packet_id = reader.packet_id()?;
    let (reason, properties) = if reader.version.is_v5() {
        let statement = match kind {
            AckKind::Puback => "MQTT-3.4.2-1",
            AckKind::Pubrec => "MQTT-3.5.2-1",
            AckKind::Pubrel => "MQTT-3.6.2-1",
            AckKind::Pubcomp => "MQTT-3.7.2-1",
        };
        reader.reason_and_properties(["", statement])?
    } else {
        (None, None)
    };
    Ok(Ack { kind, packet_id, reason, properties, flags: None })
}

fn suback(reader: &mut Reader<'_>) -> Result<Suback> {
    let version = reader.version;
    let packet_id = reader.packet_id()?;
    let properties = if version.is_v5() { reader.properties()? } else { Properties::default() };
    let reasons = std::mem::take(&mut reader.rest).to_vec();
    let known = |code: &u8| match version {
        Version::V3 => matches!(code, 0..=2 | 0x80),
        Version::V5 => tables::server_may_send(Kind::Suback, *code),
    };
    if !reasons.iter().all(known) {
        return Err(violation(version, ["MQTT-3.9.3-2", "MQTT-3.9.3-2"], format!("SUBACK has the codes {reasons:?}")));
    }
    Ok(Suback { packet_id, properties, reasons })
}

fn unsuback(reader: &mut Reader<'_>) -> Result<Unsuback> {
    let version = reader.version;
    let packet_id = reader.packet_id()?;
    if !version.is_v5() {
        return Ok(Unsuback { packet_id, ..Unsuback::default() });
    }
    let properties = reader.properties()?;
    let reasons = std::mem::take(&mut reader.rest).to_vec();
    if !reasons.iter().all(|code| tables::server_may_send(Kind::Unsuback, *code)) {
        return Err(violation(version, ["", "MQTT-3.11.3-2"], format!("UNSUBACK has the codes {reasons:?}")));
    }
    Ok(Unsuback { packet_id, properties, reasons })
}

/// The rest of a packet's body.
struct Reader<'a> {
    version: Version,
    kind: Kind,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            let what = format!("{} ends in the middle of a field", self.kind.name());
            return Err(violation(self.version, ["2.2.3", "2.1.4"], what));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn number(&mut self, width: usize) -> Result<u32> {
        Ok(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn two_bytes(&mut self) -> Result<u16> {
        Ok(u16::try_from(self.number(2)?).unwrap_or_default())
    }

    fn packet_id(&mut self) -> Result<u16> {
        match self.two_bytes()? {
            0 => {
                let what = format!("{} has the Packet Identifier 0", self.kind.name());
                let statement = if self.kind == Kind::Publish {
                    ["MQTT-2.3.1-4", "MQTT-2.2.1-4"]
                } else if matches!(self.kind, Kind::Suback | Kind::Unsuback) {
                    ["MQTT-2.3.1-7", "MQTT-2.2.1-6"]
                } else {
                    ["MQTT-2.3.1-6", "MQTT-2.2.1-5"]
                };
                Err(violation(self.version, statement, what))
            }
            packet_id => Ok(packet_id),
        }
    }

    fn variable_byte_integer(&mut self) -> Result<u32> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                if byte == 0 && place > 0 {
                    let what = format!("a Variable Byte Integer in {} isn't the shortest", self.kind.name());
                    return Err(violation(self.version, ["2.2.3", "MQTT-1.5.5-1"], what));
                }
                return Ok(value);
            }
        }
        let what = format!("a Variable Byte Integer in {} has more than four bytes", self.kind.name());
        Err(violation(self.version, ["2.2.3", "1.5.5"], what))
    }

    fn binary(&mut self) -> Result<Text> {
        let length = self.two_bytes()?;
        Ok(Text(self.take(length.into())?.to_vec()))
    }

    fn text(&mut self) -> Result<Text> {
        let text = self.binary()?;
        let Ok(characters) = std::str::from_utf8(text.as_bytes()) else {
            let what = format!("a string in {} isn't UTF-8: {text:?}", self.kind.name());
            return Err(violation(self.version, ["MQTT-1.5.3-1", "MQTT-1.5.4-1"], what));
        };
        if characters.contains('\0') {
            let what = format!("a string in {} has U+0000: {text:?}", self.kind.name());
            return Err(violation(self.version, ["MQTT-1.5.3-2", "MQTT-1.5.4-2"], what));
        }
        Ok(text)
    }

    fn reason_and_properties(&mut self, statement: [&str; 2]) -> Result<(Option<u8>, Option<Properties>)> {
        if self.rest.is_empty() {
            return Ok((None, None));
        }
        let reason = self.byte()?;
        if !tables::server_may_send(self.kind, reason) {
            let what = format!("{} has the Reason Code 0x{reason:02X}", self.kind.name());
            return Err(violation(self.version, statement, what));
        }
        let properties = if self.rest.is_empty() { None } else { Some(self.properties()?) };
        Ok((Some(reason), properties))
    }

    fn properties(&mut self) -> Result<Properties> {
        let length = self.variable_byte_integer()?;
        let content = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let mut reader = Reader { version: self.version, kind: self.kind, rest: content };
        let mut properties = Properties::default();
        while !reader.rest.is_empty() {
            let id = reader.variable_byte_integer()?;
            let id = u8::try_from(id).ok();
            let row = id.and_then(|id| tables::property(self.kind.name(), id)).filter(|row| row.from_server);
            let Some(row) = row else {
                let what = format!("{} has the property {id:02X?}", self.kind.name());
                return Err(violation(self.version, ["", "5.0/2.2.2.2/1"], what));
            };
            let value = reader.value(row.kind)?;
            if properties.has(row.id) && !row.may_repeat {
                let what = format!("{} has {} twice", self.kind.name(), row.name);
                let statement = rows::rule_of(&row.section, "more than once");
                return Err(Violation { statement, what });
            }
            check_range(self.kind, row, &value)?;
            properties.0.push(Property { id: row.id, value });
        }
        Ok(properties)
    }

    fn value(&mut self, kind: Type) -> Result<Value> {
        Ok(match kind {
            Type::Byte => Value::Number(self.number(1)?),
            Type::TwoByte => Value::Number(self.number(2)?),
            Type::FourByte => Value::Number(self.number(4)?),
            Type::VariableByte => Value::Number(self.variable_byte_integer()?),
            Type::Text => Value::Text(self.text()?),
            Type::Binary => Value::Text(self.binary()?),
            Type::Pair => Value::Pair(self.text()?, self.text()?),
        })
    }
}

fn check_range(kind: Kind, row: &tables::PropertyRow, value: &Value) -> Result<()> {
    let allowed = match (row.id, value) {
        (property::RECEIVE_MAXIMUM | property::MAXIMUM_PACKET_SIZE, Value::Number(number)) => *number > 0,
        (_, Value::Number(number)) if row.kind == Type::Byte => *number <= 1,
        (_, _) => true,
    };
    if allowed {
        return Ok(());
    }
    let what = format!("{} has {} {value:?}", kind.name(), row.name);
    Err(Violation { statement: rows::rule_of(&row.section, "value"), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(version: Version, first_byte: u8, body: &[u8]) -> String {
        decode(version, first_byte, body).unwrap_err().statement
    }

    #[test]
    fn a_violation_is_reported_with_its_statement() {
        use Version::{V3, V5};
        assert_eq!(broken(V5, 0x21, &[0, 0, 0]), "MQTT-2.1.3-1");
        assert_eq!(broken(V3, 0x20, &[2, 0]), "3.1.1/3.2.2.1/1");
        assert_eq!(broken(V5, 0x20, &[1, 0x87, 0]), "MQTT-3.2.2-6");
        assert_eq!(broken(V5, 0x20, &[0, 1, 0]), "MQTT-3.2.2-8");
        assert_eq!(broken(V5, 0x20, &[0, 0, 4, 0x24, 1, 0x24, 1]), "5.0/3.2.2.3.4/1");
        assert_eq!(broken(V5, 0x20, &[0, 0, 2, 0x24, 2]), "5.0/3.2.2.3.4/1");
        assert_eq!(broken(V5, 0x20, &[0, 0, 3, 0x21, 0, 0]), "5.0/3.2.2.3.3/1");
        assert_eq!(broken(V5, 0x20, &[0, 0, 2, 0x01, 0]), "5.0/2.2.2.2/1");
        assert_eq!(broken(V5, 0x20, &[0, 0, 0x80, 0]), "MQTT-1.5.5-1");
        assert_eq!(broken(V3, 0x36, &[0, 1, b'a', 0, 1]), "MQTT-3.3.1-4");
        assert_eq!(broken(V3, 0x38, &[0, 1, b'a']), "MQTT-3.3.1-2");
        assert_eq!(broken(V3, 0x32, &[0, 1, b'a', 0, 0]), "MQTT-2.3.1-4");
        assert_eq!(broken(V5, 0x30, &[0, 1, b'#', 0]), "MQTT-3.3.2-2");
        assert_eq!(broken(V5, 0x30, &[0, 1, 0, 0]), "MQTT-1.5.4-2");
        assert_eq!(broken(V5, 0x30, &[0, 1, 0x80, 0]), "MQTT-1.5.4-1");
        assert_eq!(broken(V5, 0x30, &[0, 0, 0]), "5.0/3.3.2.1/1");
        assert_eq!(broken(V5, 0x40, &[0, 1, 0x92]), "MQTT-3.4.2-1");
        assert_eq!(broken(V5, 0xE0, &[4]), "MQTT-3.14.2-1");
        assert_eq!(broken(V3, 0x90, &[0, 1, 3]), "MQTT-3.9.3-2");
        assert_eq!(broken(V3, 0xE0, &[]), "2.2.1");
        assert_eq!(broken(V3, 0x40, &[0, 1, 0]), "2.2.3");
    }
}
