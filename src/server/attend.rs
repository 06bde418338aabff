//! Starts and ends the threads that attend to a broker that serves.

use super::Server;

impl Server {
    /// Starts, ends or replaces them, as the configuration says. A standby has none, and the server of a cell neither.
    pub(super) async fn apply_attendants(&mut self) {
        if self.is_standby() || self.cell.is_some() {
            return;
        }
        self.apply_sinks().await;
        self.apply_probe().await;
        self.apply_telemetry().await;
        self.apply_bridges().await;
    }

    /// Ends the sinks, the bridges and the probe, which would fail from now on, the traces, and readiness.
    pub(super) async fn begin_stop(&mut self) {
        self.stop_sinks().await;
        self.stop_bridges().await;
        self.stop_probe().await;
        self.stop_telemetry().await;
        self.status.set_stopping();
    }
}
