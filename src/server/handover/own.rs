//! The listening sockets of this broker, to pass them on.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::passed::{Origin, PassedSockets};
use crate::server::listener::{BoundSocket, Endpoint, Removal};

/// A second descriptor of each listening socket of this broker.
#[derive(Debug, Default)]
pub(in crate::server) struct OwnSockets(Vec<OwnSocket>);

#[derive(Debug)]
struct OwnSocket {
    listener: Arc<str>,
    /// Whether the file of a Unix socket is removed at the end.
    removal: Option<Arc<Removal>>,
    socket: OwnedFd,
}

impl OwnSockets {
    pub(in crate::server) fn of(listeners: &[(Arc<Endpoint>, BoundSocket)]) -> io::Result<Self> {
        let own = |(endpoint, socket): &(Arc<Endpoint>, BoundSocket)| {
            let (listener, removal) = (Arc::clone(&endpoint.name), socket.file_removal());
            Ok(OwnSocket { listener, removal, socket: socket.duplicate()? })
        };
        listeners.iter().map(own).collect::<io::Result<_>>().map(Self)
    }

    /// Adds the socket of the admin listener.
    pub(in crate::server) fn add_admin(&mut self, socket: &TcpListener) -> io::Result<()> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        self.0.push(OwnSocket { listener: "admin".into(), removal: None, socket });
        Ok(())
    }

    /// The sockets, each with the name of its listener and whether it removes the file of a Unix socket.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, bool, BorrowedFd<'_>)> {
        self.0.iter().map(|own| {
            let removes_file = own.removal.as_ref().is_some_and(|removal| removal.is_due());
            (&*own.listener, removes_file, own.socket.as_fd())
        })
    }

    /// Makes them passed sockets. The listeners of this broker don't remove the files of Unix sockets any more; those that get the sockets do.
    ///
    /// # Errors
    /// The operating system doesn't say where one listens.
    pub(in crate::server) fn into_passed(self) -> io::Result<PassedSockets> {
        let mut passed = PassedSockets::new(Origin::Broker);
        for OwnSocket { listener, removal, socket } in self.0 {
            let removes_file = removal.is_some_and(|removal| {
                let is_due = removal.is_due();
                removal.cancel();
                is_due
            });
            passed.add(listener.to_string(), socket, removes_file)?;
        }
        Ok(passed)
    }
}
