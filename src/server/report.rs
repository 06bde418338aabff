use std::fmt;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::shown::Shown;
use crate::broker::{ClientLabel, Report};
use crate::timestamp::Timestamp;

/// Writes the broker's reports to the log.
///
/// Reports that any client can cause (refusals, denials, drops) are limited to [`LINES_PER_SECOND_MAX`]. A line gives the number of
/// suppressed ones.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    budget: LineBudget,
}

impl Reporter {
    pub(super) fn report(&mut self, report: &Report, now: Timestamp) {
        match report {
            Report::Connected { client, version, clean_start, session_present, keep_alive, .. } => info!(
                "{} connected: MQTT {version}, {} session, keep alive {keep_alive} s",
                Label(client),
                match (clean_start, session_present) {
                    (true, _) => "clean",
                    (false, true) => "stored",
                    (false, false) => "new",
                },
            ),
            Report::Silent { client, cause } => debug!("{}: probe: {cause} before it sent anything", Label(client)),
            Report::Disconnected { client, reason_code, cause } => {
                info!("{} disconnected: {cause} (0x{:02X})", Label(client), reason_code.number());
            }
            Report::Refused { client, reason_code, cause } => {
                if self.budget.allows(now) {
                    warn!("{} refused: {cause} (0x{:02X})", Label(client), reason_code.number());
                }
            }
            Report::Denied { client, packet, topic, reason_code, rule } => {
                if self.budget.allows(now) {
                    let code = reason_code.number();
                    warn!("{} denied: {packet} {}: {rule} (0x{code:02X})", Label(client), Shown(topic));
                }
            }
            Report::Unreadable { client, sequence, cause } => {
                if self.budget.allows(now) {
                    error!(
                        "{}: dropped message {sequence}, which can't be read from the store: {cause}",
                        Label(client)
                    );
                }
            }
            Report::Dropping { client, reason } => {
                if self.budget.allows(now) {
                    warn!("{}: dropping messages: {}", Label(client), reason.name());
                }
            }
        }
    }
}

/// Limits the lines of one kind to [`LINES_PER_SECOND_MAX`].
#[derive(Debug, Default)]
pub(super) struct LineBudget {
    second: Timestamp,
    lines: u64,
}

impl LineBudget {
    /// Whether one more line may be written. At the first call after the end of a second, logs the number of lines suppressed in it.
    pub(super) fn allows(&mut self, now: Timestamp) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            if self.lines > LINES_PER_SECOND_MAX {
                warn!("suppressed {} log lines of this kind", self.lines - LINES_PER_SECOND_MAX);
            }
            *self = Self { second: now, lines: 0 };
        }
        self.lines += 1;
        self.lines <= LINES_PER_SECOND_MAX
    }
}

/// Formats a client for the log.
struct Label<'a>(&'a ClientLabel);

impl fmt::Display for Label<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientLabel { client_id, user, address, listener } = self.0;
        match client_id {
            Some(client_id) => write!(formatter, "client {}", Shown(client_id.as_str()))?,
            None => write!(formatter, "client without Client Identifier")?,
        }
        if let Some(user) = user {
            write!(formatter, " user {}", Shown(user))?;
        }
        if let Some(address) = address {
            write!(formatter, " from {address}")?;
        }
        match listener {
            Some(listener) => write!(formatter, " at {listener}"),
            None => Ok(()),
        }
    }
}

/// Lines per second and [`LineBudget`]: about a gigabyte of log per day.
const LINES_PER_SECOND_MAX: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;

    #[test]
    fn the_budget_is_renewed_every_second() {
        let mut budget = LineBudget::default();
        let allowed = (0..1_000).filter(|_| budget.allows(Timestamp(5_000))).count();
        assert_eq!(allowed as u64, LINES_PER_SECOND_MAX);
        assert!(budget.allows(Timestamp(6_000)));
    }

    #[test]
    fn a_client_identifier_cannot_forge_a_line() {
        let label = ClientLabel {
            client_id: Some(ClientId("a\nb".into())),
            user: Some("u".into()),
            address: Some("192.0.2.1:5".parse().unwrap()),
            listener: Some("tcp".into()),
        };
        assert_eq!(Label(&label).to_string(), r#"client "a\nb" user "u" from 192.0.2.1:5 at tcp"#);
    }
}
