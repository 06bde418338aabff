//! Starts what judges clients, and says in the log how the services do that it asks.

use std::sync::Arc;

use super::error::ServerError;
use super::log::log_line;
use crate::auth::{Authenticator, Notice, Pool};

/// Starts the threads that judge clients.
pub(super) fn pool(authenticator: Authenticator) -> Result<Arc<Pool>, ServerError> {
    Pool::start_reporting(authenticator, report).map(Arc::new).map_err(ServerError::Start)
}

/// Writes a notice about the service of a provider.
fn report(provider: &str, notice: Notice) {
    match notice {
        Notice::Failing { cause, requests } => log_line!(
            AuthServiceFailed { provider, reason = &*cause, requests },
            "the service of the provider {provider} does not answer: {cause} ({requests} requests since the last such line)"
        ),
        Notice::Well => log_line!(AuthServiceWell { provider }, "the service of the provider {provider} answers again"),
    }
}
