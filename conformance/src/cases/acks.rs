//! PUBACK, PUBREC, PUBREL and PUBCOMP.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
