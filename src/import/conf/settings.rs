//! Values of options, by their names.

use std::collections::BTreeMap;

use super::Place;

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) enum Value {
    Bool(bool),
    Number(i64),
    Text(String),
    Words(Vec<String>),
}

/// A value, and the line that sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Set {
    pub(in crate::import) value: Value,
    pub(in crate::import) at: Place,
}

/// The options that are set somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::import) struct Settings(BTreeMap<&'static str, Set>);

impl Settings {
    pub(super) fn insert(&mut self, name: &'static str, value: Value, at: &Place) -> Option<Set> {
        self.0.insert(name, Set { value, at: at.clone() })
    }

    pub(in crate::import) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(in crate::import) fn at(&self, name: &str) -> Option<&Place> {
        self.0.get(name).map(|set| &set.at)
    }

    pub(in crate::import) fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name)?.value {
            Value::Bool(value) => Some(value),
            Value::Number(_) | Value::Text(_) | Value::Words(_) => None,
        }
    }

    pub(in crate::import) fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)?.value {
            Value::Number(value) => Some(value),
            Value::Bool(_) | Value::Text(_) | Value::Words(_) => None,
        }
    }

    pub(in crate::import) fn text(&self, name: &str) -> Option<&str> {
        match &self.0.get(name)?.value {
            Value::Text(value) => Some(value),
            Value::Bool(_) | Value::Number(_) | Value::Words(_) => None,
        }
    }

    pub(in crate::import) fn words(&self, name: &str) -> Option<&[String]> {
        match &self.0.get(name)?.value {
            Value::Words(value) => Some(value),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
        }
    }

    pub(in crate::import) fn iter(&self) -> impl Iterator<Item = (&'static str, &Set)> {
        self.0.iter().map(|(name, set)| (*name, set))
    }
}
