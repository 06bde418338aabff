//! Session state: how long it lasts and what is in it.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
