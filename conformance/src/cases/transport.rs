//! The network connection and WebSockets.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
