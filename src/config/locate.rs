//! Locates settings in a TOML text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// One key of a TOML text and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The full path: `limits.connections_max`, `listeners[0].tls.key`.
    pub(super) path: String,
    /// From the first byte of the key to the last byte of the value.
    pub(super) span: Range<usize>,
    /// Byte offset of the key.
    pub(super) start: usize,
}

/// Every key of `text`, including tables; empty if `text` isn't valid TOML.
pub(super) fn places(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        collect_table(table.get_ref(), "", &mut places);
    }
    places
}

/// The innermost key whose span contains the byte `offset`.
pub(super) fn path_at(places: &[Place], offset: usize) -> Option<&str> {
    let around = places.iter().filter(|place| place.span.contains(&offset));
    around.min_by_key(|place| place.span.len()).map(|place| place.path.as_str())
}

/// The line and column of the byte `offset`, counted from 1; columns count characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut before = String::from_utf8_lossy(text.as_bytes().get(..offset).unwrap_or(text.as_bytes())).into_owned();
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.split_off(line_start).chars().count() + 1;
    (line, column)
}

fn collect_table(table: &DeTable<'_>, prefix: &str, places: &mut Vec<Place>) {
    for (key, value) in table {
        let name: &DeString<'_> = key.get_ref();
        let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
        let span = key.span().start..value.span().end.max(key.span().end);
        places.push(Place { path: path.clone(), span, start: key.span().start });
        collect_value(value, &path, places);
    }
}

fn collect_value(value: &Spanned<DeValue<'_>>, path: &str, places: &mut Vec<Place>) {
    if let Some(table) = value.get_ref().as_table() {
        collect_table(table, path, places);
    }
    for (index, item) in value.get_ref().as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        places.push(Place { path: path.clone(), span: item.span(), start: item.span().start });
        collect_value(item, &path, places);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str =
        "# first\n[limits]\nconnections_max = 5\n\n[[listeners]]\naddress = \"é\" # é\n[listeners.tls]\nkey = 'k'\n";

    #[test]
    fn every_key_is_found_at_its_line() {
        let places = places(TEXT);
        let line = |path: &str| {
            let place = places.iter().find(|place| place.path == path).unwrap();
            line_and_column(TEXT, place.start).0
        };
        assert_eq!(line("limits.connections_max"), 3);
        assert_eq!(line("listeners[0].address"), 6);
        assert_eq!(line("listeners[0].tls.key"), 8);
    }

    #[test]
    fn the_innermost_key_around_a_byte_is_named() {
        let places = places(TEXT);
        assert_eq!(path_at(&places, TEXT.find('5').unwrap()), Some("limits.connections_max"));
        assert_eq!(path_at(&places, TEXT.find("'k'").unwrap()), Some("listeners[0].tls.key"));
        assert_eq!(path_at(&places, 0), None);
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("aé=1", "aé".len()), (1, 3));
        assert_eq!(line_and_column("a\nb", 2), (2, 1));
        assert_eq!(line_and_column("a", 99), (1, 2));
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String, offset: usize) {
            let places = places(&text);
            let _ = path_at(&places, offset);
            let _ = line_and_column(&text, offset % (text.len() + 2));
        }
    }
}
