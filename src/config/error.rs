use std::path::PathBuf;

use super::locate::{Place, line_and_column, path_at};
use super::nearest::nearest;
use super::origin::Origin;

/// Why the configuration can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file isn't valid TOML, or contains an unknown key or an invalid value.
    #[error("{}:{line}:{column}: {text}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
        /// The key, what is wrong, and the nearest valid name.
        text: String,
    },
    /// The file has another format.
    #[error("{}: {text}", path.display())]
    Foreign {
        /// Path of the file.
        path: PathBuf,
        /// What it is, and what to do.
        text: String,
    },
    /// A configuration of mosquitto that can't be used. The text names file and line.
    #[error("{text}")]
    Mosquitto {
        /// What is wrong.
        text: String,
    },
    /// A file that is made for the configuration can't be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A flag or an environment variable has an unknown name or an invalid value.
    #[error("{origin}: {text}")]
    Override {
        /// The flag or the environment variable.
        origin: Origin,
        /// What is wrong, and the nearest valid name.
        text: String,
    },
    /// Values contradict each other.
    #[error("{}", lines.join("\n"))]
    Problems {
        /// One line for each problem, with the origin of the value.
        lines: Vec<String>,
    },
}

impl ConfigError {
    /// Converts an error of the TOML parser, with its line and column in `text`.
    pub(super) fn in_file(path: PathBuf, text: &str, places: &[Place], error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        let (line, column) = line_and_column(text, offset);
        let text = match path_at(places, offset) {
            Some(key) => explain(key, error.message()),
            None => explain("", error.message()),
        };
        Self::File { path, line, column, text }
    }
}

/// Rewrites the message of serde about the setting `key`, and adds the nearest valid name if a name is wrong.
pub(super) fn explain(key: &str, message: &str) -> String {
    let message = message.lines().collect::<Vec<_>>().join(", ");
    // serde puts the names in backticks: first the wrong one, then all valid ones.
    let mut names = message.split('`').skip(1).step_by(2);
    let wrong = names.next().unwrap_or_default();
    let suggestion = match nearest(wrong, names) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    };
    if message.starts_with("unknown field") {
        let key = if key.is_empty() { wrong } else { key };
        return if suggestion.is_empty() {
            format!("unknown key `{key}`: {message}")
        } else {
            format!("unknown key `{key}`{suggestion}")
        };
    }
    let subject = if key.is_empty() { String::new() } else { format!("`{key}`: ") };
    if message.starts_with("unknown variant") {
        format!("{subject}{message}{suggestion}")
    } else {
        format!("{subject}{message}")
    }
}
