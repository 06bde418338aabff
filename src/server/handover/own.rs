//! The listening sockets of this broker, to pass them on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::passed::{ADMIN, Origin, PassedSockets};
use crate::server::listener::{OpenListener, SecondSocket};

/// Another descriptor of each socket that listens now, with the name of its listener.
#[derive(Debug)]
pub(in crate::server) struct OwnSockets(Vec<(Arc<str>, SecondSocket)>);

impl OwnSockets {
    /// The sockets of these listeners, and of the admin listener.
    ///
    /// # Errors
    /// There is no file descriptor left.
    pub(in crate::server) fn of(listeners: &[OpenListener], admin: &[SecondSocket]) -> io::Result<Self> {
        let of_listeners = listeners.iter().flat_map(|listener| {
            listener.seconds().iter().map(|socket| (Arc::clone(&listener.endpoint().name), socket))
        });
        let of_admin = admin.iter().map(|socket| (Arc::from(ADMIN), socket));
        let own = |(listener, socket): (_, &SecondSocket)| Ok((listener, socket.try_clone()?));
        of_listeners.chain(of_admin).map(own).collect::<io::Result<_>>().map(Self)
    }

    /// The sockets, each with the name of its listener and whether it removes the file of a Unix socket.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, bool, BorrowedFd<'_>)> {
        self.0.iter().map(|(listener, socket)| {
            let removes_file = socket.removal.as_ref().is_some_and(|removal| removal.is_due());
            (&**listener, removes_file, socket.descriptor.as_fd())
        })
    }

    /// Makes them passed sockets. The listeners of this broker don't remove the files of Unix sockets any more; those that get the sockets do.
    ///
    /// # Errors
    /// The operating system doesn't say where one listens.
    pub(in crate::server) fn into_passed(self) -> io::Result<PassedSockets> {
        let mut passed = PassedSockets::new(Origin::Broker);
        for (listener, SecondSocket { descriptor, removal, intake }) in self.0 {
            // One process reads from it, so that each datagram reaches the connection that it is for.
            if let Some(intake) = intake {
                intake.stop();
            }
            let removes_file = removal.is_some_and(|removal| {
                let is_due = removal.is_due();
                removal.cancel();
                is_due
            });
            passed.add(listener.to_string(), descriptor, removes_file)?;
        }
        Ok(passed)
    }
}
