use std::path::PathBuf;

use super::locate::{Place, line_and_column, path_at};
use super::nearest::nearest;
use super::origin::Origin;

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file isn't TOML, or has a key or value that doesn't exist.
    #[error("{}:{line}:{column}: {text}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
        /// The key, what is wrong, and the nearest that would be right.
        text: String,
    },
    /// A flag or a variable has a name or value that doesn't exist.
    #[error("{origin}: {text}")]
    Override {
        /// The flag or variable.
        origin: Origin,
        /// What is wrong, and the nearest that would be right.
        text: String,
    },
    /// The values don't fit together.
    #[error("{}", lines.join("\n"))]
    Problems {
        /// One line for each, with where the value comes from.
        lines: Vec<String>,
    },
}

impl ConfigError {
    /// An error of the TOML parser in the text of a file, in words of ours.
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

/// What serde says about the setting `key`, with the nearest valid name where a name is wrong.
pub(super) fn explain(key: &str, message: &str) -> String {
    let message = message.lines().collect::<Vec<_>>().join(", ");
    // serde writes the names in backticks: first the wrong one, then all that are right.
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
