//! Socket activation: sockets that systemd passes to the process.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use super::passed::{Origin, PassedSockets};
use crate::server::error::ServerError;

/// Takes the sockets that systemd has passed (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`); `None` if it has passed none. Must be called
/// before other threads run, because it changes the environment.
///
/// # Errors
/// One of them can't be used, or the variables are invalid.
pub fn activated_sockets() -> Result<Option<PassedSockets>, ServerError> {
    let names = sd_notify::listen_fds_with_names(false)
        .map_err(|source| ServerError::Passed { name: "all".to_owned(), source })?;
    let names: Vec<String> = names.map(|(_, name)| name).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let mut descriptors = ListenFd::from_env();
    let mut sockets = PassedSockets::new(Origin::Systemd);
    for (at, name) in names.into_iter().enumerate() {
        take(&mut descriptors, at)
            .and_then(|socket| sockets.add(name.clone(), socket, false))
            .map_err(|source| ServerError::Passed { name, source })?;
    }
    Ok(Some(sockets))
}

fn take(descriptors: &mut ListenFd, at: usize) -> io::Result<OwnedFd> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    match descriptors.take_tcp_listener(at) {
        Ok(listener) => listener.map(OwnedFd::from).ok_or_else(missing),
        Err(_) => match descriptors.take_unix_listener(at) {
            Ok(listener) => listener.map(OwnedFd::from).ok_or_else(missing),
            Err(error) => {
                let socket = descriptors.take_udp_socket(at).map_err(|_| error)?;
                socket.map(OwnedFd::from).ok_or_else(missing)
            }
        },
    }
}
