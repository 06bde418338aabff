use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    file: Arc<Path>,
    line: usize,
}

impl Place {
    pub(in crate::import) fn new(file: &Arc<Path>, line: usize) -> Self {
        Self { file: Arc::clone(file), line }
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.file.to_path_buf()
    }

    /// The line, counted from 1.
    pub const fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file.display(), self.line)
    }
}
