use std::io;
use std::path::PathBuf;

use super::Place;

/// Why a configuration of mosquitto can't be read. mosquitto refuses to start with most of these, too.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// A file or an `include_dir` can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line is invalid.
    #[error("{at}: {text}")]
    Line {
        /// Where it stands.
        at: Place,
        /// The option, and what is wrong with it.
        text: String,
    },
    /// The files have no option at all.
    #[error("{}: there is no option of mosquitto in it", path.display())]
    Nothing {
        /// The path of the main file.
        path: PathBuf,
    },
}

impl ConfError {
    pub(in crate::import) fn line(at: &Place, text: impl Into<String>) -> Self {
        Self::Line { at: at.clone(), text: text.into() }
    }
}
