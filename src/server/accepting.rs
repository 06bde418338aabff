//! Which thread accepts connections.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::Server;
use super::announce::{self, Serves};
use super::handover::early::EarlyAcceptor;
use super::listener::{Acceptor, Early, ListeningSocket};
use super::log::log_line;
use super::shard::mailbox::{Listen, Mail, round_robin};

impl Server {
    /// Writes the addresses of the listeners.
    pub(super) fn announce(&self) {
        if self.cell.is_some() {
            return;
        }
        let mut listening = Vec::new();
        for listener in &self.listeners {
            let name = &*listener.endpoint().name;
            log_line!(ListenerOpen { listener = name }, "listener {name} is open");
            let addresses = listener.addresses().iter();
            listening.extend(addresses.map(|address| (listener.endpoint().settings().clone(), *address)));
        }
        // Standard output may be closed: the broker runs without it.
        let serves = if self.is_standby() && self.front_of.is_none() { Serves::Nobody } else { Serves::Clients };
        let _ = announce::announce(&listening, serves, self.config.log.format, &mut io::stdout().lock());
    }

    /// Starts to accept connections at all listeners. Several shards get them from tasks of the main thread: dropping what is returned ends
    /// these. `None`: a single shard accepts them itself until it shuts down, because passing each connection to another thread costs two changes of threads.
    pub(super) fn start_accepting(&mut self) -> io::Result<Option<Acceptor>> {
        let deliver = || round_robin(Arc::clone(&self.mailboxes));
        let mut accepting = match self.mailboxes.len() {
            1 => None,
            _ => Some(Acceptor::new(self.clock, Arc::clone(&self.admission), deliver())),
        };
        let sockets = mem::take(&mut self.sockets);
        let early = self.early.take().map(EarlyAcceptor::finish).unwrap_or_default();
        self.accept_at(&mut accepting, sockets, early).map(|()| accepting)
    }

    /// Accepts connections at further sockets, when this returns. `early` are connections that were accepted before.
    pub(super) fn accept_at(
        &self,
        accepting: &mut Option<Acceptor>,
        sockets: Vec<ListeningSocket>,
        early: Early,
    ) -> io::Result<()> {
        if let Some(acceptor) = accepting {
            return acceptor.listen(sockets, early);
        }
        let Some(only_shard) = self.mailboxes.first() else { return Ok(()) };
        let (started, answer) = sync_channel(1);
        let admission = Arc::clone(&self.admission);
        only_shard.put(Mail::Listen(Box::new(Listen { clock: self.clock, admission, sockets, early, started })));
        answer.recv().map_err(io::Error::other)?
    }
}
