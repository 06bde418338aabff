use std::fmt;
use std::path::PathBuf;

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default of the setting.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of its key, counted from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A command-line flag, by name.
    Flag(String),
}

/// A value that overrides the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Override {
    pub(super) origin: Origin,
    pub(super) change: Change,
}

/// What an override changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Replaces all listeners by default listeners at these addresses.
    Listeners(Vec<String>),
    /// Replaces all durability rules by these, each written as `filter=level`.
    DurabilityRules(Vec<String>),
    /// Replaces one setting: its key, and its value as text.
    Setting(String, String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => write!(formatter, "env {name}"),
            Self::Flag(name) => write!(formatter, "flag {name}"),
        }
    }
}
