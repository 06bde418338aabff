//! The subject of a certificate as a text: RFC 2253, in the form of `openssl x509 -subject -nameopt RFC2253`, which mosquitto uses, too.
//!
//! Two subjects with the same text have the same attributes in the same order, apart from the kinds of their strings.

use std::fmt::Write;

use x509_parser::asn1_rs::{Any, Class, Tag, ToDer};
use x509_parser::x509::X509Name;

/// The text; empty if the subject has no attributes. `None`: a string of it is damaged.
pub(super) fn text(subject: &X509Name<'_>) -> Option<String> {
    let sets = subject.iter_rdn().map(|set| set.iter().collect::<Vec<_>>()).collect::<Vec<_>>();
    let mut text = String::new();
    for (number, set) in sets.iter().rev().enumerate() {
        for (place, attribute) in set.iter().rev().enumerate() {
            if (number, place) != (0, 0) {
                text.push(if place > 0 { '+' } else { ',' });
            }
            let oid = attribute.attr_type().to_id_string();
            let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short);
            text.push_str(short.unwrap_or(&oid));
            text.push('=');
            match short.and_then(|_| kind(attribute.attr_value())) {
                Some(_) => escape(&characters(attribute.attr_value())?, &mut text),
                // An unknown attribute, or no string: its DER.
                None => dump(attribute.attr_value(), &mut text)?,
            }
        }
    }
    Some(text)
}

/// The characters of a string; `None`: it is no string, or is damaged.
pub(super) fn characters(value: &Any<'_>) -> Option<String> {
    let bytes = value.data;
    match kind(value)? {
        Kind::Utf8 => String::from_utf8(bytes.to_vec()).ok(),
        Kind::Latin1 => Some(bytes.iter().copied().map(char::from).collect()),
        Kind::Utf16 => {
            let units = bytes.chunks_exact(2);
            let is_whole = units.remainder().is_empty();
            let units = units.map(|unit| u16::from_be_bytes(unit.try_into().unwrap_or_default()));
            char::decode_utf16(units).collect::<Result<_, _>>().ok().filter(|_| is_whole)
        }
        Kind::Utf32 => {
            let units = bytes.chunks_exact(4);
            let is_whole = units.remainder().is_empty();
            let units = units.map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().unwrap_or_default())));
            units.collect::<Option<_>>().filter(|_| is_whole)
        }
    }
}

/// How a string has its characters.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Utf8,
    Latin1,
    Utf16,
    Utf32,
}

fn kind(value: &Any<'_>) -> Option<Kind> {
    if value.header.class() != Class::Universal {
        return None;
    }
    match value.header.tag() {
        Tag::Utf8String => Some(Kind::Utf8),
        Tag::NumericString | Tag::PrintableString | Tag::T61String | Tag::Ia5String | Tag::VisibleString => {
            Some(Kind::Latin1)
        }
        Tag::BmpString => Some(Kind::Utf16),
        Tag::UniversalString => Some(Kind::Utf32),
        _ => None,
    }
}

/// Appends a text with what RFC 2253 escapes, and everything that is not ASCII byte by byte.
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (place, byte) in value.bytes().enumerate() {
        let is_at_end = byte == b' ' && (place == 0 || place == last);
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'#' if place == 0 => text.push_str("\\#"),
            _ if is_at_end => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            // Writing to a String can't fail.
            _ => _ = write!(text, "\\{byte:02X}"),
        }
    }
}

/// Appends `#` and the DER of a value in hexadecimal digits.
fn dump(value: &Any<'_>, text: &mut String) -> Option<()> {
    text.push('#');
    for byte in value.to_der_vec().ok()? {
        _ = write!(text, "{byte:02X}");
    }
    Some(())
}

/// The short names of OpenSSL for attributes that certificates have.
const SHORT_NAMES: [(&str, &str); 29] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.72", "role"),
    ("2.5.4.97", "organizationIdentifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];
