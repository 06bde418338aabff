//! Options of which no setting is made: what the table says about them.

use super::{Conversion, Outcome};
use crate::import::conf::{Fate, Set, Settings, Value, rule};

impl Conversion<'_> {
    pub(super) fn outcomes(&mut self) {
        for (at, text) in &self.model.done {
            let option = self.model.lines.iter().find(|(place, _)| place == at);
            let option = option.map(|(_, option)| option.clone()).unwrap_or_default();
            self.add(Outcome::Carried, at, &option, *text);
        }
        if self.of_table(&self.model.global) {
            self.guarded.all = true;
        }
        for (place, listener) in self.model.listeners.iter().enumerate() {
            if !self.model.listens {
                self.unused(&listener.settings);
            } else if self.of_table(&listener.settings) {
                self.guarded.listeners.insert(place);
            }
        }
        for (place, bridge) in self.model.bridges.iter().enumerate() {
            if self.of_table(&bridge.settings) {
                self.guarded.bridges.insert(place);
            }
        }
    }

    /// Whether one of the options keeps somebody out who would get in here.
    fn of_table(&mut self, settings: &Settings) -> bool {
        let mut guards = false;
        for (name, Set { value, at }) in settings.iter() {
            let Some(rule) = rule(name) else { continue };
            let is_true = *value == Value::Bool(true);
            let (outcome, text) = match rule.fate {
                Fate::Converted => continue,
                Fate::Always(text) => (Outcome::Carried, text),
                Fate::Differs(text) => (Outcome::Differs, text),
                Fate::Missing(text) => (Outcome::Missing, text),
                Fate::MissingIfTrue(text) if is_true => (Outcome::Missing, text),
                Fate::DiffersIfFalse(text) if !is_true => (Outcome::Differs, text),
                Fate::Guards(text) => (Outcome::Guards, text),
                Fate::GuardsIfTrue(text) if is_true => (Outcome::Guards, text),
                Fate::MissingIfTrue(_) | Fate::DiffersIfFalse(_) | Fate::GuardsIfTrue(_) => {
                    (Outcome::Carried, "it is so without a setting")
                }
            };
            guards |= outcome == Outcome::Guards;
            self.add(outcome, at, name, text);
        }
        guards
    }

    fn unused(&mut self, settings: &Settings) {
        for (name, Set { at, .. }) in settings.iter() {
            let text = "without a `listener`, mosquitto listens on loopback alone and does not look at it";
            self.add(Outcome::Missing, at, name, text);
        }
    }
}
