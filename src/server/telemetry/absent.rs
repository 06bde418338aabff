//! A build without traces: the configuration can't ask for them.

use crate::server::Server;

impl Server {
    pub(in crate::server) async fn apply_telemetry(&mut self) {
        debug_assert!(self.attendants.telemetry.is_none());
    }

    pub(in crate::server) async fn stop_telemetry(&mut self) {}
}
