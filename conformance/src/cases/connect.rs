//! CONNECT: its header, flags and payload, and what the broker does on it.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
