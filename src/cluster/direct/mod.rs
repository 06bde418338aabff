//! Connections between two nodes, so that their frames need not pass the service that connects all: a [`Bus`] around another one.
//!
//! A node that has an address for this listens there. Who wants to connect introduces itself by the service, and gets the key and the address of the other
//! node as the answer: so who may connect is known to both before, and what they trust is what they trust anyway. Each node connects to the others for the
//! links that it begins. Where that does not work, because a node has no address or is not reached, the service carries the frames.
//!
//! | bound | value | when it is reached |
//! | --- | --- | --- |
//! | nodes whose keys are known | [`NODES_MAX`] | a further one uses the service |
//! | handshakes at a time | [`HANDSHAKES_MAX`] | a further connection waits |
//! | frames that wait to be written | [`OUTGOING_MAX`] | the link is closed |
//! | frames that have come and wait | 64 | the connection is not read |

mod connection;
mod identity;
mod introduction;
mod ways;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::bus::{Arrived, Bus, Way};
use super::engine::{EngineError, Pending};
use super::tunnel::SILENCE_MAX;
use connection::{OUTGOING_MAX, Outgoing, Peer, carry};
#[cfg(doc)]
use identity::NODES_MAX;
use identity::{Identity, KnownKeys};
use introduction::Introduction;
use ways::Ways;

/// Passes frames by connections between two nodes, and by another bus where there is none.
#[derive(Clone)]
pub struct DirectBus(Arc<Shared>);

struct Shared {
    service: Arc<dyn Bus>,
    identity: Identity,
    known: Arc<KnownKeys>,
    /// Where this node listens, as others reach it.
    address: Option<String>,
    ways: Ways,
    /// Taken when the frames are asked for.
    listener: std::sync::Mutex<Option<TcpListener>>,
}

impl DirectBus {
    /// Listens at `address` if there is one. Other nodes are told `announced` (`host:port`) instead, if they reach it there. Needs a runtime of tokio.
    ///
    /// # Errors
    /// It cannot listen there, or there are no random numbers.
    pub async fn new(
        service: Arc<dyn Bus>,
        address: Option<SocketAddr>,
        announced: Option<String>,
    ) -> Result<Self, io::Error> {
        let identity = Identity::new().map_err(io::Error::other)?;
        let listener = match address {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        let address = match (&listener, announced) {
            (None, _) => None,
            (Some(_), Some(announced)) => Some(announced),
            (Some(listener), None) => Some(listener.local_addr()?.to_string()),
        };
        let (known, ways, listener) = (Arc::default(), Ways::default(), std::sync::Mutex::new(listener));
        Ok(Self(Arc::new(Shared { service, identity, known, address, ways, listener })))
    }
}

impl Bus for DirectBus {
    fn way_to(&self, node: &str) -> Option<Way> {
        let (way, is_to_be_tried) = self.0.ways.to(node);
        if is_to_be_tried {
            let (shared, node) = (Arc::clone(&self.0), node.to_owned());
            tokio::spawn(async move { shared.try_to_connect(node).await });
        }
        way
    }

    fn send(&self, node: &str, way: Way, frame: Bytes) -> Pending<Result<(), EngineError>> {
        match way {
            Way::Service => self.0.service.send(node, way, frame),
            Way::Direct(number) => {
                let sent = self.0.ways.send(number, Outgoing::Frame(frame));
                let sent =
                    if sent { Ok(()) } else { Err(EngineError::Unreachable("a connection has ended".to_owned())) };
                Box::pin(async move { sent })
            }
        }
    }

    fn frames(&self) -> Pending<Result<mpsc::Receiver<Arrived>, EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let service = shared.service.frames().await?;
            let (sender, receiver) = mpsc::channel(ARRIVED_MAX);
            shared.ways.begin(sender.clone());
            let listener = shared.listener.lock().ok().and_then(|mut listener| listener.take());
            let listening = match listener {
                Some(listener) => {
                    let acceptor = shared.identity.acceptor(Arc::clone(&shared.known));
                    let acceptor = acceptor.map_err(|error| EngineError::Unreachable(error.to_string()))?;
                    Some(tokio::spawn(Arc::clone(&shared).listen(listener, acceptor)))
                }
                None => None,
            };
            tokio::spawn(async move {
                shared.take_from_service(service, sender).await;
                if let Some(listening) = listening {
                    listening.abort();
                }
            });
            Ok(receiver)
        })
    }

    fn leave(&self, way: Way) {
        if let Way::Direct(number) = way {
            self.0.ways.end(number);
        }
    }

    fn flush(&self) -> Pending<()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let flushed: Vec<_> = shared.ways.flush();
            let all = async {
                for flushed in flushed {
                    // A connection that has ended has nothing to flush.
                    let _ = flushed.await;
                }
            };
            let _in_time_or_not = timeout(FLUSH_LIMIT, all).await;
            shared.service.flush().await;
        })
    }
}

