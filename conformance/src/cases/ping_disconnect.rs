//! PINGREQ and PINGRESP, Keep Alive, and DISCONNECT.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
