//! A [`Model`] that grows by lines.

use super::lines::Depth;
use super::model::{Listener, Model};
use super::{ConfError, Place, Settings};

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
    /// Each included file begins without a listener, and the main file goes on with its own.
    pub(super) fn enter(&mut self, depth: Depth) {
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

    pub(super) fn settings_of(&mut self, place: usize, at: &Place, word: &str) -> Result<&mut Settings, ConfError> {
        let listener = self.model.listeners.get_mut(place);
        Ok(&mut listener.ok_or_else(|| ConfError::line(at, needs_listener(word)))?.settings)
    }

    /// The settings of the current listener.
    pub(super) fn begun(&mut self, at: &Place, word: &str) -> Result<&mut Settings, ConfError> {
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
        let settings = Settings::default();
        let (begun_by, further) = (word.to_owned(), Vec::new());
        self.model.listeners.push(Listener { at: at.clone(), begun_by, port, address, further, settings });
        self.model.listeners.len() - 1
    }
}

pub(super) fn needs_listener(word: &str) -> String {
    format!("{word}: there is no `listener` before it")
}

pub(super) fn needs_bridge(word: &str) -> String {
    format!("{word}: there is no `connection` before it")
}

/// mosquitto's.
pub(super) const DEFAULT_PORT: u16 = 1883;
