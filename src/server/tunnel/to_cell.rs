//! Passes each client to the broker of its cell, which is in this process or at another node.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};
use tokio::select;
use tokio::time::{Instant, timeout, timeout_at};

use super::finding::{find, has_ended};
use super::front::{Front, HELD_MAX, Passed, Routed, opening};
use super::stream::{TunnelStream, Tunneled};
use crate::broker::Peer;
use crate::cluster::tunnel::Destination;
use crate::config::{ProxyProtocol, Transport};
use crate::routing::CellId;
use crate::server::cells::{Cells, Gate, NotAdmitted, Place};
use crate::server::listener::{AcceptedSocket, Endpoint, Established, HandshakeError, Refused, Stream, log_refused};

impl Front {
    /// Finds the cell of a client, and passes it there.
    pub(super) async fn route_to_cell(&self, cells: &Cells, mut established: Established) -> Routed {
        let mut read = BytesMut::new();
        let limit = established.permit.endpoint().connect_timeout();
        let client_id = match timeout(limit, find(&mut established.stream, &mut read)).await {
            Ok(Ok(client_id)) => client_id,
            Ok(Err(error)) => return Routed::Done(Passed::Failed(error)),
            Err(_) => return Routed::Done(Passed::Failed(HandshakeError::Timeout)),
        };
        let cell = client_id.map(|client_id| CellId::of_client(&client_id, cells.count()));
        let until = Instant::now() + HELD_MAX;
        let mut places = cells.watch();
        loop {
            if established.permit.is_void() {
                return Routed::Done(Passed::Failed(HandshakeError::ListenerRemoved));
            }
            let now = Arc::clone(&places.borrow_and_update());
            // Where a client has no Client Identifier of its own, each cell will do.
            let CellId(cell) = cell.unwrap_or_else(|| self.any_cell(&now));
            match now.get(usize::from(cell)) {
                Some(Place::Here(gate)) => match self.pass_here(gate, established, read, cell) {
                    Routed::Held(client, bytes) => (established, read) = (client, bytes),
                    routed @ (Routed::Done(_) | Routed::Copied(..)) => return routed,
                },
                Some(Place::Node(node)) => {
                    let to = Destination::Cell(cell);
                    let Some(opening) = opening(&established.peer, to).encode() else { break };
                    let opened = select! {
                        opened = timeout_at(until, self.open(opening, to, Some(Arc::clone(node)))) => opened,
                        Ok(()) = places.changed() => continue,
                    };
                    let Ok(Some(tunnel)) = opened else { break };
                    if has_ended(&established.stream) {
                        return Routed::Done(Passed::Over);
                    }
                    return Routed::Copied(established, tunnel, read);
                }
                Some(Place::Unknown | Place::Joining(_)) | None => {}
            }
            if !matches!(timeout_at(until, places.changed()).await, Ok(Ok(()))) {
                break;
            }
            // A client that has given up may have connected elsewhere meanwhile, which its CONNECT must not end now.
            if has_ended(&established.stream) {
                return Routed::Done(Passed::Over);
            }
        }
        Routed::Held(established, read)
    }

    /// A cell that is served here; if there is none, by another node.
    fn any_cell(&self, places: &[Place]) -> CellId {
        let of = |wanted: fn(&Place) -> bool| {
            let cells = (0..=u8::MAX).zip(places).filter(|(_, place)| wanted(place));
            cells.map(|(cell, _)| CellId(cell)).collect::<Vec<_>>()
        };
        let mut cells = of(|place| matches!(place, Place::Here(_)));
        if cells.is_empty() {
            cells = of(|place| matches!(place, Place::Node(_)));
        }
        let choice = self.choices.fetch_add(1, Ordering::Relaxed).checked_rem(cells.len()).unwrap_or_default();
        cells.get(choice).copied().unwrap_or(CellId(0))
    }

    /// Passes a client to a cell in this process: its socket, if nothing has been read of it and nothing is between it and MQTT.
    fn pass_here(&self, gate: &Gate, established: Established, read: BytesMut, cell: u8) -> Routed {
        let Established { stream, peer, permit, certificates } = established;
        let bare = if read.is_empty() { bare(stream, &peer, permit.endpoint()) } else { Err(stream) };
        let stream = match bare {
            Ok(Ok(socket)) => {
                let not_admitted = match gate.admit(socket, permit) {
                    Ok(()) => return Routed::Done(Passed::Over),
                    Err(not_admitted) => *not_admitted,
                };
                return match not_admitted {
                    NotAdmitted::Refused(refused) => self.refused(refused, &peer),
                    NotAdmitted::Closed(socket, permit) => match registered(socket) {
                        Ok(stream) => Routed::Held(Established { stream, peer, permit, certificates }, read),
                        Err(error) => Routed::Done(Passed::Failed(error.into())),
                    },
                };
            }
            Ok(Err(error)) => return Routed::Done(Passed::Failed(error.into())),
            Err(stream) => stream,
        };
        let [tunnel, end] = TunnelStream::local();
        let tunneled = Tunneled { stream: end, opening: opening(&peer, Destination::Cell(cell)) };
        match gate.admit_passed(tunneled, permit.endpoint()) {
            Ok(()) => Routed::Copied(Established { stream, peer, permit, certificates }, tunnel, read),
            Err(Some(refused)) => self.refused(refused, &peer),
            Err(None) => Routed::Held(Established { stream, peer, permit, certificates }, read),
        }
    }

    fn refused(&self, refused: Refused, peer: &Peer) -> Routed {
        log_refused(&peer.listener, peer.address, &refused.to_string(), self.clock.read().now);
        Routed::Done(Passed::Over)
    }
}

/// The socket of a connection, as it was accepted. `Err`: there is something between it and MQTT.
fn bare(stream: Stream, peer: &Peer, endpoint: &Endpoint) -> Result<io::Result<AcceptedSocket>, Stream> {
    let settings = endpoint.settings();
    if settings.proxy_protocol != ProxyProtocol::Off {
        return Err(stream);
    }
    match (stream, peer.address) {
        (Stream::Tcp(stream), Some(address)) if settings.transport == Transport::Tcp => {
            Ok(stream.into_std().map(|stream| AcceptedSocket::Tcp(stream, address)))
        }
        (Stream::Unix(stream), _) => Ok(stream.into_std().map(AcceptedSocket::Unix)),
        (stream, _) => Err(stream),
    }
}

/// Registers what [`bare`] has returned with the runtime of this thread again.
fn registered(socket: AcceptedSocket) -> io::Result<Stream> {
    match socket {
        AcceptedSocket::Tcp(stream, _) => TcpStream::from_std(stream).map(Stream::Tcp),
        AcceptedSocket::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        AcceptedSocket::Tunnel(tunneled) => Ok(Stream::Tunnel(tunneled.stream)),
        AcceptedSocket::Quic(..) => Err(io::ErrorKind::Unsupported.into()),
    }
}
