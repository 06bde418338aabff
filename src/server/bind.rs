//! Listens at all addresses, and reads the certificates.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::error::ServerError;
use super::handover::passed::PassedSockets;
use super::listener::{
    self, Endpoint, ListeningSocket, OpenListener, Places, Port, TcpOptions, is_without_family, log_skipped,
};
use crate::config::{Config, Listener};

/// Reads the certificates of all listeners as a start does. Returns what an operator should know about them.
pub fn check_certificates(config: &Config) -> Result<Vec<String>, ServerError> {
    let mut notes = Vec::new();
    for listener in &config.listeners {
        let Some(files) = &listener.tls else { continue };
        let found = listener::check_certificates(files, listener.transport)
            .map_err(|source| ServerError::Tls { listener: listener.label().into_owned(), source })?;
        notes.extend(found.into_iter().map(|note| format!("listener {}: {note}", listener.label())));
    }
    Ok(notes)
}

/// The options of all TCP sockets.
pub(super) fn tcp_options(config: &Config) -> TcpOptions {
    TcpOptions::new(config.limits.write_timeout)
}

/// Listens at the addresses of all listeners. A listener for which there are `passed` sockets has these alone. A default address that was not
/// configured is left out if this machine does not support its address family: a machine without IPv6 has no `[::1]`.
pub(super) fn bind(
    config: &Config,
    passed: &mut PassedSockets,
) -> Result<(Vec<OpenListener>, Vec<ListeningSocket>), ServerError> {
    let options = tcp_options(config);
    let failed = |listener: &Listener, source| ServerError::Listen {
        listener: listener.label().into_owned(),
        address: listener.address.clone(),
        source,
    };
    let mut places = Vec::new();
    for listener in &config.listeners {
        places.push(Places::resolve(listener).map_err(|source| failed(listener, source))?);
    }
    let ipv4_ports = ipv4_ports(config, &places);
    let (mut open, mut sockets, mut skipped) = (Vec::new(), Vec::new(), None);
    for (listener, places) in config.listeners.iter().zip(places) {
        let endpoint = Endpoint::new(listener.clone(), &config.limits)
            .map_err(|source| ServerError::Tls { listener: listener.label().into_owned(), source })?;
        let adopted = passed.take(&endpoint.name, &places, options).map_err(|source| failed(listener, source))?;
        let bound = if adopted.is_empty() { places.bind(options, &ipv4_ports) } else { Ok(adopted) };
        match bound.and_then(|bound| OpenListener::new(endpoint, bound)) {
            Ok((listener, listening)) => {
                open.push(listener);
                sockets.extend(listening);
            }
            Err(source) if config.has_default_listeners() && is_without_family(&source) => {
                log_skipped(&listener.address, &source);
                skipped = Some(failed(listener, source));
            }
            Err(source) => return Err(failed(listener, source)),
        }
    }
    skipped.filter(|_| open.is_empty()).map_or(Ok((open, sockets)), Err)
}

/// The ports at which a listener, or the admin listener, has an IPv4 address of its own. `places` are those of the listeners.
pub(super) fn ipv4_ports(config: &Config, places: &[Places]) -> HashSet<Port> {
    let admin = config.admin.enabled.then_some(config.admin.address).filter(SocketAddr::is_ipv4);
    places.iter().flat_map(Places::ipv4_ports).chain(admin.map(|address| Port::Tcp(address.port()))).collect()
}
