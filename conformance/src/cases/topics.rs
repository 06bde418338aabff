//! Topic Names and Topic Filters, and how they match.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
