use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::value::duration;

/// Messages that tell their originators what became of other messages: `[receipts]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receipts {
    /// The greatest number of open receipts. 0: there are none, and `receipt-to` is a User Property like any other.
    pub open_max: usize,
    /// The greatest number of open receipts that one user, or one client without a user, has asked for.
    pub open_per_client_max: usize,
    /// After this time a receipt is published, whatever is outstanding.
    #[serde(with = "duration")]
    pub max_age: Duration,
}

impl Default for Receipts {
    fn default() -> Self {
        Self {
            // About half a kilobyte each.
            open_max: 100_000,
            // One client does not use up what is there for all.
            open_per_client_max: 1_000,
            // A receiver that is away for a long weekend can still acknowledge.
            max_age: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

impl Receipts {
    /// Checks what the types do not express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.open_per_client_max == 0 {
            let text = "must be at least 1; receipts.open_max = 0 turns receipts off";
            problems.push(Problem::new("receipts.open_per_client_max", text));
        }
        if self.max_age < Duration::from_secs(1) {
            problems.push(Problem::new("receipts.max_age", "must be at least \"1s\""));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_permits_nothing_is_a_problem() {
        assert_eq!(Receipts::default().problems(), []);
        let receipts = Receipts { open_max: 0, open_per_client_max: 0, max_age: Duration::from_millis(999) };
        let problems = receipts.problems();
        let text = "must be at least 1; receipts.open_max = 0 turns receipts off";
        let expected = [
            Problem::new("receipts.open_per_client_max", text),
            Problem::new("receipts.max_age", "must be at least \"1s\""),
        ];
        assert_eq!(problems, expected);
    }
}
