//! Converts how Client Identifiers depend on user names, between the configuration and the broker.

use crate::broker::ClientIds;
use crate::config::ClientIdRule;

/// The setting of a listener for the broker.
pub(super) const fn client_ids(rule: ClientIdRule) -> ClientIds {
    match rule {
        ClientIdRule::Any => ClientIds::Any,
        ClientIdRule::UserName => ClientIds::UserName,
        ClientIdRule::MustBeUserName => ClientIds::MustBeUserName,
    }
}

/// The setting that a connection has had since it was accepted.
pub(super) const fn rule(client_ids: ClientIds) -> ClientIdRule {
    match client_ids {
        ClientIds::Any => ClientIdRule::Any,
        ClientIds::UserName => ClientIdRule::UserName,
        ClientIds::MustBeUserName => ClientIdRule::MustBeUserName,
    }
}
