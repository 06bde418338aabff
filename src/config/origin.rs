use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of its key, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

/// A setting from outside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Override {
    pub(super) origin: Origin,
    pub(super) change: Change,
}

/// What an override changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The listeners: these, at their defaults, instead of all others.
    Listeners(Vec<String>),
    /// The rules for durability: these, each written as `filter=level`, instead of all others.
    DurabilityRules(Vec<String>),
    /// One setting: its key and its value as text.
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
