//! What a running broker does for a new process that takes over from it.

use std::future::pending;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::message::{Message, PROTOCOL, Received, unexpected};
use super::own::OwnSockets;
use super::successor::HANDOVER_SOCKET;
use crate::config::SocketMode;
use crate::server::listener::BoundSocket;
use crate::server::log::log_line;

/// Waits for a process that wants to take over. Dropping it removes the socket.
#[derive(Debug, Default)]
pub(in crate::server) struct Predecessor {
    _task: JoinSet<()>,
    requests: Option<mpsc::Receiver<Request>>,
}

/// What a process that wants to take over needs from the main thread.
#[derive(Debug)]
pub(in crate::server) enum Request {
    /// The sockets that listen now.
    Sockets(oneshot::Sender<io::Result<OwnSockets>>),
    /// It has said `Go`.
    Go(Successor),
}

/// The connection to the process that takes over.
#[derive(Debug)]
pub(in crate::server) struct Successor {
    stream: UnixStream,
    received: Received,
    /// Its number.
    pub(in crate::server) process: u32,
}

/// How a hand-over ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Outcome {
    /// The other process serves the clients.
    Ready,
    /// The other process has ended.
    Gone,
}

impl Predecessor {
    /// Listens in the data directory. If that fails, the log has the reason, and `--take-over` does not work for this process.
    pub(in crate::server) fn listen(data: &Path) -> Self {
        match Self::try_listen(data) {
            Ok(predecessor) => predecessor,
            Err(error) => {
                log_line!(
                    HandoverUnavailable { reason = %error },
                    "no other process can take over: cannot listen at {}: {error}",
                    data.join(HANDOVER_SOCKET).display()
                );
                Self::default()
            }
        }
    }

    fn try_listen(data: &Path) -> io::Result<Self> {
        let BoundSocket::Unix(listener, file) =
            BoundSocket::bind_unix(&data.join(HANDOVER_SOCKET), SocketMode::default())?
        else {
            return Err(unexpected());
        };
        let listener = UnixListener::from_std(listener)?;
        let (sender, requests) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn_local(async move {
            let successor = wait(&listener, &sender).await;
            // The next process that takes over creates its own file.
            drop((listener, file));
            let _ = sender.send(Request::Go(successor)).await;
        });
        Ok(Self { _task: task, requests: Some(requests) })
    }

    /// Waits for a process that wants to take over. Cancel safe.
    pub(in crate::server) async fn requested(&mut self) -> Request {
        if let Some(requests) = &mut self.requests
            && let Some(request) = requests.recv().await
        {
            return request;
        }
        pending().await
    }
}

/// Answers processes of the same user until one says `Go`.
async fn wait(listener: &UnixListener, main: &mpsc::Sender<Request>) -> Successor {
    loop {
        let offered = match listener.accept().await {
            Ok((stream, _)) => timeout(EXCHANGE_MAX, offer(stream, main)).await,
            Err(_) => {
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let reason = match offered {
            Ok(Ok(Some(successor))) => return successor,
            // A process that only looks whether a broker is there.
            Ok(Ok(None)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it did not go on in time".to_owned(),
        };
        log_line!(
            HandoverFailed { reason = &*reason },
            "a process that wanted to take over did not: {reason}; this one serves on"
        );
    }
}

/// Offers the sockets to a process. `None` if it asks for nothing.
async fn offer(stream: UnixStream, main: &mpsc::Sender<Request>) -> io::Result<Option<Successor>> {
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is of another user"));
    }
    let mut successor = Successor { stream, received: Received::default(), process: 0 };
    successor.process = match successor.receive().await? {
        None => return Ok(None),
        Some(Message::TakeOver { protocol: PROTOCOL, process }) => process,
        Some(Message::TakeOver { protocol, .. }) => {
            let reason =
                format!("this broker knows version {PROTOCOL} of the protocol, not {protocol}: restart it instead");
            successor.send(&Message::Refused { reason: reason.clone() }, None).await?;
            return Err(io::Error::other(reason));
        }
        Some(_) => return Err(unexpected()),
    };
    let (answer, sockets) = oneshot::channel();
    // The main thread ends this task when it receives no more.
    let _ = main.send(Request::Sockets(answer)).await;
    let sockets = sockets.await.map_err(io::Error::other)??;
    let count = sockets.iter().len();
    for (listener, removes_file, socket) in sockets.iter() {
        let message = Message::Socket { listener: listener.to_owned(), removes_file };
        successor.send(&message, Some(socket)).await?;
    }
    successor.send(&Message::Sockets { count, process: std::process::id() }, None).await?;
    // A listener that is removed from now on is closed.
    drop(sockets);
    match successor.receive().await? {
        Some(Message::Go) => Ok(Some(successor)),
        Some(_) => Err(unexpected()),
        None => Err(io::Error::other("it ended before it was ready to start")),
    }
}

impl Successor {
    /// Tells the process that the store is unlocked.
    pub(in crate::server) async fn release(&self) {
        // If it has ended, `outcome` says so.
        let _ = self.send(&Message::Released, None).await;
    }

    /// Waits until the process serves the clients, or has ended.
    pub(in crate::server) async fn outcome(&mut self) -> Outcome {
        match self.receive().await {
            Ok(Some(Message::Ready)) => Outcome::Ready,
            Ok(_) | Err(_) => Outcome::Gone,
        }
    }

    async fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.stream.async_io(Interest::WRITABLE, || message.send(&self.stream, descriptor)).await
    }

    /// The next message; `None` at the end of the connection.
    async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.received.take()? {
                return Ok(Some(message));
            }
            let mut buffer = [0; 1024];
            let read = self.stream.async_io(Interest::READABLE, || self.stream.try_read(&mut buffer)).await;
            match read {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Ok(read) => self.received.add(buffer.get(..read).unwrap_or_default()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Bounds the time from the connection of a process to its `Go`: it reads certificates and files, and resolves names.
const EXCHANGE_MAX: Duration = Duration::from_secs(60);
/// Pause after a failed accept(2).
const ERROR_PAUSE: Duration = Duration::from_millis(100);
