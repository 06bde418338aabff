//! The environment of a case: unique names, connections, and the broker process if the suite started it.

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

/// The environment of a case in one version.
#[derive(Debug)]
pub struct Context {
    version: Version,
    address: SocketAddr,
    websocket: Option<SocketAddr>,
    /// Letters and digits that are unique to this case and run.
    unique: String,
    state: Rc<CaseState>,
    broker: Option<Broker>,
    announced: Connack,
    client_ids: RefCell<Vec<String>>,
    clients: u32,
}

/// The broker under test.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its TCP address.
    pub address: SocketAddr,
    /// Its WebSocket address.
    pub websocket: Option<SocketAddr>,
    /// Its CONNACK to a 5.0 client; empty if it doesn't support 5.0.
    pub announced: Connack,
}

impl Context {
    /// The environment of a case that starts now.
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

    /// A Topic Name or Topic Filter below a prefix that only this case uses, so that other cases don't receive its
    /// messages, unless they subscribe to `#`.
    pub fn topic(&self, rest: &str) -> String {
        format!("conformance/{}/{rest}", self.unique)
    }

    /// A Client Identifier that only this case uses, derived from the label; at most 23 letters and digits.
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

    /// CONNECT with the Client Identifier of this label and Clean Start (3.1.1: Clean Session), to be modified.
    pub fn connecting(&self, label: &str) -> Connect {
        Connect::new(self.version).client_id(self.client_id(label))
    }

    /// Opens a connection without sending CONNECT.
    pub fn open(&mut self) -> Result<Client, Failure> {
        self.clients += 1;
        let name = format!("[{}]", self.clients);
        let link = Link::open(self.address, &name, self.version, Rc::clone(&self.state))?;
        Ok(Client::new(link, self.topic(&format!("marker/{}", self.clients))))
    }

    /// Connects with this CONNECT, which must succeed.
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

    /// The broker's CONNACK to a plain 5.0 client; empty if it doesn't support 5.0.
    pub fn announced(&self) -> &Connack {
        &self.announced
    }

    /// The broker process, for cases that need `Feature::Restart`.
    pub fn broker(&mut self) -> Result<&mut Broker, Failure> {
        self.broker.as_mut().ok_or_else(|| Failure::skipped("the suite has not started the broker"))
    }

    /// The smallest Maximum Packet Size that fits the broker's CONNACK.
    pub fn smallest_maximum_packet_size(&self) -> u32 {
        // The fixed header, the flags and the Reason Code.
        const AROUND_PROPERTIES: u32 = 5;
        crate::wire::bytes::length(&self.announced.properties.encode()) + AROUND_PROPERTIES
    }

    /// The broker's TCP address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker's WebSocket address, for cases that need `Feature::WebSocket`.
    pub fn websocket(&self) -> Result<SocketAddr, Failure> {
        self.websocket.ok_or_else(|| Failure::skipped("no address for WebSockets was given"))
    }

    /// Sleeps, for cases about time.
    pub fn sleep(&self, time: Duration) {
        self.state.note("", &format!("{:.1} s pass", time.as_secs_f64()));
        thread::sleep(time);
    }

    /// The trace and the deadline.
    pub fn state(&self) -> &Rc<CaseState> {
        &self.state
    }

    /// Removes Sessions and retained messages of the case. Failures are not reported here: other cases test this.
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
