//! SUBSCRIBE and SUBACK.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
