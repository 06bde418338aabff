//! Listens at all addresses, and reads the certificates.

use std::net::SocketAddr;
use std::sync::Arc;

use super::error::ServerError;
use super::handover::passed::PassedSockets;
use super::listener::{self, BoundSocket, Endpoint, Places, TcpOptions, is_without_family, log_skipped};
use crate::config::Config;

/// Reads the certificates of all listeners as a start does. Returns what an operator should know about them.
pub fn check_certificates(config: &Config) -> Result<Vec<String>, ServerError> {
    let mut notes = Vec::new();
    for listener in &config.listeners {
        let Some(files) = &listener.tls else { continue };
        let found = listener::check_certificates(files)
            .map_err(|source| ServerError::Tls { listener: listener.label().into_owned(), source })?;
        notes.extend(found.into_iter().map(|note| format!("listener {}: {note}", listener.label())));
    }
    Ok(notes)
}

/// The socket options of connections.
pub(super) const fn tcp_options(config: &Config) -> TcpOptions {
    TcpOptions { user_timeout: config.limits.write_timeout }
}

/// Listens at the addresses of all listeners. A listener for which there are `passed` sockets has these alone. A default address that was not configured is left out if this machine does not support its
/// address family: a machine without IPv6 has no `[::1]`.
pub(super) fn bind(
    config: &Config,
    passed: &mut PassedSockets,
) -> Result<Vec<(Arc<Endpoint>, BoundSocket)>, ServerError> {
    let options = tcp_options(config);
    let failed = |listener: &crate::config::Listener, source| ServerError::Listen {
        listener: listener.label().into_owned(),
        address: listener.address.clone(),
        source,
    };
    let mut places = Vec::new();
    for listener in &config.listeners {
        places.push(Places::resolve(listener).map_err(|source| failed(listener, source))?);
    }
    let admin = config.admin.enabled.then_some(config.admin.address).filter(SocketAddr::is_ipv4);
    let ipv4_ports = places.iter().flat_map(Places::ipv4_ports).chain(admin.map(|address| address.port())).collect();
    let (mut bound, mut skipped) = (Vec::new(), None);
    for (listener, places) in config.listeners.iter().zip(places) {
        let endpoint = Endpoint::new(listener.clone(), &config.limits)
            .map_err(|source| ServerError::Tls { listener: listener.label().into_owned(), source })?;
        let endpoint = Arc::new(endpoint);
        let adopted = passed.take(&endpoint.name, &places, options).map_err(|source| failed(listener, source))?;
        let sockets = if adopted.is_empty() { places.bind(options, &ipv4_ports) } else { Ok(adopted) };
        match sockets {
            Ok(sockets) => bound.extend(sockets.into_iter().map(|socket| (Arc::clone(&endpoint), socket))),
            Err(source) if config.has_default_listeners() && is_without_family(&source) => {
                log_skipped(&listener.address, &source);
                skipped = Some(failed(listener, source));
            }
            Err(source) => return Err(failed(listener, source)),
        }
    }
    skipped.filter(|_| bound.is_empty()).map_or(Ok(bound), Err)
}
