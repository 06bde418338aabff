//! The standard's tables of properties and Reason Codes, read from CSV files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use super::data_type::Type;
use super::kind::Kind;
use crate::csv;

/// A row of the table of properties.
#[derive(Debug)]
pub struct PropertyRow {
    /// The packet, spelled as in the standard; `CONNECT Will Properties` has its own rows.
    pub packet: String,
    /// The identifier.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// Whether a server may send it in this packet.
    pub from_server: bool,
    /// Whether a client may send it in this packet.
    pub from_client: bool,
    /// Whether it may occur more than once.
    pub may_repeat: bool,
    /// The section that describes it.
    pub section: String,
}

/// All properties of all packets.
pub fn properties() -> &'static [PropertyRow] {
    static ROWS: OnceLock<Vec<PropertyRow>> = OnceLock::new();
    ROWS.get_or_init(|| csv::read(include_str!("../../statements/properties.csv")).iter().filter_map(row).collect())
}

/// The row of a property in a packet.
pub fn property(packet: &str, id: u8) -> Option<&'static PropertyRow> {
    properties().iter().find(|row| row.packet == packet && row.id == id)
}

/// The type of a property, which is the same in every packet.
pub fn property_type(id: u8) -> Option<Type> {
    properties().iter().find(|row| row.id == id).map(|row| row.kind)
}

/// The name of a property.
pub fn property_name(id: u8) -> Option<&'static str> {
    properties().iter().find(|row| row.id == id).map(|row| row.name.as_str())
}

/// Whether a server may send this Reason Code of 5.0 in this packet. The standard contradicts itself about 0x8C in DISCONNECT:
/// Table 2-6 has it, the table of section 3.14.2.1 doesn't; so it is allowed.
pub fn server_may_send(kind: Kind, code: u8) -> bool {
    static CODES: OnceLock<BTreeMap<String, BTreeSet<u8>>> = OnceLock::new();
    let codes = CODES.get_or_init(|| {
        let mut codes: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
        for row in csv::read(include_str!("../../statements/reason-codes.csv")) {
            let from_server = row.get("sent_by").contains("server") && row.get("in_packet_table") == "yes";
            let of_no_sender = row.get("sent_by").is_empty() && row.get("in_table_2_6") == "yes";
            if let (true, Ok(code)) = (from_server || of_no_sender, row.get("code").parse()) {
                codes.entry(row.get("packet").to_owned()).or_default().insert(code);
            }
        }
        codes
    });
    codes.get(kind.name()).is_some_and(|codes| codes.contains(&code))
}

/// The name of a Reason Code in a packet.
pub fn reason_name(kind: Kind, code: u8) -> Option<&'static str> {
    static NAMES: OnceLock<BTreeMap<(String, u8), String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let rows = csv::read(include_str!("../../statements/reason-codes.csv"));
        let named = |row: &csv::Record| {
            let code = row.get("code").parse().ok()?;
            Some(((row.get("packet").to_owned(), code), row.get("name").to_owned()))
        };
        rows.iter().filter_map(named).collect()
    });
    names.get(&(kind.name().to_owned(), code)).map(String::as_str)
}

fn row(row: &csv::Record) -> Option<PropertyRow> {
    let kind = match row.get("type") {
        "Byte" => Type::Byte,
        "Two Byte Integer" => Type::TwoByte,
        "Four Byte Integer" => Type::FourByte,
        "Variable Byte Integer" => Type::VariableByte,
        "UTF-8 Encoded String" => Type::Text,
        "Binary Data" => Type::Binary,
        "UTF-8 String Pair" => Type::Pair,
        _ => return None,
    };
    Some(PropertyRow {
        packet: row.get("packet").to_owned(),
        id: row.get("id").parse().ok()?,
        name: row.get("name").to_owned(),
        kind,
        from_server: row.get("sent_by").contains("server"),
        from_client: row.get("sent_by").contains("client"),
        may_repeat: row.get("may_repeat") == "yes",
        section: row.get("section").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_tables_is_read() {
        assert_eq!(properties().len(), 64);
        assert!(server_may_send(Kind::Puback, 0x10));
        assert!(!server_may_send(Kind::Disconnect, 0x04));
        assert!(server_may_send(Kind::Disconnect, 0x8C));
        assert_eq!(reason_name(Kind::Auth, 0x18), Some("Continue authentication"));
    }
}
