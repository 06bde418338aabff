//! The properties of CONNECT.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
