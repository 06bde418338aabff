//! Starts and ends the threads that attend to a broker that serves.

use super::Server;

impl Server {
    /// Starts, ends or replaces them, as the configuration says, once clients can connect: what they publish before might miss subscribers of other cells.
    pub(super) async fn apply_attendants(&mut self) {
        if !self.accepts_clients() {
            return self.stamps.take_sinks(&self.config.sinks);
        }
        self.apply_sinks().await;
        self.apply_probe().await;
        self.apply_telemetry().await;
        self.apply_bridges().await;
    }

    /// The same for the sinks, whose files have changed.
    pub(super) async fn apply_files_of_sinks(&mut self) {
        match self.accepts_clients() {
            true => self.apply_sinks().await,
            // The servers that have sinks read them.
            false => self.stamps.take_sinks(&self.config.sinks),
        }
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
