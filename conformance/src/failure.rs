//! Failures of cases.

use std::fmt::Debug;

use crate::wire::Version;

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The broker violated a statement.
    Broken {
        /// The violated statement, if it is more specific than the statements of the case.
        statement: Option<String>,
        /// What the standard requires.
        expected: String,
        /// What the broker did.
        came: String,
    },
    /// The case doesn't apply to this broker, for this reason.
    Skipped(String),
}

/// What a case returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// The broker's behaviour differs from the expected one.
    pub fn new(expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self::Broken { statement: None, expected: expected.into(), came: came.into() }
    }

    /// The broker lacks the tested feature, and announces that.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(reason.into())
    }

    /// Sets the violated statement unless it is set.
    pub fn or_of(self, broken: Option<&str>) -> Self {
        match (self, broken) {
            (failure @ Self::Broken { statement: None, .. }, Some(broken)) => failure.of(broken),
            (failure, _) => failure,
        }
    }

    /// Sets the violated statement.
    pub fn of(self, broken: impl Into<String>) -> Self {
        match self {
            Self::Broken { expected, came, .. } => Self::Broken { statement: Some(broken.into()), expected, came },
            Self::Skipped(reason) => Self::Skipped(reason),
        }
    }
}

/// Fails unless `condition` holds.
pub fn check(condition: bool, expected: impl Into<String>, came: impl Into<String>) -> Outcome {
    if condition { Ok(()) } else { Err(Failure::new(expected, came)) }
}

/// Fails unless `came` is `expected`; `what` names it: `check_equal("the RETAIN flag", message.retain, false)?`.
pub fn check_equal<A: PartialEq<B> + Debug, B: Debug>(what: &str, came: A, expected: B) -> Outcome {
    check(came == expected, format!("{what} is {expected:?}"), format!("{what} is {came:?}"))
}

/// Fails unless a message came at this QoS, the lower of what was published and what was granted. A higher one violates the statement that says so.
pub fn check_qos(version: Version, came: u8, expected: u8) -> Outcome {
    let statement = (came > expected).then_some(if version.is_v5() { "MQTT-3.8.4-8" } else { "MQTT-3.8.4-6" });
    check_equal("the QoS", came, expected).map_err(|failure| failure.or_of(statement))
}
