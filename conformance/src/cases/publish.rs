//! PUBLISH: its header, topic and payload, and where it goes.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
