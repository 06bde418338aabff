//! The effective values of all settings, each with its origin, and what of them changes with a reload.

use std::collections::BTreeMap;

use super::schema::{keys, sections};
use super::{Config, Loaded, Origin};

/// A setting and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, such as `limits.connections_max` or `listeners[0].tls.certificate`.
    pub key: String,
    /// Its value; null: it has none. A setting never has a secret: those are in files, whose names the settings are.
    pub value: serde_json::Value,
    /// Where the value comes from: `default`, `FILE:LINE`, `env NAME` or `flag NAME`.
    pub origin: String,
}

/// Where an entry of a list comes from, by its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The configuration that was loaded last.
    Loaded(usize),
    /// The configuration that was in force before.
    Before(usize),
}

impl Loaded {
    /// Values without a known origin.
    pub fn of(config: Config) -> Self {
        Self { config, origins: Default::default(), notes: Vec::new() }
    }

    /// The same origins with other values: those that apply, where a limit had to be lowered.
    pub fn with_values(&self, config: Config) -> Self {
        Self { config, origins: self.origins.clone(), notes: self.notes.clone() }
    }

    /// All settings in the order of the configuration file.
    pub fn settings(&self) -> Vec<Setting> {
        let Ok(table) = toml::Table::try_from(&self.config) else { return Vec::new() };
        let mut settings = Vec::new();
        for section in sections() {
            match table.get(*section) {
                Some(toml::Value::Array(entries)) => {
                    for (index, entry) in entries.iter().enumerate() {
                        self.add(&mut settings, section, &format!("{section}[{index}]"), entry);
                    }
                }
                Some(value) => self.add(&mut settings, section, section, value),
                None => {}
            }
        }
        settings
    }

    /// Adds the settings of `section`, which is at `path`.
    fn add(&self, settings: &mut Vec<Setting>, section: &str, path: &str, table: &toml::Value) {
        for name in keys(section) {
            let (key, value) = (format!("{path}.{name}"), table.get(*name));
            let of_nested = format!("{section}.{name}");
            if let Some(nested @ toml::Value::Table(_)) = value.filter(|_| !keys(&of_nested).is_empty()) {
                self.add(settings, &of_nested, &key, nested);
                continue;
            }
            let origin = if value.is_some() { self.origin(&key) } else { &Origin::Default };
            settings.push(Setting { value: serde_json::json!(value), origin: origin.to_string(), key });
        }
    }

    /// What is in force after `self` was loaded: `config`. The settings of it that differ from the loaded ones are those of `before`, and
    /// `listeners` has the source of each listener.
    pub fn in_force(&self, before: &Self, config: Config, listeners: &[Source]) -> Self {
        let kept = self.config.differences(&config);
        let is_kept = |key: &str| kept.iter().any(|kept| is_within(key, kept));
        let is_listener = |key: &str| is_within(key, "listeners");
        let mut origins = BTreeMap::new();
        let loaded = self.origins.iter().filter(|(key, _)| !is_listener(key) && !is_kept(key));
        let old = before.origins.iter().filter(|(key, _)| !is_listener(key) && is_kept(key));
        origins.extend(loaded.chain(old).map(|(key, origin)| (key.clone(), origin.clone())));
        for (index, source) in listeners.iter().enumerate() {
            let (from, number) = match source {
                Source::Loaded(number) => (self, number),
                Source::Before(number) => (before, number),
            };
            let prefix = format!("listeners[{number}]");
            let of_listener = from.origins.iter().filter(|(key, _)| is_within(key, &prefix));
            let moved = |(key, origin): (&String, &Origin)| {
                let rest = key.strip_prefix(&prefix).unwrap_or_default();
                (format!("listeners[{index}]{rest}"), origin.clone())
            };
            origins.extend(of_listener.map(moved));
        }
        Self { config, origins, notes: self.notes.clone() }
    }
}

/// Whether a key is that of a setting or of a part of it.
fn is_within(key: &str, setting: &str) -> bool {
    key.strip_prefix(setting).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::{load_file, schema};

    fn loaded(text: &str) -> (tempfile::TempDir, Loaded) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("oncemq.toml");
        fs::write(&path, text).unwrap();
        (directory, load_file(&path).unwrap())
    }

    fn setting(loaded: &Loaded, key: &str) -> (Value, String) {
        let found = loaded.settings().into_iter().find(|setting| setting.key == key);
        let Setting { value, origin, .. } = found.unwrap_or_else(|| panic!("no {key}"));
        (value, origin.rsplit('/').next().unwrap().to_owned())
    }

    #[test]
    fn every_setting_is_listed_with_its_value_and_origin() {
        let (_directory, loaded) = loaded("[limits]\nconnections_max = 7\n[[listeners]]\naddress = \"127.0.0.1:1\"\n");
        assert_eq!(setting(&loaded, "limits.connections_max"), (json!(7), "oncemq.toml:2".to_owned()));
        assert_eq!(setting(&loaded, "listeners[0].address").1, "oncemq.toml:4");
        assert_eq!(setting(&loaded, "security.acl_file"), (Value::Null, "default".to_owned()));
        assert_eq!(setting(&loaded, "log.level"), (json!("info"), "default".to_owned()));
        let keys: Vec<_> = loaded.settings().into_iter().map(|setting| setting.key).collect();
        for key in schema::settings() {
            assert!(keys.contains(&key), "{key}");
        }
    }

    #[test]
    fn no_setting_is_a_secret() {
        for key in schema::settings().chain(schema::keys("listeners.tls").iter().map(|key| format!("tls.{key}"))) {
            let is_secret = ["password", "secret", "token"].iter().any(|word| key.contains(word));
            let is_file = key.ends_with("_file") || key.ends_with(".on_password_change");
            assert!(!is_secret || is_file, "{key} would be shown");
        }
    }

    #[test]
    fn what_is_kept_has_its_old_origin_and_listeners_keep_theirs_in_another_order() {
        let listener = |port: u16, maximum: u16| {
            format!("[[listeners]]\naddress = \"127.0.0.1:{port}\"\nconnections_max = {maximum}\n")
        };
        let (_one, before) = loaded(&format!("limits.connections_max = 7\n{}{}", listener(1, 1), listener(2, 2)));
        let (_two, loaded) =
            loaded(&format!("\n\nlimits.connections_max = 8\nlimits.sessions_max = 9\n{}", listener(3, 3)));
        let mut config = loaded.config.clone();
        config.limits.connections_max = 7;
        config.listeners.insert(0, before.config.listeners[1].clone());
        let sources = [Source::Before(1), Source::Loaded(0)];
        let in_force = loaded.in_force(&before, config, &sources);
        assert_eq!(setting(&in_force, "limits.connections_max"), (json!(7), "oncemq.toml:1".to_owned()));
        assert_eq!(setting(&in_force, "limits.sessions_max").1, "oncemq.toml:4");
        assert_eq!(setting(&in_force, "listeners[0].connections_max"), (json!(2), "oncemq.toml:7".to_owned()));
        assert_eq!(setting(&in_force, "listeners[1].connections_max"), (json!(3), "oncemq.toml:7".to_owned()));
    }
}
