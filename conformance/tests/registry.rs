//! The cases and the rows of the standards fit together.

#![cfg(test)]

use conformance::{cases, registry};

#[test]
fn no_case_and_no_reason_contradicts_the_rows() {
    let problems = registry::check(&cases::all());
    let contradictions: Vec<_> = problems.iter().filter(|problem| !problem.contains(registry::MISSING)).collect();
    assert!(contradictions.is_empty(), "{contradictions:#?}");
}
