use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::error::explain;
use super::foreign::recognize;
use super::locate::{Place, line_and_column, places};
use super::nearest::nearest;
use super::origin::{Change, Origin, Override};
use super::schema::{LISTS, settings};
use super::{Config, ConfigError, DurabilityRule, ListenAddress, Listener, Problem};

/// A configuration with the origin of each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    pub(super) origins: BTreeMap<String, Origin>,
    /// See [`notes`](Self::notes).
    pub(super) notes: Vec<String>,
}

/// Reads `file`, if given, applies `overrides` in order, and validates the result.
fn load_layers(file: Option<&Path>, overrides: Vec<Override>) -> Result<Loaded, ConfigError> {
    let loaded = match file {
        Some(path) => read_file(path)?,
        None => Loaded::of(Config::default()),
    };
    apply_layers(loaded, overrides)
}

/// Applies `overrides` in order, and validates the result.
fn apply_layers(mut loaded: Loaded, overrides: Vec<Override>) -> Result<Loaded, ConfigError> {
    for change in overrides {
        loaded.apply(change)?;
    }
    let problems = loaded.config.problems();
    if problems.is_empty() {
        return Ok(loaded);
    }
    let lines = problems.iter().map(|problem| loaded.problem_line(problem)).collect();
    Err(ConfigError::Problems { lines })
}

/// Loads the configuration from all layers, the later ones taking precedence: the defaults, the file that the arguments
/// or `ONCEMQ_CONFIG` name, the environment, the arguments.
pub fn load(arguments: &super::Arguments) -> Result<Loaded, ConfigError> {
    let environment = super::environment::read()?;
    let file = arguments.config.clone().or(environment.config);
    let overrides = environment.overrides.into_iter().chain(arguments.overrides()?).collect();
    load_layers(file.as_deref(), overrides)
}

/// Loads a text that was made of the file at `path`, with the environment and the arguments over it. `origin` says where a line of it comes from.
///
/// # Errors
/// Those of [`load()`].
pub fn load_text(
    (path, text): (&Path, &str),
    origin: impl Fn(usize) -> Origin,
    arguments: &super::Arguments,
) -> Result<Loaded, ConfigError> {
    let places = places(text);
    let loaded = read_text_of(path, text, places, |start| origin(line_and_column(text, start).0))?;
    let overrides = super::environment::read()?.overrides.into_iter().chain(arguments.overrides()?).collect();
    apply_layers(loaded, overrides)
}

/// The data directory that the environment or the arguments name, in the place of that of a file.
///
/// # Errors
/// The environment or the arguments can't be understood.
pub fn data_override(arguments: &super::Arguments) -> Result<Option<PathBuf>, ConfigError> {
    let overrides = super::environment::read()?.overrides.into_iter().chain(arguments.overrides()?);
    let data = overrides.filter_map(|change| match change.change {
        Change::Setting(key, value) if key == "server.data" => Some(PathBuf::from(value)),
        Change::Setting(..) | Change::Listeners(_) | Change::DurabilityRules(_) => None,
    });
    Ok(data.last())
}

/// Loads `file` only, without the environment.
pub fn load_file(file: &Path) -> Result<Loaded, ConfigError> {
    load_layers(Some(file), Vec::new())
}

impl Loaded {
    /// The origin of the value of `key`, such as `limits.connections_max` or `listeners[0].address`.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// What is to be said once about where the values come from: options of mosquitto that are not honoured.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same with these notes.
    pub fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// [`Config::exposures`], each as a line with its origin.
    pub fn exposures(&self) -> Vec<String> {
        self.config.exposures().iter().map(|problem| self.problem_line(problem)).collect()
    }

    fn apply(&mut self, change: Override) -> Result<(), ConfigError> {
        let Override { origin, change } = change;
        let fail = |text| ConfigError::Override { origin: origin.clone(), text };
        match change {
            Change::Listeners(addresses) => {
                let parsed: Result<Vec<ListenAddress>, _> = addresses.iter().map(|address| address.parse()).collect();
                let parsed = parsed.map_err(|error| fail(error.to_string()))?;
                self.config.listeners = parsed.into_iter().map(Listener::new).collect();
                self.replace_origins("listeners", self.config.listeners.len(), &["address"], &origin);
            }
            Change::DurabilityRules(rules) => {
                let parsed: Result<Vec<DurabilityRule>, _> = rules.iter().map(|rule| rule.parse()).collect();
                self.config.durability_rules = parsed.map_err(fail)?;
                let count = self.config.durability_rules.len();
                self.replace_origins("durability_rules", count, &["topic", "level"], &origin);
            }
            Change::Setting(key, value) => {
                self.config = with_setting(&self.config, &key, &value).map_err(fail)?;
                self.origins.insert(key, origin);
            }
        }
        Ok(())
    }

