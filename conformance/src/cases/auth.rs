//! AUTH and enhanced authentication.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
