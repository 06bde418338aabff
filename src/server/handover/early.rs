//! Accepts connections while the store is not open yet, so that those of a whole fleet don't overflow the backlog. They wait here instead, and
//! nothing is read from them.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::server::listener::{BoundSocket, Early, ListeningSocket, TcpOptions};

/// The thread that accepts them. Dropping it closes the connections.
#[derive(Debug)]
pub(in crate::server) struct EarlyAcceptor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Early>>,
}

impl EarlyAcceptor {
    /// Accepts at most `connections_max` connections; further ones stay in the backlog.
    pub(in crate::server) fn start(
        sockets: &[ListeningSocket],
        options: TcpOptions,
        connections_max: usize,
    ) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for (endpoint, socket) in sockets.iter().filter_map(ListeningSocket::parts) {
            listeners.push((endpoint, BoundSocket::adopt(socket.second()?.descriptor, options, false)?));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let accept = move || {
            let mut early = Early::new();
            while !stopped.load(Ordering::Acquire) {
                for (endpoint, socket) in &listeners {
                    // An error, such as a lack of descriptors, leaves the rest in the backlog until the next attempt.
                    while early.len() < connections_max
                        && let Ok(accepted) = socket.try_accept()
                    {
                        early.push((Arc::clone(endpoint), accepted));
                    }
                }
                thread::sleep(PAUSE);
            }
            early
        };
        let thread = thread::Builder::new().name("early".to_owned()).spawn(accept)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it, and returns the connections in the order in which they came.
    pub(in crate::server) fn finish(mut self) -> Early {
        self.stop.store(true, Ordering::Release);
        // A panic has ended the process already.
        mem::take(&mut self.thread).and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for EarlyAcceptor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Between two attempts: some hundred connections arrive in this time at most.
const PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::config::{Limits, Listener};
    use crate::server::listener::{Endpoint, OpenListener, Places};

    #[test]
    fn connections_are_accepted_up_to_the_limit_and_the_others_stay_in_the_backlog() {
        let settings = Listener::new("127.0.0.1:0".parse().unwrap());
        let options = TcpOptions { user_timeout: Duration::from_secs(20) };
        let bound = Places::resolve(&settings).unwrap().bind(options, &Default::default()).unwrap();
        let endpoint = Endpoint::new(settings, &Limits::default()).unwrap();
        let (_listener, sockets) = OpenListener::new(endpoint, bound).unwrap();
        let (_, socket) = sockets[0].parts().unwrap();
        let address = socket.address().unwrap();
        let acceptor = EarlyAcceptor::start(&sockets, options, 3).unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        // The kernel completes a connection a moment after the client has it.
        thread::sleep(Duration::from_millis(200));
        assert_eq!(acceptor.finish().len(), 3);
        assert!(socket.try_accept().is_ok());
        assert!(socket.try_accept().is_ok());
        assert_eq!(socket.try_accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(clients);
    }
}
