//! Settings from environment variables: `ONCEMQ_LIMITS_CONNECTIONS_MAX` sets `limits.connections_max`.

use std::path::PathBuf;

use super::ConfigError;
use super::nearest::nearest;
use super::origin::{Change, Origin, Override};
use super::schema::{sections, settings};

/// The settings found in the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Environment {
    /// The configuration file: `ONCEMQ_CONFIG`.
    pub(super) config: Option<PathBuf>,
    /// The settings.
    pub(super) overrides: Vec<Override>,
}

/// Reads the environment variables of this process.
pub(super) fn read() -> Result<Environment, ConfigError> {
    let variables = std::env::vars_os();
    from_variables(variables.filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
        Some((name, value.to_string_lossy().into_owned()))
    }))
}

/// Interprets `variables`, pairs of name and value. An empty value counts as not set.
fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Result<Environment, ConfigError> {
    let known: Vec<(String, String)> = settings().map(|setting| (variable(&setting), setting)).collect();
    let mut environment = Environment::default();
    let mut variables: Vec<_> = variables.filter(|(_, value)| !value.is_empty()).collect();
    variables.sort();
    for (name, value) in variables {
        let change = if name == CONFIG {
            environment.config = Some(PathBuf::from(value));
            continue;
        } else if name == LISTEN {
            Change::Listeners(value.split(',').map(|address| address.trim().to_owned()).collect())
        } else if name == DURABILITY_RULES {
            Change::DurabilityRules(value.split(',').map(|rule| rule.trim().to_owned()).collect())
        } else if let Some((_, setting)) = known.iter().find(|(variable, _)| *variable == name) {
            Change::Setting(setting.clone(), value)
        } else if is_foreign(&name) {
            continue;
        } else {
            let known = known.iter().map(|(variable, _)| variable.as_str()).chain([CONFIG, LISTEN, DURABILITY_RULES]);
            let suggestion = nearest(&name, known).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
            let text = format!("there is no such setting{suggestion}");
            return Err(ConfigError::Override { origin: Origin::Environment(name), text });
        };
        environment.overrides.push(Override { origin: Origin::Environment(name), change });
    }
    Ok(environment)
}

/// The name of the environment variable of a setting.
fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "_").to_uppercase())
}

/// Whether a variable with our prefix belongs to something else: Kubernetes defines variables such as
/// `ONCEMQ_SERVICE_HOST` and `ONCEMQ_LIMITS_PORT_1883_TCP` for a service called `oncemq` or `oncemq-…`, and scripts
/// define their own, such as `ONCEMQ_VERSION`.
fn is_foreign(name: &str) -> bool {
    let of_kubernetes = name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT");
    let of_a_section = sections().iter().any(|section| name.starts_with(&format!("{}_", variable(section))));
    let misspelt = settings().any(|setting| strsim::levenshtein(name, &variable(&setting)) <= MISSPELLING_MAX);
    of_kubernetes || !(of_a_section || misspelt)
}

/// The prefix of our variables.
const PREFIX: &str = "ONCEMQ_";

/// The variable that names the configuration file.
const CONFIG: &str = "ONCEMQ_CONFIG";

/// The variable that replaces the listeners: a comma-separated list of addresses.
const LISTEN: &str = "ONCEMQ_LISTEN";

/// The variable that replaces the durability rules: a comma-separated list of `filter=level`.
const DURABILITY_RULES: &str = "ONCEMQ_DURABILITY_RULES";

/// The edit distance up to which a variable counts as a misspelling of ours, even if no section has that name.
const MISSPELLING_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        from_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn every_setting_has_its_variable() {
        let environment = read(&[("ONCEMQ_LIMITS_CONNECTIONS_MAX", "5"), ("ONCEMQ_CONFIG", "/etc/a.toml")]).unwrap();
        assert_eq!(environment.config, Some(PathBuf::from("/etc/a.toml")));
        let change = Change::Setting("limits.connections_max".to_owned(), "5".to_owned());
        let origin = Origin::Environment("ONCEMQ_LIMITS_CONNECTIONS_MAX".to_owned());
        assert_eq!(environment.overrides, [Override { origin, change }]);
    }

    #[test]
    fn listeners_are_a_comma_separated_list() {
        let environment = read(&[("ONCEMQ_LISTEN", "0.0.0.0:1883, [::]:1883")]).unwrap();
        let change = Change::Listeners(vec!["0.0.0.0:1883".to_owned(), "[::]:1883".to_owned()]);
        assert_eq!(environment.overrides[0].change, change);
    }

    #[test]
    fn durability_rules_are_a_comma_separated_list() {
        let environment = read(&[("ONCEMQ_DURABILITY_RULES", "telemetry/#=none, #=crash")]).unwrap();
        let change = Change::DurabilityRules(vec!["telemetry/#=none".to_owned(), "#=crash".to_owned()]);
        assert_eq!(environment.overrides[0].change, change);
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_a_suggestion() {
        for name in ["ONCEMQ_LIMITS_CONECTIONS_MAX", "ONCEMQ_LIMIT_CONNECTIONS_MAX"] {
            let error = read(&[(name, "5")]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("did you mean ONCEMQ_LIMITS_CONNECTIONS_MAX?"), "{error}");
        }
    }

    #[test]
    fn variables_of_kubernetes_and_scripts_are_ignored() {
        let foreign = [
            "ONCEMQ_SERVICE_HOST",
            "ONCEMQ_SERVICE_PORT_MQTT",
            "ONCEMQ_PORT",
            "ONCEMQ_PORT_1883_TCP_ADDR",
            "ONCEMQ_ADMIN_SERVICE_HOST",
            "ONCEMQ_ADMIN_PORT_9883_TCP",
            "ONCEMQ_VERSION",
            "ONCEMQ_BIN",
        ];
        for name in foreign {
            assert_eq!(read(&[(name, "tcp://10.0.0.1:1883")]).unwrap(), Environment::default(), "{name}");
        }
    }

    #[test]
    fn no_setting_looks_like_a_variable_of_kubernetes() {
        for setting in settings() {
            let name = variable(&setting);
            assert!(!name.contains("_SERVICE_") && !name.contains("_PORT_") && !name.ends_with("_PORT"), "{name}");
        }
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        assert_eq!(read(&[("ONCEMQ_SECURITY_ACL_FILE", "")]).unwrap(), Environment::default());
    }
}
