//! A build without traces: the configuration can't ask for them.

use crate::config::Config;
use crate::server::Server;

/// There is nothing to check.
///
/// # Errors
/// None.
pub fn check_telemetry(_config: &Config) -> Result<(), String> {
    Ok(())
}

impl Server {
    pub(in crate::server) async fn apply_telemetry(&mut self) {
        debug_assert!(self.attendants.telemetry.is_none());
    }

    pub(in crate::server) async fn stop_telemetry(&mut self) {}
}
