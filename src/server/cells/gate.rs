use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::clock::Clock;
use super::super::listener::{Accepted, AcceptedSocket, Admission, Endpoint, Permit, Refused};
use super::super::shard::mailbox::{Mail, Mailbox};
use super::super::tunnel::{TunnelStream, Tunneled};
use crate::broker::LinkPeer;
use crate::cluster::tunnel::Opening;
use crate::routing::CellId;

/// Lets connections into the server of a cell in this process, within its limits. Cheap to clone.
#[derive(Clone)]
pub(in crate::server) struct Gate(Arc<Parts>);

struct Parts {
    clock: Clock,
    admission: Arc<Admission>,
    mailboxes: Arc<[Mailbox]>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The number of the shard that is next.
    Open(usize),
    /// The server takes no connection any more.
    Closed,
}

/// Why a connection is not let in.
#[derive(Debug)]
pub(in crate::server) enum NotAdmitted {
    /// The server takes none any more.
    Closed(AcceptedSocket, Permit),
    /// A limit or a ban of the server.
    Refused(Refused),
}

impl Gate {
    pub(in crate::server) fn new(clock: Clock, admission: Arc<Admission>, mailboxes: Arc<[Mailbox]>) -> Self {
        Self(Arc::new(Parts { clock, admission, mailboxes, state: Mutex::new(State::Open(0)) }))
    }

    /// Lets no further connection in. The server calls it before its shards end.
    pub(in crate::server) fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Whether it lets none in any more.
    pub(in crate::server) fn is_closed(&self) -> bool {
        *self.state() == State::Closed
    }

    /// Gives a connection of a listener of this process to a shard. No byte of it was read. `permit` is that of the server with the listener, which counts
    /// it no longer, but for the listener.
    ///
    /// # Errors
    /// The limits refuse it, or the server has ended: then all is given back.
    pub(in crate::server) fn admit(&self, socket: AcceptedSocket, permit: Permit) -> Result<(), Box<NotAdmitted>> {
        let mut state = self.state();
        if *state == State::Closed {
            return Err(Box::new(NotAdmitted::Closed(socket, permit)));
        }
        let permit = permit
            .moved(&self.0.admission, socket.address())
            .map_err(|refused| Box::new(NotAdmitted::Refused(refused)))?;
        self.deliver(&mut state, socket, permit);
        Ok(())
    }

    /// Gives the end of a pipe to a shard, for a connection of a listener of this process, whose server counts it, too.
    ///
    /// # Errors
    /// A limit of this server. `None`: it has ended.
    pub(in crate::server) fn admit_passed(
        &self,
        tunneled: Tunneled,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(), Option<Refused>> {
        self.admit_tunneled(tunneled, || self.0.admission.admit_passed(endpoint))
    }

    /// Gives a client of another node, at the listener `endpoint`, to a shard.
    ///
    /// # Errors
    /// A limit of this server. `None`: it has ended.
    pub(in crate::server) fn admit_other(
        &self,
        tunneled: Tunneled,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(), Option<Refused>> {
        self.admit_tunneled(tunneled, || self.0.admission.admit(endpoint))
    }

    /// Gives a stream to and from another cell to a shard, always the same one for this cell. Its peer says so in [`Peer::link`](crate::broker::Peer::link).
    /// No limits hold for it. Returns whether it was taken; else the server has ended.
    pub(in crate::server) fn admit_link(&self, stream: TunnelStream, other: LinkPeer) -> bool {
        let state = self.state();
        if *state == State::Closed {
            return false;
        }
        let endpoint = Arc::new(Endpoint::link(other));
        let permit = self.0.admission.admit_own(&endpoint);
        let opening = Opening { listener: endpoint.name.to_string(), is_local: true, ..Opening::default() };
        let socket = AcceptedSocket::Tunnel(Box::new(Tunneled { stream, opening }));
        let CellId(number) = other.cell;
        self.put(usize::from(number), Accepted { socket, endpoint, permit, accepted_at: self.0.clock.read().elapsed });
        drop(state);
        true
    }

    /// Ends the connections of these listeners.
    pub(in crate::server) fn listeners_removed(&self, names: &[Arc<str>]) {
        self.0.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::ListenersRemoved(names.into())));
    }

    fn admit_tunneled(
        &self,
        tunneled: Tunneled,
        permit: impl FnOnce() -> Result<Permit, Refused>,
    ) -> Result<(), Option<Refused>> {
        let mut state = self.state();
        if *state == State::Closed {
            return Err(None);
        }
        let permit = permit()?;
        let permit = match tunneled.opening.address {
            Some(address) => permit.of_address(address)?,
            None => permit,
        };
        self.deliver(&mut state, AcceptedSocket::Tunnel(Box::new(tunneled)), permit);
        Ok(())
    }

    /// Gives a connection to the next shard.
    fn deliver(&self, state: &mut State, socket: AcceptedSocket, permit: Permit) {
        let State::Open(next) = state else { return };
        let number = *next;
        *next = next.wrapping_add(1);
        let endpoint = Arc::clone(permit.endpoint());
        self.put(number, Accepted { socket, endpoint, permit, accepted_at: self.0.clock.read().elapsed });
    }

    fn put(&self, number: usize, accepted: Accepted) {
        let mailboxes = &self.0.mailboxes;
        if let Some(mailbox) = mailboxes.get(number % mailboxes.len().max(1)) {
            mailbox.put(Mail::Accepted(Box::new(accepted)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::super::listener::{Arrival, receive};
    use super::*;
    use crate::broker::LinkRole;
    use crate::config::Limits;
    use crate::timestamp::Timestamp;

    /// A gate, and the mailboxes of the shards behind it.
    fn gate(shards: usize) -> (Gate, Arc<[Mailbox]>) {
        let mailboxes: Arc<[Mailbox]> = (0..shards).map(|_| Mailbox::new(100)).collect();
        let admission = Arc::new(Admission::new(&Limits { connections_max: 0, ..Limits::default() }));
        (Gate::new(Clock::start(Timestamp(0)), admission, Arc::clone(&mailboxes)), mailboxes)
    }

    #[tokio::test]
    async fn both_ends_of_a_link_say_which_cell_the_other_is_and_no_limit_holds_for_them() {
        let ((one, of_one), (other, of_other)) = (gate(3), gate(2));
        let to = |cell| LinkPeer { cell: CellId(cell), role: LinkRole::Out };
        for _ in 0..2 {
            let [stream, end] = TunnelStream::local();
            assert!(one.admit_link(stream, to(7)) && other.admit_link(end, to(4)));
        }
        let take = |mailbox: &Mailbox| {
            let mut mail = Vec::new();
            mailbox.take(10, &mut mail);
            let established = mail.into_iter().map(|mail| {
                let Mail::Accepted(accepted) = mail else { panic!("{mail:?}") };
                let Ok(Arrival::Established(established)) = receive(*accepted) else { panic!("a handshake") };
                established
            });
            established.collect::<Vec<_>>()
        };
        let (mut ones, mut others) = (take(&of_one[1]), take(&of_other[0]));
        assert_eq!([ones.len(), others.len()], [2, 2], "always the same shard");
        assert_eq!([ones[0].peer.link, others[0].peer.link], [Some(to(7)), Some(to(4))]);
        ones[1].stream.write_all(b"frame").await.unwrap();
        let mut received = [0; 5];
        others[1].stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"frame");
        one.close();
        assert!(one.is_closed() && !one.admit_link(TunnelStream::local().into_iter().next().unwrap(), to(7)));
        assert!(of_one.iter().all(|mailbox| mailbox.weight() == 0));
    }
}
