//! Properties: any identifier with any value, also invalid ones.

use super::bytes::{Text, length, prefixed, variable_byte_integer};
use super::data_type::Type;
use super::tables;

/// Byte.
pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
/// Four Byte Integer.
pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
/// UTF-8 Encoded String.
pub const CONTENT_TYPE: u8 = 0x03;
/// UTF-8 Encoded String.
pub const RESPONSE_TOPIC: u8 = 0x08;
/// Binary Data.
pub const CORRELATION_DATA: u8 = 0x09;
/// Variable Byte Integer.
pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
/// Four Byte Integer.
pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
/// UTF-8 Encoded String.
pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
/// Two Byte Integer.
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
/// UTF-8 Encoded String.
pub const AUTHENTICATION_METHOD: u8 = 0x15;
/// Binary Data.
pub const AUTHENTICATION_DATA: u8 = 0x16;
/// Byte.
pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
/// Four Byte Integer.
pub const WILL_DELAY_INTERVAL: u8 = 0x18;
/// Byte.
pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
/// UTF-8 Encoded String.
pub const RESPONSE_INFORMATION: u8 = 0x1A;
/// UTF-8 Encoded String.
pub const SERVER_REFERENCE: u8 = 0x1C;
/// UTF-8 Encoded String.
pub const REASON_STRING: u8 = 0x1F;
/// Two Byte Integer.
pub const RECEIVE_MAXIMUM: u8 = 0x21;
/// Two Byte Integer.
pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
/// Two Byte Integer.
pub const TOPIC_ALIAS: u8 = 0x23;
/// Byte.
pub const MAXIMUM_QOS: u8 = 0x24;
/// Byte.
pub const RETAIN_AVAILABLE: u8 = 0x25;
/// UTF-8 String Pair.
pub const USER_PROPERTY: u8 = 0x26;
/// Four Byte Integer.
pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
/// Byte.
pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
/// Byte.
pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
/// Byte.
pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;

/// The value of a property. It is encoded according to the identifier's type; a number with an unknown identifier is a
/// single byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number of any width.
    Number(u32),
    /// A string or Binary Data.
    Text(Text),
    /// A name and a value.
    Pair(Text, Text),
    /// Raw bytes after the identifier, regardless of its type.
    Raw(Vec<u8>),
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

/// For integer literals; a negative one is encoded as 0.
impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(u32::try_from(number).unwrap_or_default())
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Value {
    fn from(text: &T) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Text(bytes.into())
    }
}

impl<A: Into<Text>, B: Into<Text>> From<(A, B)> for Value {
    fn from((name, value): (A, B)) -> Self {
        Self::Pair(name.into(), value.into())
    }
}

/// One property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The identifier, which may be invalid. It is encoded as a single byte.
    pub id: u8,
    /// The value.
    pub value: Value,
}

impl Property {
    /// The identifier and the value as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.id];
        match &self.value {
            Value::Number(number) => bytes.extend(encode_number(tables::property_type(self.id), *number)),
            Value::Text(text) => bytes.extend(prefixed(text.as_bytes())),
            Value::Pair(name, value) => {
                bytes.extend(prefixed(name.as_bytes()));
                bytes.extend(prefixed(value.as_bytes()));
            }
            Value::Raw(raw) => bytes.extend_from_slice(raw),
        }
        bytes
    }
}

/// The properties of a packet, in their order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(pub Vec<Property>);

impl Properties {
    /// The Property Length and the properties.
    pub fn encode(&self) -> Vec<u8> {
        let content: Vec<u8> = self.0.iter().flat_map(Property::encode).collect();
        let mut bytes = variable_byte_integer(length(&content));
        bytes.extend(content);
        bytes
    }

    /// Appends one.
    pub fn push(&mut self, id: u8, value: impl Into<Value>) {
        self.0.push(Property { id, value: value.into() });
    }

    /// Whether there is one with this identifier.
    pub fn has(&self, id: u8) -> bool {
        self.get(id).is_some()
    }

    /// The value of the first with this identifier.
    pub fn get(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|property| property.id == id).map(|property| &property.value)
    }

    /// The first with this identifier, if it is a number of any width.
    pub fn number(&self, id: u8) -> Option<u32> {
        self.numbers(id).first().copied()
    }

    /// All with this identifier: for Subscription Identifiers.
    pub fn numbers(&self, id: u8) -> Vec<u32> {
        let values = self.0.iter().filter(|property| property.id == id);
        values
            .filter_map(|property| if let Value::Number(number) = property.value { Some(number) } else { None })
            .collect()
    }

    /// The first with this identifier, if it is a string or Binary Data.
    pub fn text(&self, id: u8) -> Option<&Text> {
        if let Some(Value::Text(text)) = self.get(id) { Some(text) } else { None }
    }

    /// The User Properties, in their order.
    pub fn user_properties(&self) -> Vec<(String, String)> {
        let pairs = self.0.iter().filter(|property| property.id == USER_PROPERTY);
        pairs
            .filter_map(|property| {
                if let Value::Pair(name, value) = &property.value {
                    Some((name.to_text(), value.to_text()))
                } else {
                    None
                }
            })
            .collect()
    }
}

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for Property { id, value } in &self.0 {
            let name = tables::property_name(*id).map_or_else(|| format!("0x{id:02X}"), ToOwned::to_owned);
            let key = format_args!("{name}").to_string();
            map.key(&Plain(&key));
            match value {
                Value::Number(number) => map.value(number),
                Value::Text(text) => map.value(text),
                Value::Pair(name, content) => map.value(&(name, content)),
                Value::Raw(raw) => map.value(raw),
            };
        }
        map.finish()
    }
}

/// A name without quotes.
struct Plain<'a>(&'a str);

impl std::fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

fn encode_number(kind: Option<Type>, number: u32) -> Vec<u8> {
    let [_, _, third, fourth] = number.to_be_bytes();
    match kind {
        Some(Type::TwoByte) => vec![third, fourth],
        Some(Type::FourByte) => number.to_be_bytes().to_vec(),
        Some(Type::VariableByte) => variable_byte_integer(number),
        Some(Type::Byte | Type::Text | Type::Binary | Type::Pair) | None => vec![fourth],
    }
}
