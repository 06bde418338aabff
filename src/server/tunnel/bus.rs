use std::fmt;
use std::sync::Arc;

use crate::cluster::{Bus, Pending};

/// A connection that is being made, or why there is none.
pub type Connecting = Pending<Result<Arc<dyn Bus>, String>>;

/// Connects to what carries frames to other nodes.
pub struct TunnelBus {
    /// Is called again while it fails.
    pub connect: Box<dyn Fn() -> Connecting + Send>,
}

impl fmt::Debug for TunnelBus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TunnelBus").finish_non_exhaustive()
    }
}
