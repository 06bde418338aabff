//! Malformed Packets and Protocol Errors.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
