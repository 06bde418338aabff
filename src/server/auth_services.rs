//! What the log says about the services that judge clients.

use super::log::log_line;
use crate::auth::Notice;

/// Writes a notice about the service of a provider.
pub(super) fn report(provider: &str, notice: Notice) {
    match notice {
        Notice::Failing { cause, requests } => log_line!(
            AuthServiceFailed { provider, reason = &*cause, requests },
            "the service of the provider {provider} does not answer: {cause} ({requests} requests since the last such line)"
        ),
        Notice::Well => log_line!(AuthServiceWell { provider }, "the service of the provider {provider} answers again"),
    }
}
