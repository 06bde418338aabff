use std::fmt;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::broker::{ClientLabel, Report};
use crate::timestamp::Timestamp;

/// Writes what an operator wants to read as lines of the log.
///
/// What strangers can cause without end (refusals, denials) is bounded per second; what was left out is counted and said.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    budget: LineBudget,
}

impl Reporter {
    /// Writes the line.
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
                    warn!("{} denied: {packet} {:?}: {rule} (0x{code:02X})", Label(client), topic.as_ref() as &str);
                }
            }
            Report::Unreadable { client, sequence, cause } => {
                if self.budget.allows(now) {
                    error!(
                        "{}: message {sequence} is dropped: it can't be read from the store: {cause}",
                        Label(client)
                    );
                }
            }
            Report::Dropping { client, reason } => {
                if self.budget.allows(now) {
                    warn!("{}: messages are dropped: {}", Label(client), reason.name());
                }
            }
        }
    }
}

/// How many lines a second may be written.
#[derive(Debug, Default)]
pub(super) struct LineBudget {
    second: Timestamp,
    lines: u64,
}

impl LineBudget {
    /// Whether one more line may be written. When the second is over, one line says how many could not.
    pub(super) fn allows(&mut self, now: Timestamp) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            if self.lines > LINES_PER_SECOND_MAX {
                warn!("{} more lines like these were left out", self.lines - LINES_PER_SECOND_MAX);
            }
            *self = Self { second: now, lines: 0 };
        }
        self.lines += 1;
        self.lines <= LINES_PER_SECOND_MAX
    }
}

/// A client as a line of the log names it. What the client chose itself is quoted: it can't fake a line.
struct Label<'a>(&'a ClientLabel);

impl fmt::Display for Label<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientLabel { client_id, user, address, listener } = self.0;
        match client_id {
            Some(client_id) => write!(formatter, "client {:?}", client_id.as_str())?,
            None => write!(formatter, "client without a name")?,
        }
        if let Some(user) = user {
            write!(formatter, " user {user:?}")?;
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

/// More than anyone reads, little enough to not fill a disk in a day.
const LINES_PER_SECOND_MAX: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;

    #[test]
    fn lines_are_bounded_per_second_and_begin_anew_in_the_next() {
        let mut budget = LineBudget::default();
        let allowed = (0..1_000).filter(|_| budget.allows(Timestamp(5_000))).count();
        assert_eq!(allowed as u64, LINES_PER_SECOND_MAX);
        assert!(budget.allows(Timestamp(6_000)));
    }

    #[test]
    fn a_client_identifier_cannot_fake_a_line() {
        let label = ClientLabel {
            client_id: Some(ClientId("a\nb".into())),
            user: Some("u".into()),
            address: Some("192.0.2.1:5".parse().unwrap()),
            listener: Some("tcp".into()),
        };
        assert_eq!(Label(&label).to_string(), r#"client "a\nb" user "u" from 192.0.2.1:5 at tcp"#);
    }
}
