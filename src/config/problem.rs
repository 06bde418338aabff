use std::fs::File;
use std::path::Path;

/// A setting that has a value of the right type that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting: `limits.connect_timeout`, `listeners[0].tls`.
    pub key: String,
    /// What is wrong: a predicate whose subject is the key, such as "must be at least 1".
    pub text: String,
}

impl Problem {
    pub(super) fn new(key: &str, text: &str) -> Self {
        Self { key: key.to_owned(), text: text.to_owned() }
    }
}

/// A problem if `value` is below `minimum`.
pub(super) fn at_least(key: &str, value: usize, minimum: usize) -> Option<Problem> {
    (value < minimum).then(|| Problem::new(key, &format!("must be at least {minimum}")))
}

/// A problem if the file can't be read.
pub(super) fn unreadable(key: &str, path: &Path) -> Option<Problem> {
    let problem =
        |reason: &dyn std::fmt::Display| Problem::new(key, &format!("cannot be read: {}: {reason}", path.display()));
    match File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => Some(problem(&"it is a directory")),
        Ok(_) => None,
        Err(error) => Some(problem(&error)),
    }
}
