//! What the configuration says about traces.

use std::sync::Arc;

use super::running::Telemetry;
use crate::server::Server;
use crate::server::log::log_line;

impl Server {
    /// Begins traces, ends them, or begins them anew, as the configuration says. They stay as they are if it has not changed.
    pub(in crate::server) async fn apply_telemetry(&mut self) {
        let settings = &self.config.telemetry;
        let headers = settings.headers();
        if let (Some(running), Ok(headers)) = (&self.attendants.telemetry, &headers)
            && running.settings == *settings
            && running.headers == *headers
        {
            return;
        }
        self.stop_telemetry().await;
        let settings = &self.config.telemetry;
        let Some(endpoint) = settings.endpoint.as_deref() else { return };
        let started = headers.and_then(|headers| {
            let parts = (Arc::clone(&self.attendants.traces), self.queries(), self.status());
            Telemetry::start(settings, headers, parts).map_err(|error| error.to_string())
        });
        match started {
            Ok(telemetry) => {
                log_line!(TelemetryStarted { endpoint }, "traces of messages are sent to {endpoint}");
                self.attendants.telemetry = Some(telemetry);
            }
            Err(reason) => log_line!(TelemetryFailed { endpoint, reason = &*reason }, "there are no traces: {reason}"),
        }
    }

    /// Ends traces, and sends what there is if the collector takes it in a short time.
    pub(in crate::server) async fn stop_telemetry(&mut self) {
        if let Some(telemetry) = self.attendants.telemetry.take() {
            telemetry.stop().await;
        }
    }
}
