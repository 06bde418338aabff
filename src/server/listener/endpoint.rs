use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use super::Stream;
use super::tls::{Certificates, Presented, TlsError};
use crate::broker::{LinkPeer, VerifiedUser};
use crate::config::{self, Transport};
use crate::routing::CellId;

/// One listener: its settings and certificates. A reload of other settings replaces it; connections keep the one that accepted them.
#[derive(Debug)]
pub(in crate::server) struct Endpoint {
    /// The name in the log. Connections of the listener are recognized by this allocation.
    pub(in crate::server) name: Arc<str>,
    pub(super) settings: config::Listener,
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) maximum_packet_size: u32,
    pub(super) connect_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) state: Arc<ListenerState>,
    /// Who its clients are, if it has no socket and only the broker's own clients reach it.
    own: Option<Arc<VerifiedUser>>,
    /// The cell at its other end, if its only connection is a link between two cells.
    pub(super) link: Option<LinkPeer>,
}

/// What a listener has in common with its predecessors of other settings.
#[derive(Debug, Default)]
pub(super) struct ListenerState {
    /// Its open connections.
    pub(super) connections: AtomicUsize,
    /// Whether it was removed, so that its connections end.
    pub(super) is_removed: AtomicBool,
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
    pub(super) fn of(
        endpoint: &Arc<Endpoint>,
        certificates: &[CertificateDer<'_>],
        removals: u64,
    ) -> Option<Box<Self>> {
        let presented = endpoint.certificates.as_ref()?.presented(certificates)?;
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
        if self.removals != removals && !certificates.verifies(&stream.certificates()) {
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
        let certificates = settings.tls_by_transport().map(Certificates::load).transpose()?.map(Arc::new);
        if let Some(certificates) = certificates.as_ref().filter(|_| settings.transport == Transport::Quic) {
            certificates.quic()?;
        }
        Ok(Self::with(settings, limits, certificates, Arc::default()))
    }

    /// The same listener with other settings. If the files of its certificates are others, they are read, and the connections that are open
    /// are judged by them, too. After an error nothing has changed.
    pub(in crate::server) fn successor(
        &self,
        settings: config::Listener,
        limits: &config::Limits,
    ) -> Result<Self, TlsError> {
        let certificates = match (&self.certificates, settings.tls_by_transport()) {
            (_, None) => None,
            (None, Some(files)) => Some(Arc::new(Certificates::load(files)?)),
            (Some(certificates), Some(files)) => {
                if self.settings.tls_by_transport().as_ref() != Some(&files) {
                    certificates.replace(files)?;
                }
                Some(Arc::clone(certificates))
            }
        };
        let mut next = Self::with(settings, limits, certificates, Arc::clone(&self.state));
        if next.name == self.name {
            next.name = Arc::clone(&self.name);
        }
        Ok(next)
    }

    /// The endpoint of a client of the broker's own, called `name`, who is `user`. It is no listener of the configuration: it has no socket, no
    /// limits of its own, and no reload closes it.
    pub(in crate::server) fn own(name: String, user: VerifiedUser, limits: &config::Limits) -> Self {
        let address = config::ListenAddress::Unix(name.as_str().into());
        let mut settings = config::Listener::new(address);
        (settings.name, settings.transport) = (Some(name), Transport::Unix);
        Self { own: Some(Arc::new(user)), ..Self::with(settings, limits, None, Arc::default()) }
    }

    /// The endpoint of a link to another cell. It is no listener of the configuration, and no limits hold for it.
    pub(in crate::server) fn link(other: LinkPeer) -> Self {
        let CellId(number) = other.cell;
        let name = format!("link to cell {number}");
        let mut settings = config::Listener::new(config::ListenAddress::Unix(name.as_str().into()));
        (settings.name, settings.transport) = (Some(name), Transport::Unix);
        settings.maximum_packet_size = Some(u32::MAX);
        Self { link: Some(other), ..Self::with(settings, &config::Limits::default(), None, Arc::default()) }
    }

    /// Who its clients are without an authentication; `None`: a provider decides.
    pub(super) fn own_user(&self) -> Option<&Arc<VerifiedUser>> {
        self.own.as_ref()
    }

    fn with(
        settings: config::Listener,
        limits: &config::Limits,
        certificates: Option<Arc<Certificates>>,
        state: Arc<ListenerState>,
    ) -> Self {
        Self {
            name: settings.label().into(),
            certificates,
            maximum_packet_size: settings.maximum_packet_size.unwrap_or(limits.maximum_packet_size),
            connect_timeout: limits.connect_timeout,
            write_timeout: limits.write_timeout,
            state,
            own: None,
            link: None,
            settings,
        }
    }

    /// Whether a listener with these settings and limits would be the same.
    pub(in crate::server) fn is_same(&self, settings: &config::Listener, limits: &config::Limits) -> bool {
        let maximum_packet_size = settings.maximum_packet_size.unwrap_or(limits.maximum_packet_size);
        self.settings == *settings
            && (self.maximum_packet_size, self.connect_timeout, self.write_timeout)
                == (maximum_packet_size, limits.connect_timeout, limits.write_timeout)
    }

    /// Whether the listener was removed. Then none of its connections stays.
    pub(in crate::server) fn is_removed(&self) -> bool {
        self.state.is_removed.load(Ordering::Acquire)
    }

    /// How long a client may take until its CONNECT has come.
    pub(in crate::server) const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Its configuration.
    pub(in crate::server) fn settings(&self) -> &config::Listener {
        &self.settings
    }

    /// When the first certificate of the server's chain expires, in seconds since 1970; `None` without TLS.
    pub(in crate::server) fn certificate_expires(&self) -> Option<i64> {
        self.certificates.as_ref().map(|certificates| certificates.expires())
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

    /// Reads the certificates again, if it has any, for later connections. After an error the current ones stay in use.
    pub(in crate::server) fn reload(&self) -> Result<(), TlsError> {
        self.certificates.as_ref().map_or(Ok(()), |certificates| certificates.reload())
    }
}
