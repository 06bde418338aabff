use std::path::Path;

use x509_parser::prelude::{CertificateRevocationList, X509Certificate};
use x509_parser::time::ASN1Time;

use super::error::TlsError;
use crate::config::ExpiredCrl;
use crate::server::clock::wall_time;
use crate::server::log::log_line;

/// What an operator should know about files that can be used.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    pub(super) fn add(&mut self, path: &Path, text: &str) {
        self.0.push(format!("{}: {text}", path.display()));
    }

    pub(super) fn add_problem(&mut self, problem: &TlsError) {
        self.0.push(problem.to_string());
    }

    /// Notes that the certificate is not valid now, or not for long.
    pub(super) fn check_validity(&mut self, path: &Path, certificate: Option<&X509Certificate<'_>>) {
        let Some(validity) = certificate.map(|certificate| certificate.validity()) else { return };
        if seconds_until(validity.not_before) > 0 {
            self.add(path, &format!("is not valid before {}: clients that verify it refuse it", validity.not_before));
        }
        self.check_end(path, validity.not_after);
    }

    /// Notes that a certificate has expired, or will within [`NEAR_SECONDS`].
    pub(super) fn check_end(&mut self, path: &Path, end: ASN1Time) {
        let seconds = seconds_until(end);
        if seconds < 0 {
            self.add(path, &format!("has expired at {end}: clients that verify it refuse it"));
        } else if seconds < NEAR_SECONDS {
            let days = seconds / DAY_SECONDS;
            self.add(path, &format!("expires in {days} days, at {end}: renew it, and reload it with SIGHUP"));
        }
    }

    /// Notes that the revocation list has expired.
    pub(super) fn check_list(&mut self, path: &Path, expired: ExpiredCrl, list: &CertificateRevocationList<'_>) {
        let Some(next) = list.next_update().filter(|next| seconds_until(*next) < 0) else { return };
        let effect = match expired {
            ExpiredCrl::Warn => "it still applies, but lacks what was revoked since",
            ExpiredCrl::Refuse => "the clients whose certificates it concerns are refused",
        };
        self.add(path, &format!("the revocation list of `{}` has expired at {next}: {effect}", list.issuer()));
    }

    /// One line for each note.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }

    pub(super) fn log(&self) {
        for note in &self.0 {
            log_line!(FileNoted { reason = &**note }, "{note}");
        }
    }
}

/// Seconds in which a certificate expires soon: 30 days.
const NEAR_SECONDS: i64 = 30 * DAY_SECONDS;
const DAY_SECONDS: i64 = 86_400;

fn seconds_until(time: ASN1Time) -> i64 {
    let now = wall_time().0 / 1_000;
    time.timestamp().saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
}
