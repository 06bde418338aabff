//! From lines to a [`Model`].

use std::path::Path;

use super::builder::{Builder, needs_bridge, needs_listener};
use super::check::check;
use super::lines::{self, Line};
use super::model::Model;
use super::options::{Kind, Rule, Scope, rule};
use super::value::value;
use super::{ConfError, Value, special};

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
    check(&builder.model)?;
    Ok(builder.model)
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

#[cfg(test)]
mod tests;
