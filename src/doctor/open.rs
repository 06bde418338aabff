//! What is open to whom: listeners, authentication, access rules, and the modes of files.

use oncemq::auth::Authenticator;
use oncemq::config::{AllowAnonymous, ClientCertificate, ListenAddress, Listener, Loaded, Security};

use super::finding::{Findings, Severity};

pub(super) fn examine(loaded: &Loaded, findings: &mut Findings) {
    let config = &loaded.config;
    for listener in &config.listeners {
        let (severity, text) = reach(listener, &config.security);
        findings.add(severity, "listener", text, None);
    }
    for exposure in loaded.exposures() {
        findings.warning("open to others", exposure, "close it, unless it is meant so");
    }
    match Authenticator::new(&config.security, &config.auth, &config.listeners) {
        Ok(authenticator) => {
            for note in authenticator.notes() {
                findings.warning("users and rules", note, "mend the file; oncemq config check reads it again");
            }
        }
        Err(error) => {
            findings.error("users and rules", error.to_string(), "mend the file: the broker does not start with it");
        }
    }
}

/// Who can connect to a listener, and do what.
fn reach(listener: &Listener, security: &Security) -> (Severity, String) {
    let is_local = match &listener.address {
        ListenAddress::Ip(address) => address.ip().to_canonical().is_loopback(),
        ListenAddress::Name { name, .. } => name == "localhost",
        ListenAddress::Port(_) => false,
        ListenAddress::Unix(_) => true,
    };
    let from = if is_local { "this machine" } else { "every machine that reaches it" };
    let has_certificates =
        listener.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificate::Required);
    let who = match listener.allow_anonymous.unwrap_or(security.allow_anonymous) {
        _ if has_certificates => "with a certificate",
        AllowAnonymous::Always => "without a password",
        AllowAnonymous::Loopback if is_local => "without a password",
        AllowAnonymous::Loopback => "with credentials, from this machine without",
        AllowAnonymous::Never => "with credentials",
    };
    let has_rules = security.acl_file.is_some() || listener.acl_file.is_some();
    let may = if has_rules {
        "the access rules apply"
    } else {
        "there are no access rules: clients may publish and read all topics"
    };
    let severity = if is_local || has_rules { Severity::Ok } else { Severity::Note };
    (severity, format!("{}: clients of {from} connect {who}; {may}", listener.label()))
}
