use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::pipe::{Pipe, Ready};
use super::pump::Pump;
use super::stream::TunnelStream;
use crate::broker::Peer;
use crate::cluster::tunnel::{Destination, Opening};
use crate::server::cells::Cells;
use crate::server::clock::Clock;
use crate::server::listener::{Established, HandshakeError};

/// Passes the clients of a standby to the owner, or each to its cell. All shards have it.
#[derive(Debug)]
pub(in crate::server) struct Front {
    /// Where the Sessions of clients are; `None`: all are at the owner.
    pub(super) cells: Option<Arc<Cells>>,
    /// To which nodes there are links.
    up: watch::Receiver<Linked>,
    opens: mpsc::Sender<Open>,
    ready: Arc<Ready>,
    /// Certificates, or the listeners, were reloaded.
    reviews: Notify,
    pub(super) clock: Clock,
    /// Makes the choice of a cell where each will do.
    pub(super) choices: AtomicUsize,
}

/// The nodes to which there are links.
#[derive(Debug, Default)]
pub(super) struct Linked {
    /// Whether the owner is one of them.
    pub(super) has_owner: bool,
    /// Those that serve cells.
    pub(super) nodes: Vec<String>,
}

/// The ends of a [`Front`]'s channels for the thread of the tunnels.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) up: watch::Sender<Linked>,
    pub(super) opens: mpsc::Receiver<Open>,
}

/// A client, or a link between cells, that needs a tunnel.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) opening: Bytes,
    pub(super) to: Destination,
    /// The node that it goes to; `None`: the owner.
    pub(super) node: Option<Arc<str>>,
    pub(super) pipe: Arc<Pipe>,
}

/// What has become of a client.
pub(in crate::server) enum Passed {
    /// Another broker serves it, or its connection has ended.
    Over,
    /// No broker takes it. These bytes were read of it.
    Back(Established, Bytes),
    Failed(HandshakeError),
}

/// What is to be done with a client.
pub(super) enum Routed {
    Done(Passed),
    /// Its bytes are copied from and to this tunnel, first those that were read of it.
    Copied(Established, TunnelStream, BytesMut),
    /// The broker that would serve it has ended, and another one will. These bytes were read of it.
    Held(Established, BytesMut),
}

pub(super) fn new(cells: Option<Arc<Cells>>, ready: &Arc<Ready>, clock: Clock) -> (Front, Channels) {
    let (up_sender, up) = watch::channel(Linked::default());
    let (opens, received) = mpsc::channel(OPENS_MAX);
    let (ready, reviews, choices) = (Arc::clone(ready), Notify::new(), AtomicUsize::new(0));
    let front = Front { cells, up, opens, ready, reviews, clock, choices };
    (front, Channels { up: up_sender, opens: received })
}

impl Front {
    /// Looks again whether the clients may stay.
    pub(in crate::server) fn review(&self) {
        self.reviews.notify_waiters();
    }

    /// Passes a client to the broker that has its Session, and copies its bytes, if necessary, until one of them ends that. Gives it back if there is no way to
    /// that broker in time.
    pub(in crate::server) async fn pass(&self, established: Established) -> Passed {
        // Boxed, because it is large and short-lived.
        let routed = match &self.cells {
            None => self.route_to_owner(established).await,
            Some(cells) => Box::pin(self.route_to_cell(cells, established)).await,
        };
        match routed {
            Routed::Done(passed) => passed,
            Routed::Copied(established, tunnel, read) => {
                self.copy(established, tunnel, read).await;
                Passed::Over
            }
            Routed::Held(established, read) => Passed::Back(established, read.freeze()),
        }
    }

    async fn route_to_owner(&self, established: Established) -> Routed {
        let tunnel = match opening(&established.peer, Destination::Broker).encode() {
            Some(opening) => timeout(HELD_MAX, self.open(opening, Destination::Broker, None)).await.ok().flatten(),
            // No owner takes it.
            None => None,
        };
        match tunnel {
            Some(tunnel) => Routed::Copied(established, tunnel, BytesMut::new()),
            None => Routed::Done(Passed::Back(established, Bytes::new())),
        }
    }

    async fn copy(&self, established: Established, tunnel: TunnelStream, read: BytesMut) {
        let Established { stream, peer, permit, mut certificates } = established;
        let mut pump = Pump::new(stream, tunnel, read);
        loop {
            let reviewed = self.reviews.notified();
            tokio::select! {
                biased;
                end = std::future::poll_fn(|cx| pump.poll(cx)) => {
                    // Boxed, because it is large and short-lived.
                    Box::pin(pump.finish(end, &peer, self.clock)).await;
                    return;
                }
                () = reviewed => {
                    let is_void = certificates.as_mut().is_some_and(|certificates| {
                        certificates.are_revoked() || !certificates.verify(&pump.stream)
                    });
                    if is_void || permit.is_void() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for a link to a node, or to the owner, and asks for a tunnel. Cancel safe.
    pub(super) async fn open(&self, opening: Bytes, to: Destination, node: Option<Arc<str>>) -> Option<TunnelStream> {
        let is_up = |linked: &Linked| match &node {
            None => linked.has_owner,
            Some(node) => linked.nodes.iter().any(|name| **name == **node),
        };
        self.up.clone().wait_for(is_up).await.ok()?;
        let pipe = Pipe::new(&self.ready);
        let stream = TunnelStream::of(&pipe);
        self.opens.send(Open { opening, to, node, pipe }).await.ok()?;
        Some(stream)
    }
}

pub(super) fn opening(peer: &Peer, to: Destination) -> Opening {
    Opening {
        listener: peer.listener.to_string(),
        address: peer.address,
        is_local: peer.is_local,
        certificate_identity: peer.certificate_identity.as_deref().map(str::to_owned),
        to,
    }
}

/// How long a client is held while no other node serves: about as long as a fail-over takes.
pub(super) const HELD_MAX: Duration = Duration::from_secs(6);
/// Clients that wait for the thread of the tunnels. Further ones wait for those.
const OPENS_MAX: usize = 1_024;
