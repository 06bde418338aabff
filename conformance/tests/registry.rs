//! Checks that cases and statements match.

#![cfg(test)]

use conformance::{cases, registry};

#[test]
fn every_row_has_a_case_or_a_reason() {
    let problems = registry::check(&cases::all());
    assert!(problems.is_empty(), "{problems:#?}");
}
