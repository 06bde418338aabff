//! What the configuration says about traces.

use std::sync::Arc;

use super::exporter::Exporter;
use super::files::Files;
use super::running::Telemetry;
use crate::config::Config;
use crate::server::Server;
use crate::server::log::log_line;

/// Reads the files for the export of traces as a start does.
///
/// # Errors
/// Traces can't be sent with these settings: the text says why.
pub fn check_telemetry(config: &Config) -> Result<(), String> {
    if config.telemetry.endpoint.is_none() {
        return Ok(());
    }
    let files = Files::read(&config.telemetry)?;
    Exporter::new(&config.telemetry, &files, Arc::default()).map(|_| ())
}

impl Server {
    /// Begins traces, ends them, or begins them anew, as the configuration says. They stay as they are if it has not changed, or if a file can't
    /// be used.
    pub(in crate::server) async fn apply_telemetry(&mut self) {
        let settings = self.config.telemetry.clone();
        let Some(endpoint) = settings.endpoint.as_deref() else { return self.stop_telemetry().await };
        let files = Files::read(&settings);
        if let (Some(running), Ok(files)) = (&self.attendants.telemetry, &files)
            && running.settings == settings
            && running.files == *files
        {
            return;
        }
        let inbox = &self.attendants.traces;
        let made = files.and_then(|files| Ok((Exporter::new(&settings, &files, Arc::clone(inbox))?, files)));
        let (exporter, files) = match made {
            Ok(made) => made,
            Err(reason) => {
                let state =
                    if self.attendants.telemetry.is_some() { "traces go on as before" } else { "there are no traces" };
                log_line!(TelemetryFailed { endpoint, reason = &*reason }, "{state}: {reason}");
                return;
            }
        };
        self.stop_telemetry().await;
        let parts = (Arc::clone(&self.attendants.traces), self.queries(), self.status());
        match Telemetry::start((&settings, files), exporter, parts) {
            Ok(telemetry) => {
                log_line!(TelemetryStarted { endpoint }, "traces of messages are sent to {endpoint}");
                self.attendants.telemetry = Some(telemetry);
            }
            Err(error) => {
                let reason = &*error.to_string();
                log_line!(TelemetryFailed { endpoint, reason }, "there are no traces: {reason}");
            }
        }
    }

    /// Ends traces, and sends what there is if the collector takes it in a short time.
    pub(in crate::server) async fn stop_telemetry(&mut self) {
        if let Some(telemetry) = self.attendants.telemetry.take() {
            telemetry.stop().await;
        }
    }
}
