//! The text of our configuration, with a comment for each line that says where it comes from.

use std::fmt::Write;

use crate::import::conf::Place;

/// A TOML text that grows by sections.
#[derive(Debug, Default)]
pub(super) struct Document {
    sections: Vec<Section>,
}

/// A table, and what is in it.
#[derive(Debug)]
pub(super) struct Section {
    header: String,
    why: Why,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: &'static str,
    value: String,
    why: Why,
}

/// Where a setting comes from.
#[derive(Debug, Clone)]
pub(super) enum Why {
    /// A line.
    Line(Place),
    /// It is so in mosquitto without a line, or follows from several.
    Text(&'static str),
}

impl From<&Place> for Why {
    fn from(place: &Place) -> Self {
        Self::Line(place.clone())
    }
}

impl Section {
    /// A section with this header, such as `[limits]`.
    pub(super) fn new(header: &str, why: impl Into<Why>) -> Self {
        Self { header: header.to_owned(), why: why.into(), entries: Vec::new() }
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str, why: impl Into<Why>) {
        self.raw(key, quoted(value), why);
    }

    pub(super) fn texts<T: AsRef<str>>(&mut self, key: &'static str, values: &[T], why: impl Into<Why>) {
        let values: Vec<String> = values.iter().map(|value| quoted(value.as_ref())).collect();
        self.raw(key, format!("[{}]", values.join(", ")), why);
    }

    pub(super) fn number(&mut self, key: &'static str, value: i64, why: impl Into<Why>) {
        self.raw(key, value.to_string(), why);
    }

    pub(super) fn flag(&mut self, key: &'static str, value: bool, why: impl Into<Why>) {
        self.raw(key, value.to_string(), why);
    }

    pub(super) fn seconds(&mut self, key: &'static str, value: i64, why: impl Into<Why>) {
        self.raw(key, format!("\"{value}s\""), why);
    }

    fn raw(&mut self, key: &'static str, value: String, why: impl Into<Why>) {
        // A setting stands once: the later one counts.
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry { key, value, why: why.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A configuration, and the line that each of its lines comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Text {
    pub(in crate::import) text: String,
    /// By the number of the line, from 1.
    places: Vec<Option<Place>>,
}

impl Text {
    /// Where this line of it comes from, counted from 1.
    pub(in crate::import) fn place(&self, line: usize) -> Option<&Place> {
        self.places.get(line.checked_sub(1)?)?.as_ref()
    }
}

impl Document {
    pub(super) fn push(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Adds a section unless it has nothing.
    pub(super) fn push_filled(&mut self, section: Section) {
        if !section.is_empty() {
            self.sections.push(section);
        }
    }

    pub(super) fn render(&self, title: &str) -> Text {
        let mut text = Text { text: String::new(), places: Vec::new() };
        text.line(&format!("# {title}"), &Why::Text(""));
        for section in &self.sections {
            text.line("", &Why::Text(""));
            text.line(&section.header, &section.why);
            for Entry { key, value, why } in &section.entries {
                text.line(&format!("{key} = {value}"), why);
            }
        }
        text
    }
}

impl Text {
    fn line(&mut self, line: &str, why: &Why) {
        let comment = match why {
            Why::Line(place) => format!("# {}", one_line(&place.to_string())),
            Why::Text("") => String::new(),
            Why::Text(text) => format!("# {text}"),
        };
        // Writing to a String can't fail.
        let _ = match comment.is_empty() {
            true => writeln!(self.text, "{line}"),
            false => writeln!(self.text, "{line:<48}{comment}", line = format!("{line} ")),
        };
        let place = match why {
            Why::Line(place) => Some(place.clone()),
            Why::Text(_) => None,
        };
        self.places.push(place);
    }
}

/// A string of TOML, in one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => {
                // Writing to a String can't fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// The text without line feeds and other control characters, which a comment can't have.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_one_line_and_comes_back_as_it_was(text: String) {
            let line = format!("a = {}", quoted(&text));
            prop_assert_eq!(line.lines().count(), 1);
            let table: toml::Table = line.parse().unwrap();
            prop_assert_eq!(table["a"].as_str(), Some(&*text));
        }
    }
}
