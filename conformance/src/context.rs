//! What a case gets: names of its own, connections, and the broker's process if the suite has started it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use crate::broker::Broker;
use crate::client::Client;
use crate::failure::{Failure, Outcome, check};
use crate::link::Link;
use crate::trace::CaseState;
use crate::wire::{Connack, Connect, Disconnect, Publish, Version};

/// The surroundings of a case in one version.
#[derive(Debug)]
pub struct Context {
    version: Version,
    address: SocketAddr,
    websocket: Option<SocketAddr>,
    /// Letters and digits that no other case of this or another run has.
    unique: String,
    state: Rc<CaseState>,
    broker: Option<Broker>,
    announced: Connack,
    client_ids: RefCell<Vec<String>>,
    clients: u32,
}

/// Where a case runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The broker.
    pub address: SocketAddr,
    /// Where it listens for WebSockets.
    pub websocket: Option<SocketAddr>,
    /// What it announces in CONNACK to clients of 5.0; empty if it doesn't know 5.0.
    pub announced: Connack,
}

impl Context {
    /// Of a case that starts now.
    pub(crate) fn new(version: Version, place: &Place, unique: String, time: Duration, broker: Option<Broker>) -> Self {
        Self {
            version,
            address: broker.as_ref().map_or(place.address, Broker::address),
            websocket: broker.as_ref().map_or(place.websocket, Broker::websocket),
            unique,
            state: Rc::new(CaseState::new(time)),
            broker,
            announced: place.announced.clone(),
            client_ids: RefCell::default(),
            clients: 0,
        }
    }

    /// The version that the case is run for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A Topic Name or Topic Filter under a prefix that only this case uses. What is published to it is seen by no
    /// other case, unless that subscribes to `#`.
    pub fn topic(&self, rest: &str) -> String {
        format!("conformance/{}/{rest}", self.unique)
    }

    /// A Client Identifier that only this case uses: the same for the same label, at most 23 letters and digits.
    pub fn client_id(&self, label: &str) -> String {
        const LENGTH_MAX: usize = 23;
        let letters = label.chars().filter(char::is_ascii_alphanumeric);
        let client_id: String = self.unique.chars().chain(letters).take(LENGTH_MAX).collect();
        let mut known = self.client_ids.borrow_mut();
        if !known.contains(&client_id) {
            known.push(client_id.clone());
        }
        client_id
    }

    /// CONNECT with the Client Identifier of this label and Clean Start (3.1.1: Clean Session), to be changed.
    pub fn connecting(&self, label: &str) -> Connect {
        Connect::new(self.version).client_id(self.client_id(label))
    }

    /// A connection on which nothing was sent yet.
    pub fn open(&mut self) -> Result<Client, Failure> {
        self.clients += 1;
        let name = format!("[{}]", self.clients);
        let link = Link::open(self.address, &name, self.version, Rc::clone(&self.state))?;
        Ok(Client::new(link, self.topic(&format!("marker/{}", self.clients))))
    }

    /// A connection with the answer to this CONNECT, which has to be Success.
    pub fn connect(&mut self, connect: Connect) -> Result<Client, Failure> {
        let mut client = self.open()?;
        client.send_connect(&connect)?;
        let connack = client.expect_connack()?;
        check(connack.reason == 0, "the connection is accepted", format!("{connack:?}"))?;
        Ok(client)
    }

    /// A connected client with the Client Identifier of this label and Clean Start (3.1.1: Clean Session).
    pub fn client(&mut self, label: &str) -> Result<Client, Failure> {
        self.connect(self.connecting(label))
    }

    /// What the broker announced in CONNACK to a plain client of 5.0; empty if it doesn't know 5.0.
    pub fn announced(&self) -> &Connack {
        &self.announced
    }

    /// The broker's process: only in cases that need `Feature::Restart`.
    pub fn broker(&mut self) -> Result<&mut Broker, Failure> {
        self.broker.as_mut().ok_or_else(|| Failure::skipped("the suite has not started the broker"))
    }

    /// A Maximum Packet Size that leaves just enough room for the CONNACK that the broker announced.
    pub fn smallest_maximum_packet_size(&self) -> u32 {
        // The fixed header, the flags and the Reason Code.
        const AROUND_PROPERTIES: u32 = 5;
        crate::wire::bytes::length(&self.announced.properties.encode()) + AROUND_PROPERTIES
    }

    /// Where the broker listens for TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the broker listens for WebSockets: only in cases that need `Feature::WebSocket`.
    pub fn websocket(&self) -> Result<SocketAddr, Failure> {
        self.websocket.ok_or_else(|| Failure::skipped("no address for WebSockets was given"))
    }

    /// Waits, for what is about time.
    pub fn sleep(&self, time: Duration) {
        self.state.note("", &format!("{:.1} s pass", time.as_secs_f64()));
        thread::sleep(time);
    }

    /// The trace and the deadline.
    pub fn state(&self) -> &Rc<CaseState> {
        &self.state
    }

    /// Removes Sessions and retained messages that the case has left. Whether that works is another case's matter.
    pub(crate) fn clean_up(&mut self) -> Outcome {
        let retained = self.state.retained.take();
        let persistent = self.state.persistent.get();
        if retained.is_empty() && !persistent {
            return Ok(());
        }
        self.state.extend(Duration::from_secs(2));
        if persistent {
            for client_id in self.client_ids.take() {
                let client = self.connect(Connect::new(self.version).client_id(client_id))?;
                client.disconnect_with(Disconnect::new())?;
            }
        }
        let mut client = self.client("cleanup")?;
        for topic in retained {
            client.publish(Publish::new(topic, "").retain())?;
        }
        client.disconnect()
    }
}
