//! How a run ended.

/// Whether the broker kept what the scenario promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Broken,
}
