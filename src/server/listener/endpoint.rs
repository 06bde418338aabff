use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::Stream;
use super::tls::{Certificates, Presented, ServerStream, TlsError};
use crate::config;

/// One listener: its settings and certificates.
#[derive(Debug)]
pub(in crate::server) struct Endpoint {
    /// The name in the log.
    pub(in crate::server) name: Arc<str>,
    pub(super) settings: config::Listener,
    pub(super) certificates: Option<Certificates>,
    pub(super) maximum_packet_size: u32,
    pub(super) connect_timeout: Duration,
    pub(super) connections: AtomicUsize,
}

/// The files that a reload has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Reloaded {
    /// The listener has no files.
    Nothing,
    Certificates,
}

/// The certificates that the client of a connection has presented, and the listener that knows whether they are still valid.
#[derive(Debug)]
pub(in crate::server) struct ClientCertificates {
    presented: Presented,
    /// The removals of authorities when they were verified.
    removals: u64,
    endpoint: Arc<Endpoint>,
}

impl ClientCertificates {
    /// The certificates that the client of a connection presented; `None` if it presented none. `removals` is the number of reloads that had
    /// removed an authority when they were verified.
    pub(super) fn of(endpoint: &Arc<Endpoint>, stream: &ServerStream, removals: u64) -> Option<Box<Self>> {
        let presented = endpoint.certificates.as_ref()?.presented(stream)?;
        Some(Box::new(Self { presented, removals, endpoint: Arc::clone(endpoint) }))
    }

    /// Whether an authority was removed since they were verified, so that [`verify`](Self::verify) is due.
    pub(in crate::server) fn are_outdated(&self) -> bool {
        self.endpoint.certificates.as_ref().is_some_and(|certificates| certificates.removals() != self.removals)
    }

    /// Verifies them again by the current files, if an authority was removed. Returns whether they are valid. The TLS library keeps them for
    /// each connection, so they are not kept here.
    pub(in crate::server) fn verify(&mut self, stream: &Stream) -> bool {
        let Some(certificates) = &self.endpoint.certificates else { return true };
        let removals = certificates.removals();
        if self.removals != removals && stream.tls_session().is_some_and(|session| !certificates.verifies(session)) {
            return false;
        }
        self.removals = removals;
        true
    }

    /// Whether the current revocation lists name one of them.
    pub(in crate::server) fn are_revoked(&self) -> bool {
        self.endpoint.certificates.as_ref().is_some_and(|certificates| certificates.revokes(&self.presented))
    }
}

impl Endpoint {
    /// Reads the certificates, if the listener has any.
    pub(in crate::server) fn new(settings: config::Listener, limits: &config::Limits) -> Result<Self, TlsError> {
        Ok(Self {
            name: settings.label().into(),
            certificates: settings.tls.clone().map(Certificates::load).transpose()?,
            maximum_packet_size: settings.maximum_packet_size.unwrap_or(limits.maximum_packet_size),
            connect_timeout: limits.connect_timeout,
            connections: AtomicUsize::new(0),
            settings,
        })
    }

    /// Its configuration.
    pub(in crate::server) fn settings(&self) -> &config::Listener {
        &self.settings
    }

    /// When the first certificate of the server's chain expires, in seconds since 1970; `None` without TLS.
    pub(in crate::server) fn certificate_expires(&self) -> Option<i64> {
        self.certificates.as_ref().map(Certificates::expires)
    }

    /// Logs that a certificate in use has expired, or will soon.
    pub(in crate::server) fn log_expiry(&self) {
        if let Some(certificates) = &self.certificates {
            certificates.log_expiry();
        }
    }

    /// Whether connections from this address begin with the headers of a proxy that is believed, in an HTTP request.
    pub(super) fn is_web_proxy(&self, address: IpAddr) -> bool {
        self.settings.is_web() && self.trusts(address)
    }

    /// Whether the address is that of a proxy that is believed.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.settings.trusted_proxies.iter().any(|network| network.contains(address))
    }

    /// Reads the certificates again, for later connections. After an error the current ones stay in use.
    pub(in crate::server) fn reload(&self) -> Result<Reloaded, TlsError> {
        let Some(certificates) = &self.certificates else { return Ok(Reloaded::Nothing) };
        certificates.reload()?;
        Ok(Reloaded::Certificates)
    }
}