impl Shared {
    fn introduction(&self, is_question: bool) -> Bytes {
        Introduction { is_question, key: self.identity.key, address: self.address.clone() }.encode()
    }

    /// Passes on what the service brings, but for introductions. When the service ends, so do all connections, and with them the frames: the caller connects
    /// anew.
    async fn take_from_service(self: &Arc<Self>, mut service: mpsc::Receiver<Arrived>, sender: mpsc::Sender<Arrived>) {
        loop {
            let arrived = tokio::select! {
                arrived = service.recv() => arrived,
                () = sender.closed() => None,
            };
            let Some(arrived) = arrived else { break };
            match Introduction::decode(arrived.frame.clone()) {
                Some(introduction) => self.meet(arrived.node, introduction),
                None if sender.send(arrived).await.is_err() => break,
                None => {}
            }
        }
        self.ways.end_all();
    }

    /// Another node has introduced itself.
    fn meet(self: &Arc<Self>, node: String, introduction: Introduction) {
        if !introduction.is_question {
            return self.ways.answer(&node, introduction);
        }
        if !self.known.note(&node, introduction.key) {
            return;
        }
        self.ways.retry(&node);
        let (service, answer) = (Arc::clone(&self.service), self.introduction(false));
        tokio::spawn(async move {
            // The other node asks again.
            let _ = service.send(&node, Way::Service, answer).await;
        });
    }

    /// Asks a node where it listens, and connects to it.
    async fn try_to_connect(self: Arc<Self>, node: String) {
        let answer = self.ways.ask(&node);
        let question = self.introduction(true);
        let found = async {
            self.service.send(&node, Way::Service, question).await.ok()?;
            answer.await.ok()
        };
        let Ok(found) = timeout(ANSWER_LIMIT, found).await else { return self.ways.is_unanswered(&node) };
        let stream = match found {
            Some(Introduction { address: Some(address), key, .. }) => {
                timeout(CONNECT_LIMIT, self.connect(&address, key)).await.ok().and_then(Result::ok)
            }
            Some(_) | None => None,
        };
        match stream {
            Some(stream) => self.serve(stream, node, true).await,
            None => self.ways.is_without(&node),
        }
    }

    async fn connect(&self, address: &str, key: identity::NodeKey) -> io::Result<TlsStream<TcpStream>> {
        let connector = self.identity.connector(key).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        prepare(&stream)?;
        let name = ServerName::try_from("node").map_err(io::Error::other)?;
        connector.connect(name, stream).await.map(TlsStream::Client)
    }

    async fn listen(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptors are left, for example.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (shared, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                let accepted = timeout(CONNECT_LIMIT, accept(stream, acceptor)).await;
                drop(permit);
                let Ok(Ok(stream)) = accepted else { return };
                let key = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
                if let Some(node) = key.and_then(|key| shared.known.node_of(&key)) {
                    shared.serve(TlsStream::Server(stream), node, false).await;
                }
            });
        }
    }

    /// Carries the frames of a connection until it ends. `is_own`: this node has made it.
    async fn serve(&self, stream: TlsStream<TcpStream>, node: String, is_own: bool) {
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let Some((number, arrived)) = self.ways.add(&node, sender, is_own) else { return };
        let peer = Peer { node, way: Way::Direct(number) };
        // The link notices by its next frame that it has ended.
        let _ = carry(stream, &peer, outgoing, arrived).await;
        self.ways.end(number);
    }
}

async fn accept(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    prepare(&stream)?;
    acceptor.accept(stream).await
}

/// Frames are not held back, and what is not acknowledged for long ends the connection, so that a link that has left it does not keep it.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(Duration::from_millis(2 * SILENCE_MAX)))
}

/// As many wait behind them at the service.
const ARRIVED_MAX: usize = 64;
const HANDSHAKES_MAX: usize = 64;
/// A node that runs answers within milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
