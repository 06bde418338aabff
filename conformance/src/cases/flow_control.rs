//! Receive Maximum and Maximum Packet Size.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
