//! The cases and the rows of the standards fit together.

#![cfg(test)]

use conformance::{cases, registry};

#[test]
fn every_row_has_a_case_or_a_reason() {
    let problems = registry::check(&cases::all());
    assert!(problems.is_empty(), "{problems:#?}");
}