    /// Sets `origin` for all entries of a list.
    fn replace_origins(&mut self, list: &str, count: usize, settings: &[&str], origin: &Origin) {
        self.origins.retain(|key, _| !key.starts_with(list));
        for index in 0..count {
            for setting in settings {
                self.origins.insert(format!("{list}[{index}].{setting}"), origin.clone());
            }
        }
        self.origins.insert(list.to_owned(), origin.clone());
    }

    /// The problem with its origin: that of the setting, or of the innermost enclosing table that was set.
    fn problem_line(&self, problem: &Problem) -> String {
        let Problem { key, text } = problem;
        let ends = key.match_indices(['.', '[']).map(|(end, _)| end);
        let mut paths = ends.chain([key.len()]).filter_map(|end| key.get(..end)).rev();
        match paths.find_map(|path| self.origins.get(path)) {
            Some(origin) => format!("{origin}: `{key}` {text}"),
            None => format!("`{key}` {text}"),
        }
    }
}

fn read_file(path: &Path) -> Result<Loaded, ConfigError> {
    let text = read_text(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let places = places(&text);
    if text.parse::<toml::Table>().is_err()
        && let Some(text) = recognize(&text)
    {
        return Err(ConfigError::Foreign { path: path.to_owned(), text });
    }
    let origin = |start| Origin::File { path: path.to_owned(), line: line_and_column(&text, start).0 };
    read_text_of(path, &text, places, origin)
}

/// Reads the text of a file. `origin` says where what begins at a byte of it comes from.
fn read_text_of(
    path: &Path,
    text: &str,
    places: Vec<Place>,
    origin: impl Fn(usize) -> Origin,
) -> Result<Loaded, ConfigError> {
    let config: Config =
        toml::from_str(text).map_err(|error| ConfigError::in_file(path.to_owned(), text, &places, &error))?;
    let sections = super::schema::sections();
    // The header of a section sets nothing. The header of a list entry does: its missing settings have no other origin.
    let is_value = |path: &str| !sections.contains(&path) || LISTS.contains(&path);
    let values = places.into_iter().filter(|place| is_value(&place.path));
    let origins = values.map(|place| (place.path, origin(place.start))).collect();
    Ok(Loaded { config, origins, notes: Vec::new() })
}

/// Reads the file as text, without a byte order mark.
fn read_text(path: &Path) -> io::Result<String> {
    let bytes = std::fs::read(path)?;
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(invalid("it is UTF-16 text: save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text))
}

/// `config` with one setting changed. The error says what is wrong with the key or the value.
fn with_setting(config: &Config, key: &str, text: &str) -> Result<Config, String> {
    let known: Vec<String> = settings().collect();
    let (section, name) = match key.split_once('.') {
        Some(parts) if known.iter().any(|known| known == key) => parts,
        _ => {
            let suggestion = nearest(key, known.iter());
            let suggestion = suggestion.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            return Err(format!("unknown key `{key}`{suggestion}"));
        }
    };
    let table = toml::Table::try_from(config).map_err(|error| error.to_string())?;
    // The text is tried as a string first, because a file may be called 1 or true.
    let mut error = match try_value(table.clone(), section, name, toml::Value::String(text.to_owned())) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let literal = text.parse().map(toml::Value::Integer).ok().or_else(|| text.parse().map(toml::Value::Boolean).ok());
    if let Some(literal) = literal {
        match try_value(table, section, name, literal) {
            Ok(config) => return Ok(config),
            Err(literal_error) => error = literal_error,
        }
    }
    Err(explain(key, error.message()))
}

fn try_value(mut table: toml::Table, section: &str, name: &str, value: toml::Value) -> Result<Config, toml::de::Error> {
    if let Some(toml::Value::Table(section)) = table.get_mut(section) {
        section.insert(name.to_owned(), value);
    }
    table.try_into()
}

#[cfg(test)]
mod tests;
