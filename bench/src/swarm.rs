//! Many nonblocking connections in one thread.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use socket2::{Domain, Socket, Type};

use crate::connection::{Connection, SCRATCH_LEN};
use crate::packet::{Frame, Packet, Protocol};
use crate::transport::{Endpoint, Stream};

/// Connections by number, and their poll.
#[derive(Debug)]
pub(crate) struct Swarm {
    broker: Endpoint,
    protocol: Protocol,
    poll: Poll,
    /// Ends a poll in time: the time limits of polls are whole milliseconds.
    timer: OwnedFd,
    events: Events,
    connections: Vec<Option<Connection>>,
    /// Connections with output to flush.
    dirty: Vec<usize>,
    scratch: Vec<u8>,
    /// Size of the sockets' send buffers in bytes; `None` leaves it to the kernel.
    send_buffer: Option<usize>,
}

impl Swarm {
    /// Connects to `broker`. A received packet longer than `packet_len_max` is an error.
    pub(crate) fn new(
        broker: Endpoint,
        protocol: Protocol,
        packet_len_max: usize,
        send_buffer: Option<usize>,
    ) -> Result<Self> {
        let (poll, timer) = (Poll::new()?, timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?);
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            broker,
            protocol,
            poll,
            timer,
            events: Events::with_capacity(EVENTS),
            connections: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; SCRATCH_LEN.max(packet_len_max * 2)],
            send_buffer,
        })
    }

    /// Opens a connection, to the broker or to this address of it, and returns its number.
    pub(crate) fn open(&mut self, address: Option<SocketAddr>) -> Result<usize> {
        self.broker.address = address.unwrap_or(self.broker.address);
        let number = self.connections.len();
        let mut stream = self.connect(number).with_context(|| format!("cannot connect to {}", self.broker.address))?;
        self.poll.registry().register(stream.socket(), Token(number), Interest::READABLE | Interest::WRITABLE)?;
        self.connections.push(Some(Connection::new(stream)));
        Ok(number)
    }

    /// Closes a connection when its output is written. Its number is not reused.
    pub(crate) fn close(&mut self, number: usize) -> Result<()> {
        self.flush()?;
        if let Some(connection) = self.connections.get_mut(number) {
            *connection = None;
        }
        Ok(())
    }

    /// From now on, the broker may close a connection.
    pub(crate) fn let_end(&mut self, number: usize) {
        if let Some(Some(connection)) = self.connections.get_mut(number) {
            connection.may_end = true;
        }
    }

    /// The number of unsent bytes.
    pub(crate) fn backlog(&self, number: usize) -> usize {
        let connection = self.connections.get(number).and_then(Option::as_ref);
        connection.map_or(0, Connection::backlog)
    }

    /// The output buffer of a connection, which the next [`flush`](Self::flush) writes.
    pub(crate) fn output(&mut self, number: usize) -> Result<&mut Vec<u8>> {
        let slot = self.connections.get_mut(number).and_then(Option::as_mut);
        let connection = slot.with_context(|| format!("connection {number} is closed"))?;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(number);
        }
        Ok(&mut connection.output)
    }

    /// Waits for events and passes every received packet to `on_packet`, with its connection's output.
    pub(crate) fn turn(
        &mut self,
        timeout: Duration,
        mut on_packet: impl FnMut(usize, Packet<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if !timeout.subsec_nanos().is_multiple_of(1_000_000) {
            self.set_timer(timeout)?;
        }
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout))
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        for event in &self.events {
            let Token(number) = event.token();
            let Some(slot) = self.connections.get_mut(number) else { continue };
            let Some(connection) = slot else { continue };
            if event.is_readable() {
                let protocol = self.protocol;
                let on_frame =
                    |frame: Frame<'_>, output: &mut Vec<u8>| on_packet(number, frame.decode(protocol)?, output);
                let read = connection.read_all(&mut self.scratch, on_frame);
                if read.is_err() && connection.may_end {
                    *slot = None;
                    continue;
                }
                read.with_context(|| format!("connection {number}"))?;
            }
            if connection.backlog() > 0 && !connection.dirty {
                connection.dirty = true;
                self.dirty.push(number);
            }
        }
        Ok(())
    }

    fn set_timer(&self, timeout: Duration) -> Result<()> {
        let it_value = Timespec::try_from(timeout)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Writes until the sockets would block; the rest is written when they are writable.
    pub(crate) fn flush(&mut self) -> Result<()> {
        for number in self.dirty.drain(..) {
            let Some(Some(connection)) = self.connections.get_mut(number) else { continue };
            connection.dirty = false;
            connection.flush().with_context(|| format!("connection {number}"))?;
        }
        Ok(())
    }

    fn connect(&self, number: usize) -> Result<Stream> {
        let socket = Socket::new(Domain::for_address(self.broker.address), Type::STREAM, None)?;
        let source = number / CONNECTIONS_PER_SOURCE;
        if source > 0 {
            if !self.broker.address.ip().is_loopback() || !self.broker.address.is_ipv4() {
                bail!("more than {CONNECTIONS_PER_SOURCE} connections need a broker at 127.0.0.1");
            }
            let address = Ipv4Addr::new(127, 0, 0, u8::try_from(source + 1)?);
            socket.bind(&SocketAddr::new(IpAddr::V4(address), 0).into())?;
        }
        if let Some(send_buffer) = self.send_buffer {
            socket.set_send_buffer_size(send_buffer)?;
        }
        // Connecting over loopback blocks for microseconds only, as long as the broker's backlog has room. The bound on
        // connections that wait for their CONNACK ensures that.
        socket.connect_timeout(&self.broker.address.into(), CONNECT_TIMEOUT)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        self.broker.over(TcpStream::from_std(socket.into()))
    }
}

const EVENTS: usize = 1_024;

/// The token of the timer. It belongs to no connection.
const TIMER: Token = Token(usize::MAX);

/// Linux offers 28,232 ports per source address by default.
const CONNECTIONS_PER_SOURCE: usize = 25_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
