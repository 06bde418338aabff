//! From lines to a [`Model`].

use std::path::Path;

use super::lines::{self, Depth, Line};
use super::model::{Listener, Model};
use super::options::{Kind, Rule, Scope, rule};
use super::{ConfError, Place, Value, special};

/// Reads a configuration and the files that it includes.
pub(in crate::import) fn read(path: &Path) -> Result<Model, ConfError> {
    let lines = lines::read(path)?;
    if lines.iter().all(|line| line.word == lines::INCLUDE_DIR) {
        return Err(ConfError::Nothing { path: path.to_owned() });
    }
    let mut builder = Builder::default();
    for line in &lines {
        builder.add(line)?;
    }
    super::check::check(&builder.model)?;
    Ok(builder.model)
}

/// What the lines that follow belong to.
#[derive(Debug, Clone, Default)]
pub(super) struct Current {
    /// The place of a listener.
    pub(super) listener: Option<usize>,
    /// The place of a bridge.
    pub(super) bridge: Option<usize>,
    /// The place of a plugin.
    pub(super) plugin: Option<usize>,
}

/// A model that grows by lines.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub(super) model: Model,
    pub(super) current: Current,
    /// That of the main file, while an included one is read.
    main: Current,
    depth: Option<Depth>,
    /// The listener with the port 1883 that `port` and options without a listener make.
    pub(super) default_listener: Option<usize>,
    /// Whether an option about users or rules has come.
    pub(super) has_security: bool,
}

impl Builder {
    fn add(&mut self, line: &Line) -> Result<(), ConfError> {
        self.enter(line.depth);
        let at = &line.at;
        let Some(rule) = rule(&line.word) else { return Err(ConfError::line(at, unknown(&line.word))) };
        self.model.lines.push((at.clone(), line.word.clone()));
        if rule.scope == Scope::Special {
            return special::add(self, line);
        }
        let value = value(rule, line).map_err(|text| ConfError::line(at, format!("{}: {text}", line.word)))?;
        self.set(rule, value, line)
    }

    /// Each included file begins without a listener, and the main file goes on with its own.
    fn enter(&mut self, depth: Depth) {
        let before = self.depth.replace(depth);
        if before == Some(depth) {
            return;
        }
        match (before, depth) {
            (Some(Depth::Main), Depth::Included(_)) => self.main = std::mem::take(&mut self.current),
            (_, Depth::Included(_)) => self.current = Current::default(),
            (Some(Depth::Included(_)), Depth::Main) => self.current = self.main.clone(),
            (_, Depth::Main) => {}
        }
    }

    fn set(&mut self, rule: &Rule, value: Value, line: &Line) -> Result<(), ConfError> {
        let (at, word) = (&line.at, &line.word);
        self.has_security |= rule.scope == Scope::Security;
        let name = canonical(rule.name);
        if name == "protocol" && value == Value::Text("mqtt".to_owned()) && self.current.listener.is_none() {
            // The add-on of Home Assistant begins with it, before its listeners: up to 2.0 it opens no port of its own.
            self.model.done.push((at.clone(), "it is what a listener is without it, and makes none"));
            return Ok(());
        }
        let settings = match rule.scope {
            Scope::Security if self.model.per_listener.is_some() => self.begun(at, word)?,
            Scope::Global | Scope::Security | Scope::Special => &mut self.model.global,
            Scope::Listener => {
                let place = self.listener_or_default(at, word);
                self.settings_of(place, at, word)?
            }
            Scope::BegunListener => self.begun(at, word)?,
            Scope::NamedListener if self.current.listener == self.default_listener => {
                return Err(ConfError::line(at, needs_listener(word)));
            }
            Scope::NamedListener => self.begun(at, word)?,
            Scope::Bridge => {
                let place = self.current.bridge;
                let bridge = place.and_then(|place| self.model.bridges.get_mut(place));
                &mut bridge.ok_or_else(|| ConfError::line(at, needs_bridge(word)))?.settings
            }
        };
        let value = match (rule.kind, value, settings.words(name)) {
            (Kind::EachText, Value::Text(text), before) => {
                Value::Words(before.unwrap_or_default().iter().cloned().chain([text]).collect())
            }
            (_, value, _) => value,
        };
        let before = settings.insert(name, value, at);
        if rule.kind == Kind::Text && before.is_some() {
            return Err(ConfError::line(at, format!("{word}: it is set twice")));
        }
        Ok(())
    }

    fn settings_of(&mut self, place: usize, at: &Place, word: &str) -> Result<&mut super::Settings, ConfError> {
        let listener = self.model.listeners.get_mut(place);
        Ok(&mut listener.ok_or_else(|| ConfError::line(at, needs_listener(word)))?.settings)
    }

