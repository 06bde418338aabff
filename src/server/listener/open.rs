//! A listener that is open: it can be changed and closed while its tasks accept connections on other threads.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{BoundSocket, Endpoint, SecondSocket};
use crate::config::ListenAddress;

/// An open listener.
#[derive(Debug)]
pub(in crate::server) struct OpenListener {
    endpoint: Arc<Endpoint>,
    /// The tasks that accept its connections get each change; `None`: they end.
    current: watch::Sender<Option<Arc<Endpoint>>>,
    /// The names that its connections may have, which are recognized by their allocation.
    names: Vec<Arc<str>>,
    addresses: Vec<Option<SocketAddr>>,
    /// For a process that takes over.
    seconds: Vec<SecondSocket>,
}

/// A socket of a listener, before its connections are accepted.
#[derive(Debug)]
pub(in crate::server) struct ListeningSocket {
    pub(super) endpoint: watch::Receiver<Option<Arc<Endpoint>>>,
    pub(super) socket: BoundSocket,
}

impl ListeningSocket {
    /// Its listener and its socket; `None` if the listener is closed.
    pub(in crate::server) fn parts(&self) -> Option<(Arc<Endpoint>, &BoundSocket)> {
        Some((self.endpoint.borrow().clone()?, &self.socket))
    }
}

impl OpenListener {
    /// A listener with its sockets, which are to be passed to an [`Acceptor`](super::Acceptor).
    ///
    /// # Errors
    /// There is no file descriptor left.
    pub(in crate::server) fn new(
        endpoint: Endpoint,
        sockets: Vec<BoundSocket>,
    ) -> io::Result<(Self, Vec<ListeningSocket>)> {
        let endpoint = Arc::new(endpoint);
        let (current, receiver) = watch::channel(Some(Arc::clone(&endpoint)));
        let addresses = sockets.iter().map(BoundSocket::address).collect();
        let seconds = sockets.iter().map(BoundSocket::second).collect::<io::Result<_>>()?;
        let listening = |socket| ListeningSocket { endpoint: receiver.clone(), socket };
        let sockets = sockets.into_iter().map(listening).collect();
        Ok((Self { names: vec![Arc::clone(&endpoint.name)], endpoint, current, addresses, seconds }, sockets))
    }

    /// Its settings and certificates.
    pub(in crate::server) const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The bound address of each socket; a Unix socket has none.
    pub(in crate::server) fn addresses(&self) -> &[Option<SocketAddr>] {
        &self.addresses
    }

    /// Whether its sockets are open.
    pub(in crate::server) fn is_open(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Another descriptor of each socket.
    pub(in crate::server) fn seconds(&self) -> &[SecondSocket] {
        &self.seconds
    }

    /// Replaces its settings, for the connections that are accepted from now on.
    pub(in crate::server) fn update(&mut self, endpoint: Endpoint) {
        let endpoint = Arc::new(endpoint);
        let before = std::mem::replace(&mut self.endpoint, Arc::clone(&endpoint));
        if !self.names.iter().any(|name| Arc::ptr_eq(name, &endpoint.name)) {
            self.names.push(Arc::clone(&endpoint.name));
        }
        let (settings, old) = (&endpoint.settings, &before.settings);
        if let ListenAddress::Unix(path) = &settings.address
            && settings.socket_mode != old.socket_mode
        {
            let mode = Permissions::from_mode(settings.socket_mode.unwrap_or_default().bits());
            // The file is there unless somebody has removed it, and then nobody can connect.
            let _ = fs::set_permissions(path, mode);
        }
        self.current.send_replace(Some(endpoint));
    }

    /// Stops accepting connections, and waits until the sockets are closed. Connections stay.
    pub(in crate::server) async fn close_sockets(&mut self) {
        self.seconds.clear();
        self.current.send_replace(None);
        // A shard that is busy for longer closes them later.
        let _ = timeout(CLOSE_TIMEOUT, self.current.closed()).await;
    }

    /// Gets other sockets in place of those that were closed.
    ///
    /// # Errors
    /// There is no file descriptor left.
    pub(in crate::server) fn reopen(&mut self, sockets: Vec<BoundSocket>) -> io::Result<Vec<ListeningSocket>> {
        self.seconds = sockets.iter().map(BoundSocket::second).collect::<io::Result<_>>()?;
        let (current, receiver) = watch::channel(Some(Arc::clone(&self.endpoint)));
        self.current = current;
        self.addresses = sockets.iter().map(BoundSocket::address).collect();
        Ok(sockets.into_iter().map(|socket| ListeningSocket { endpoint: receiver.clone(), socket }).collect())
    }

    /// Removes the listener: closes its sockets, and returns the names of its connections, which the caller ends. Handshakes that are under
    /// way fail at their end.
    pub(in crate::server) async fn close(mut self) -> Vec<Arc<str>> {
        self.endpoint.state.is_removed.store(true, Ordering::Release);
        self.close_sockets().await;
        self.names
    }
}

/// The tasks need a turn of their thread to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
