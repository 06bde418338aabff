//! What a reload has done.

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReloadReport {
    /// Each part that was read again or has settings.
    pub parts: Vec<ReloadedPart>,
    /// The settings with new values that apply after a restart, such as `server.shards`.
    pub restart_needed: Vec<String>,
}

/// A part of the configuration, or some files that are applied together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadedPart {
    /// `configuration`, `access`, `listener NAME`, `certificates of NAME`, or the name of a section.
    pub name: String,
    /// What happened to it.
    pub result: PartResult,
    /// Why it was kept.
    pub error: Option<String>,
}

/// What a reload has done with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartResult {
    /// It has changed, and what is new is in force.
    Reloaded,
    /// It is the same as before.
    Unchanged,
    /// It can't be used: what was in force before stays.
    Kept,
}

impl PartResult {
    pub(super) const fn of(has_changed: bool) -> Self {
        if has_changed { Self::Reloaded } else { Self::Unchanged }
    }

    /// `reloaded`, `unchanged` or `kept`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reloaded => "reloaded",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
        }
    }
}

impl ReloadReport {
    pub(super) fn add(&mut self, name: impl Into<String>, result: PartResult) {
        self.parts.push(ReloadedPart { name: name.into(), result, error: None });
    }

    pub(in crate::server) fn kept(&mut self, name: impl Into<String>, error: String) {
        self.parts.push(ReloadedPart { name: name.into(), result: PartResult::Kept, error: Some(error) });
    }

    /// The first error of a part with this name.
    pub fn error(&self, name: &str) -> Option<&str> {
        self.parts.iter().filter(|part| part.name == name).find_map(|part| part.error.as_deref())
    }
}
