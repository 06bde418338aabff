//! What a new process does to take over from a running broker.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::message::{Message, PROTOCOL, Received, unexpected};
use super::passed::{Origin, PassedSockets};
use crate::config::{Config, Durability};
use crate::server::error::ServerError;
use crate::server::log::log_line;
use crate::server::store::options::store_directory;
use crate::store::{self, OpenError};

/// The connection to the running broker that this process takes over from.
#[derive(Debug)]
pub struct TakeOver {
    stream: UnixStream,
    received: Received,
    process: u32,
}

impl TakeOver {
    /// Asks the broker that runs on the data directory for its sockets. Without a broker, this process starts as without `--take-over`; so it
    /// does if the broker ends before it has passed them, which is the case if there are sockets but nobody to take over from.
    ///
    /// # Errors
    /// The broker can't be asked, or refuses.
    pub fn request(config: &Config) -> Result<(Option<Self>, Option<PassedSockets>), ServerError> {
        let path = config.server.data.join(HANDOVER_SOCKET);
        let failed = |source| ServerError::TakeOver { socket: path.clone(), source };
        if config.strongest_durability() == Durability::None {
            let text = "server.durability is none: without a store there is nothing to take over";
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        let Some(stream) = connect(&path).map_err(failed)? else {
            log_line!(TakeOverSkipped {}, "nothing to take over: no broker listens at {}", path.display());
            return Ok((None, None));
        };
        let Some((this, passed)) = Self::ask(stream).map_err(failed)? else {
            log_line!(TakeOverSkipped {}, "nothing to take over: the broker at {} has ended", path.display());
            return Ok((None, Some(PassedSockets::of_ended_broker())));
        };
        let (process, sockets) = (this.process, passed.len());
        log_line!(TakeOverBegun { process, sockets }, "taking over {sockets} sockets from process {process}");
        Ok((Some(this), Some(passed)))
    }

    /// `None` if the broker ends before it has passed its sockets.
    fn ask(stream: UnixStream) -> io::Result<Option<(Self, PassedSockets)>> {
        if socket_peercred(&stream)?.uid != rustix::process::geteuid() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the running broker is of another user"));
        }
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut this = Self { stream, received: Received::default(), process: 0 };
        let request = Message::TakeOver { protocol: PROTOCOL, process: std::process::id() };
        if request.send(&this.stream, None).is_err() {
            return Ok(None);
        }
        let (mut names, mut descriptors) = (Vec::new(), Vec::new());
        let count = loop {
            match this.receive(&mut descriptors)? {
                Some(Message::Socket { listener, removes_file }) => names.push((listener, removes_file)),
                Some(Message::Sockets { count, process }) => {
                    this.process = process;
                    break count;
                }
                Some(Message::Refused { reason }) => return Err(io::Error::other(reason)),
                Some(_) => return Err(unexpected()),
                None => return Ok(None),
            }
        };
        if names.len() != count || descriptors.len() != count {
            return Err(io::Error::other(format!("{} of {count} sockets arrived", descriptors.len())));
        }
        let mut sockets = PassedSockets::new(Origin::Broker);
        for ((name, removes_file), socket) in names.into_iter().zip(descriptors) {
            sockets.add(name, socket, removes_file)?;
        }
        Ok(Some((this, sockets)))
    }

    /// Tells the broker to hand over, because this process can start.
    ///
    /// # Errors
    /// This version can't read the store: the broker serves on.
    pub(in crate::server) fn go(&mut self, config: &Config) -> Result<(), ServerError> {
        let directory = store_directory(&config.server.data);
        let formats = store::formats(&directory);
        if let Ok(Some((name, version))) = formats.map(|formats| formats.newer) {
            return Err(ServerError::Store { directory, source: OpenError::Newer { name, version } });
        }
        // If the broker has ended, so has the connection: this process starts as after a crash, with the sockets.
        let _ = Message::Go.send(&self.stream, None);
        Ok(())
    }

    /// Waits until the store is unlocked or the broker has ended.
    pub(in crate::server) fn wait(&mut self) {
        let _ = self.stream.set_read_timeout(None);
        let _ = self.receive(&mut Vec::new());
    }

    /// Tells the broker that this process serves its clients.
    pub(in crate::server) fn ready(self) {
        let process = self.process;
        let _ = Message::Ready.send(&self.stream, None);
        log_line!(TakeOverCompleted { process }, "took over from process {process}");
    }

    /// The next message; `None` at the end of the connection.
    fn receive(&mut self, descriptors: &mut Vec<OwnedFd>) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.received.take()? {
                return Ok(Some(message));
            }
            let mut buffer = [0; 1024];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let read =
                recvmsg(&self.stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC);
            let read = match read {
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                read => read?,
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    descriptors.extend(received);
                }
            }
            if read.flags.contains(ReturnFlags::CTRUNC) {
                return Err(io::Error::other("a socket did not arrive: there is no file descriptor left"));
            }
            if read.bytes == 0 {
                return Ok(None);
            }
            self.received.add(buffer.get(..read.bytes).unwrap_or_default());
        }
    }
}

/// Connects to the socket of the running broker. `None`: nobody listens there.
fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of the Unix socket in the data directory at which a running broker hands over.
pub(in crate::server) const HANDOVER_SOCKET: &str = "handover.sock";
/// A broker that runs passes its sockets at once, unless its main thread is stuck.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A message has one at most.
const DESCRIPTORS_MAX: usize = 4;
