//! The kinds of results.

use serde::{Deserialize, Serialize};

/// The kinds of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The broker complied.
    Pass,
    /// The case doesn't apply to this broker or set-up.
    Skip,
    /// State was lost when the broker was killed with SIGKILL, which the standards permit.
    Beyond,
    /// The broker didn't comply.
    Fail,
}
