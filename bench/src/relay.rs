//! A bare relay: QoS 0 without sessions and limits, the lower bound for the cost of a broker.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, bail};
use clap::Args;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::connection::{Connection, SCRATCH_LEN};
use crate::packet::Frame;
use crate::process;
use crate::transport::Stream;

/// The relay's port.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// Listen on this port of 127.0.0.1
    #[arg(long)]
    pub(crate) port: u16,
}

/// Relays until the process is killed.
pub(crate) fn run(args: &RelayArgs) -> Result<()> {
    process::raise_open_files();
    let mut relay = Relay::new(args.port)?;
    loop {
        relay.turn()?;
    }
}

#[derive(Debug)]
struct Relay {
    poll: Poll,
    listener: TcpListener,
    /// By number, which is also the token. Numbers are not reused.
    connections: Vec<Option<Connection>>,
    router: Router,
    scratch: Vec<u8>,
}

/// The subscriptions, and the connections to flush.
#[derive(Debug, Default)]
struct Router {
    subscriptions: Vec<(String, usize)>,
    /// The receivers of every topic that was published since the last SUBSCRIBE.
    routes: HashMap<Vec<u8>, Vec<usize>>,
}

impl Relay {
    fn new(port: u16) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let scratch = vec![0; SCRATCH_LEN];
        Ok(Self { poll, listener, connections: Vec::new(), router: Router::default(), scratch })
    }

    /// Reads from all readable connections, then flushes each receiver once.
    fn turn(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        if let Err(error) = self.poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        let mut dirty = Vec::new();
        for event in &events {
            if event.token() == LISTENER {
                self.accept()?;
            } else {
                self.on_ready(event.token().0, event.is_readable(), &mut dirty);
            }
        }
        for number in dirty {
            let Some(slot) = self.connections.get_mut(number) else { continue };
            let Some(connection) = slot else { continue };
            connection.dirty = false;
            if connection.flush().is_err() {
                *slot = None;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.connections.len());
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.connections.push(Some(Connection::new(Stream::Tcp(stream))));
        }
    }

    fn on_ready(&mut self, number: usize, readable: bool, dirty: &mut Vec<usize>) {
        let Some(mut connection) = self.connections.get_mut(number).and_then(Option::take) else { return };
        if readable {
            let Self { connections, router, scratch, .. } = self;
            let read = connection.read_all(scratch, |frame, output| {
                if frame.first & 0xF0 == 0x30 {
                    return router.relay(frame, connections, dirty);
                }
                router.answer(number, frame, output)
            });
            if read.is_err() {
                self.router.forget(number);
                return;
            }
        }
        if connection.backlog() > 0 && !connection.dirty {
            connection.dirty = true;
            dirty.push(number);
        }
        if let Some(slot) = self.connections.get_mut(number) {
            *slot = Some(connection);
        }
    }
}

impl Router {
    /// Forwards a PUBLISH unchanged. A client doesn't receive its own messages.
    fn relay(
        &mut self,
        frame: Frame<'_>,
        connections: &mut [Option<Connection>],
        dirty: &mut Vec<usize>,
    ) -> Result<()> {
        let Some((topic, _)) = string(frame.body).filter(|_| frame.first == 0x30) else {
            bail!("the relay supports QoS 0 only");
        };
        if !self.routes.contains_key(topic) {
            let receivers = self.matching(topic);
            self.routes.insert(topic.to_vec(), receivers);
        }
        for &receiver in self.routes.get(topic).into_iter().flatten() {
            let Some(Some(connection)) = connections.get_mut(receiver) else { continue };
            connection.output.extend_from_slice(frame.bytes);
            if !connection.dirty {
                connection.dirty = true;
                dirty.push(receiver);
            }
        }
        Ok(())
    }

    /// Answers a CONNECT or SUBSCRIBE; anything else ends the connection.
    fn answer(&mut self, number: usize, frame: Frame<'_>, output: &mut Vec<u8>) -> Result<()> {
        match frame.first {
            0x10 => output.extend_from_slice(&[0x20, 2, 0, 0]),
            0x82 => {
                let Some((packet_id, mut filters)) = frame.body.split_at_checked(2) else { bail!("malformed") };
                let mut granted = Vec::new();
                while let Some((filter, [_, rest @ ..])) = string(filters) {
                    self.subscriptions.push((String::from_utf8_lossy(filter).into_owned(), number));
                    granted.push(0);
                    filters = rest;
                }
                self.routes.clear();
                output.extend_from_slice(&[0x90, u8::try_from(2 + granted.len())?]);
                output.extend_from_slice(packet_id);
                output.extend_from_slice(&granted);
            }
            first => bail!("the relay does not support packets that start with 0x{first:02X}"),
        }
        Ok(())
    }

    fn forget(&mut self, number: usize) {
        self.subscriptions.retain(|(_, subscriber)| *subscriber != number);
        self.routes.clear();
    }

    fn matching(&self, topic: &[u8]) -> Vec<usize> {
        let topic = String::from_utf8_lossy(topic);
        let matching = self.subscriptions.iter().filter(|(filter, _)| matches(filter, &topic));
        matching.map(|(_, number)| *number).collect()
    }
}

/// A length-prefixed string, and the rest.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            (_, _) => return false,
        }
    }
    levels.next().is_none()
}

const LISTENER: Token = Token(usize::MAX - 1);
const EVENTS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_according_to_the_standard() {
        for (filter, topic) in
            [("a/b", "a/b"), ("a/+", "a/b"), ("a/#", "a/b/c"), ("a/#", "a"), ("#", "a"), ("+/b", "a/b")]
        {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [("a", "a/b"), ("a/b", "a"), ("a/+", "a"), ("a/+", "a/b/c"), ("+", "a/b")] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
