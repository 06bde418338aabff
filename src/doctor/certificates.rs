//! Certificates and their days.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use oncemq::config::Config;
use oncemq::server::check_certificates;
use x509_parser::pem::Pem;

use super::finding::Findings;

pub(super) fn examine(config: &Config, findings: &mut Findings) {
    // What fits together, and lists of revoked certificates, is checked as at the start of the broker.
    match check_certificates(config) {
        Ok(notes) => {
            // The days are below.
            let other = |note: &String| {
                note.contains("revocation") || !(note.contains("expire") || note.contains("valid before"))
            };
            for note in notes.into_iter().filter(other) {
                findings.warning(SUBJECT, note, "renew the file, and reload it: oncemq reload");
            }
        }
        Err(error) => findings.error(SUBJECT, error.to_string(), "mend the file: the broker does not start with it"),
    }
    let of_listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let of_listeners = of_listeners.flat_map(|tls| [Some(&tls.certificate), tls.client_ca.as_ref()]);
    let files = of_listeners.chain([config.admin.certificate.as_ref(), config.admin.client_ca.as_ref()]).flatten();
    for file in files.collect::<BTreeSet<_>>() {
        days(file, findings);
    }
}

/// Looks at the validity of all certificates of a file.
fn days(path: &Path, findings: &mut Findings) {
    let name = path.display();
    let Ok(bytes) = fs::read(path) else {
        findings.error(
            SUBJECT,
            format!("{name} can't be read"),
            "run this as the user of the broker, or mend its mode",
        );
        return;
    };
    let mut soonest: Option<(i64, String)> = None;
    for pem in Pem::iter_from_buffer(&bytes).flatten() {
        let Ok(certificate) = pem.parse_x509() else { continue };
        let validity = certificate.validity();
        if validity.not_before > x509_parser::time::ASN1Time::now() {
            let text = format!("{name} is not valid before {}: clients that verify it refuse it", validity.not_before);
            findings.error(SUBJECT, text, "wait, mend the clock of this machine, or use another certificate");
        }
        let left = validity.time_to_expiration().map_or(-1, |left| left.whole_days());
        if soonest.as_ref().is_none_or(|(days, _)| left < *days) {
            soonest = Some((left, validity.not_after.to_string()));
        }
    }
    match soonest {
        Some((days, end)) if days < 0 => {
            let text = format!("{name} has expired at {end}: clients that verify it refuse it");
            findings.error(SUBJECT, text, RENEW);
        }
        Some((days, end)) if days < NEAR_DAYS => {
            findings.warning(SUBJECT, format!("{name} expires in {days} days, at {end}"), RENEW);
        }
        Some((days, _)) => findings.ok(SUBJECT, format!("{name} is valid for {days} days")),
        // That it has none was said above.
        None => {}
    }
}

const SUBJECT: &str = "certificates";
const RENEW: &str = "renew it, and reload it: oncemq reload";
const NEAR_DAYS: i64 = 30;
