//! The properties of PUBLISH, Topic Aliases among them.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
