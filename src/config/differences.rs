//! Which settings of two configurations differ, by name.

use super::Config;
use super::schema::{LISTS, keys, sections};

impl Config {
    /// The names of the settings whose values differ, such as `limits.connections_max`; a list counts as one setting: `listeners`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        // Both were read from such tables.
        let (Ok(one), Ok(two)) = (toml::Table::try_from(self), toml::Table::try_from(other)) else { return Vec::new() };
        let mut found = Vec::new();
        for section in sections() {
            let (one, two) = (one.get(*section), two.get(*section));
            if LISTS.contains(section) {
                found.extend((one != two).then(|| (*section).to_owned()));
                continue;
            }
            let differs = |key: &str| one.and_then(|table| table.get(key)) != two.and_then(|table| table.get(key));
            let differing = keys(section).iter().filter(|key| differs(key));
            found.extend(differing.map(|key| format!("{section}.{key}")));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogLevel, schema};

    #[test]
    fn differing_settings_are_named_and_lists_as_one() {
        let (one, mut two) = (Config::default(), Config::default());
        assert_eq!(one.differences(&two), [""; 0]);
        two.limits.connections_max = 1;
        two.log.level = LogLevel::Trace;
        two.security.acl_file = Some("acl".into());
        two.server.segment_size = Some(1 << 20);
        two.listeners.pop();
        let expected = ["server.segment_size", "listeners", "security.acl_file", "limits.connections_max", "log.level"];
        assert_eq!(one.differences(&two), expected);
        assert_eq!(two.differences(&one), expected);
        let known: Vec<String> = schema::settings().collect();
        assert!(expected.iter().all(|key| *key == "listeners" || known.iter().any(|known| known == key)));
    }
}
