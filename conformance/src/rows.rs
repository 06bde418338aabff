//! The normative statements of the standards.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::csv;
use crate::wire::Version;

/// A normative statement of one version.
#[derive(Debug)]
pub struct Row {
    /// The version.
    pub version: Version,
    /// Its number in the standard, or `VERSION/SECTION/ORDINAL` for a rule without a number.
    pub id: String,
    /// The number and title of the section.
    pub section: String,
    /// The sentence.
    pub sentence: String,
}

impl Row {
    /// Whether it is a recommendation only.
    pub fn is_should(&self) -> bool {
        self.sentence.contains("SHOULD") && !self.sentence.contains("MUST")
    }
}

/// All statements, those of 3.1.1 first, each version in the order of its sections.
pub fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let mut rows = Vec::new();
        for version in Version::ALL {
            rows.extend(numbered(version));
            rows.extend(unnumbered(version));
        }
        rows.sort_by_key(|row| (row.version, section_numbers(&row.section)));
        rows
    })
}

/// The position of a statement in [`rows`], which is the order of reports.
pub fn place(version: Version, id: &str) -> Option<usize> {
    static PLACES: OnceLock<BTreeMap<(Version, &'static str), usize>> = OnceLock::new();
    let places = PLACES.get_or_init(|| {
        rows().iter().enumerate().map(|(place, row)| ((row.version, row.id.as_str()), place)).collect()
    });
    places.get(&(version, id)).copied()
}

/// Finds a statement.
pub fn find(version: Version, id: &str) -> Option<&'static Row> {
    place(version, id).and_then(|place| rows().get(place))
}

/// The first rule of 5.0 in a section that contains these words; the section if there is none.
pub fn rule_of(section: &str, words: &str) -> String {
    let found = rows()
        .iter()
        .find(|row| row.version == Version::V5 && number_of(&row.section) == section && row.sentence.contains(words));
    found.map_or_else(|| section.to_owned(), |row| row.id.clone())
}

fn numbered(version: Version) -> Vec<Row> {
    let text = version.pick(
        include_str!("../statements/mqtt-3.1.1-statements.csv"),
        include_str!("../statements/mqtt-5.0-statements.csv"),
    );
    let row = |record: &csv::Record| Row {
        version,
        id: record.get("id").to_owned(),
        section: record.get("section").to_owned(),
        sentence: record.get("statement").to_owned(),
    };
    csv::read(text).iter().map(row).collect()
}

fn unnumbered(version: Version) -> Vec<Row> {
    let mut ordinals: BTreeMap<String, u32> = BTreeMap::new();
    let records = csv::read(include_str!("../statements/unnumbered-rules.csv"));
    let of_the_version = records.iter().filter(|record| record.get("version") == version.name());
    let row = |record: &csv::Record| {
        let section = record.get("section").to_owned();
        let ordinal = ordinals.entry(section.clone()).or_default();
        *ordinal += 1;
        let id = format!("{version}/{}/{ordinal}", number_of(&section));
        Row { version, id, section, sentence: record.get("sentence").to_owned() }
    };
    of_the_version.map(row).collect()
}

fn number_of(section: &str) -> &str {
    section.split_whitespace().next().unwrap_or_default()
}

fn section_numbers(section: &str) -> Vec<u32> {
    number_of(section).split('.').filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_read_and_has_a_unique_id() {
        assert_eq!(rows().len(), 251 + 141 + 164);
        let ids: BTreeSet<_> = rows().iter().map(|row| (row.version, &row.id)).collect();
        assert_eq!(ids.len(), rows().len());
        assert!(find(Version::V5, "5.0/3.1.2.11.2/1").is_some());
        assert_eq!(rule_of("3.2.2.3.4", "more than once"), "5.0/3.2.2.3.4/1");
    }
}