    /// The settings of the current listener.
    fn begun(&mut self, at: &Place, word: &str) -> Result<&mut super::Settings, ConfError> {
        let place = self.current.listener.ok_or_else(|| ConfError::line(at, needs_listener(word)))?;
        self.settings_of(place, at, word)
    }

    /// The current listener, or else the default one, which may be new.
    pub(super) fn listener_or_default(&mut self, at: &Place, word: &str) -> usize {
        let place = self.current.listener.unwrap_or_else(|| self.begin_default(at, word));
        self.current.listener = Some(place);
        place
    }

    /// The listener with the port 1883 that an option makes.
    pub(super) fn begin_default(&mut self, at: &Place, word: &str) -> usize {
        if let Some(place) = self.default_listener {
            return place;
        }
        let place = self.begin(at, word, (Some(DEFAULT_PORT), None));
        self.default_listener = Some(place);
        place
    }

    pub(super) fn begin(&mut self, at: &Place, word: &str, (port, address): (Option<u16>, Option<String>)) -> usize {
        let settings = super::Settings::default();
        let (begun_by, further) = (word.to_owned(), Vec::new());
        self.model.listeners.push(Listener { at: at.clone(), begun_by, port, address, further, settings });
        self.model.listeners.len() - 1
    }
}

/// The value of an option that is no special one.
fn value(rule: &Rule, line: &Line) -> Result<Value, String> {
    let first = || line.rest.split(' ').find(|word| !word.is_empty()).ok_or_else(|| EMPTY.to_owned());
    Ok(match rule.kind {
        Kind::Bool => Value::Bool(flag(first()?)?),
        Kind::Number(least, most) => {
            let number = number(first()?)?;
            if !(least..=most).contains(&number) {
                return Err(format!("{number} is not from {least} to {most}"));
            }
            Value::Number(number)
        }
        Kind::Text | Kind::LastText | Kind::EachText => Value::Text(text(&line.rest)?),
        Kind::Word(words) => {
            let word = first()?;
            if !words.contains(&word) {
                return Err(format!("{word:?} is none of {}", words.join(", ")));
            }
            Value::Text(word.to_owned())
        }
        Kind::Words => {
            let words = line.rest.split([' ', '\t', ',']).filter(|word| !word.is_empty()).map(str::to_owned);
            let words: Vec<String> = words.collect();
            if words.is_empty() {
                return Err(EMPTY.to_owned());
            }
            Value::Words(words)
        }
        Kind::Numbers(count) => {
            let words: Vec<String> = line.rest.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            let numbers = words.iter().take(count).filter(|word| number(word).is_ok_and(|number| number > 0));
            if numbers.count() < count {
                return Err(format!("it needs {count} positive numbers"));
            }
            Value::Words(words)
        }
        Kind::Ignored | Kind::Special => Value::Text(String::new()),
    })
}

pub(super) fn flag(word: &str) -> Result<bool, String> {
    match word {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{word:?} is neither true nor false")),
    }
}

/// As strtol reads it: hexadecimal with 0x, octal with 0.
pub(super) fn number(word: &str) -> Result<i64, String> {
    let invalid = || format!("{word:?} is no number");
    let (is_negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return Err(invalid());
    }
    let number = i64::from_str_radix(digits, radix).map_err(|_| invalid())?;
    Ok(if is_negative { -number } else { number })
}

/// The rest of a line without the spaces around it.
pub(super) fn text(rest: &str) -> Result<String, String> {
    let text = rest.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\u{b}');
    match text.len() {
        0 => Err(EMPTY.to_owned()),
        1..=TEXT_MAX => Ok(text.to_owned()),
        _ => Err("the value is too long".to_owned()),
    }
}

/// The name under which an option is kept that has several.
fn canonical(name: &'static str) -> &'static str {
    match name {
        "clientid" => "remote_clientid",
        "username" => "remote_username",
        "password" => "remote_password",
        "maximum_qos" => "max_qos",
        "retained_persistence" => "persistence",
        name => name,
    }
}

fn unknown(word: &str) -> String {
    let cut: String = word.chars().take(40).collect();
    let hint = match word {
        _ if word.starts_with('#') => ": a comment begins in the first column",
        _ if word.contains('\t') => ": mosquitto separates by spaces, not by tabs",
        _ => "",
    };
    format!("mosquitto has no option {cut:?}{hint}")
}

pub(super) fn needs_listener(word: &str) -> String {
    format!("{word}: there is no `listener` before it")
}

pub(super) fn needs_bridge(word: &str) -> String {
    format!("{word}: there is no `connection` before it")
}

pub(super) const EMPTY: &str = "it has no value";
/// MQTT's longest text.
const TEXT_MAX: usize = 65_535;
/// mosquitto's.
const DEFAULT_PORT: u16 = 1883;

#[cfg(test)]
mod tests;
