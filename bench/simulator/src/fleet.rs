//! The clients and what they must get.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context, Result};
use oncemq::broker::ConnectionId;
use oncemq::codec::{Connect, ProtocolVersion, Qos};
use oncemq::routing::CellId;
use smallvec::SmallVec;

use crate::rng::mix;
use crate::setup::{Placement, Setup};

/// All clients.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) clients: Vec<Client>,
    pub(crate) qos: Qos,
    shares: u32,
    /// The Packet Identifiers of messages that were received at QoS 2 and not released.
    pub(crate) unreleased: HashMap<u32, SmallVec<[u16; 4]>>,
    /// What was published to each share, and what its members got.
    pub(crate) shares_sent: Vec<Sum>,
    pub(crate) shares_received: Vec<Sum>,
    /// Clients that are not connected.
    pub(crate) away: u32,
}

/// A client, which publishes to one topic and subscribes to another one.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) cell: u8,
    /// The node that it is connected to.
    pub(crate) front: u8,
    pub(crate) state: State,
    pub(crate) is_subscribed: bool,
    pub(crate) has_session: bool,
    /// Makes its identifier one of the cell.
    suffix: u32,
    pub(crate) connection: ConnectionId,
    /// Counts its connections.
    pub(crate) attempt: u32,
    /// When it began to connect or to subscribe.
    pub(crate) since: u64,
    /// Messages that it has sent, that are at the broker by PUBREC, and that are acknowledged.
    pub(crate) sent: u32,
    pub(crate) received: u32,
    pub(crate) acknowledged: u32,
    /// Those before this one were sent again.
    pub(crate) sent_again: u32,
    /// Messages that are due and have no room in the window, by when they were due.
    #[expect(clippy::box_collection, reason = "few of a million have it")]
    pub(crate) due: Option<Box<VecDeque<u64>>>,
    /// When the messages in flight were due.
    #[expect(clippy::box_collection, reason = "few of a million have it")]
    pub(crate) in_flight: Option<Box<VecDeque<u64>>>,
    /// The number of the next message that it must get.
    pub(crate) expected: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Away,
    Connecting,
    Connected,
}

/// A number of messages, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    checksum: u64,
}

impl Sum {
    pub(crate) const fn add(&mut self, publisher: u32, number: u32) {
        self.count += 1;
        self.checksum = self.checksum.wrapping_add(mix((publisher as u64) << 32 | number as u64));
    }
}

/// Whom a client publishes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Client(u32),
    Share(u32),
}

impl Fleet {
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        let cells = setup.cells;
        let nodes = u16::try_from(setup.nodes)?;
        let publisher_cell = 0;
        let wanted = |client: u32| -> Option<u16> {
            let is_publisher = client < setup.sessions / 2;
            match setup.placement {
                Placement::Spread => None,
                Placement::OtherCell if !is_publisher => Some(nodes),
                Placement::OtherNode if !is_publisher => Some(1),
                Placement::SameCell | Placement::OtherCell | Placement::OtherNode => Some(publisher_cell),
            }
        };
        let client = |number: u32| {
            let cell = |suffix: u32| CellId::of_client(&client_id(number, suffix), cells).0;
            let suffix = match wanted(number) {
                None => 0,
                Some(wanted) => (0..SUFFIXES_MAX)
                    .find(|suffix| u16::from(cell(*suffix)) == wanted)
                    .context("the placement needs more cells or nodes")?,
            };
            Ok::<_, anyhow::Error>(Client {
                cell: cell(suffix),
                front: 0,
                state: State::Away,
                is_subscribed: false,
                has_session: false,
                suffix,
                connection: ConnectionId { slot: 0, generation: 0 },
                attempt: 0,
                since: 0,
                sent: 0,
                received: 0,
                acknowledged: 0,
                sent_again: 0,
                due: None,
                in_flight: None,
                expected: 0,
            })
        };
        Ok(Self {
            clients: (0..setup.sessions).map(client).collect::<Result<_>>()?,
            qos: match setup.qos {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
            shares: setup.shares,
            unreleased: HashMap::new(),
            shares_sent: vec![Sum::default(); setup.shares as usize],
            shares_received: vec![Sum::default(); setup.shares as usize],
            away: setup.sessions,
        })
    }

    /// CONNECT of a client, whose Session outlives its connections.
    pub(crate) fn connect(&self, client: u32) -> Connect {
        let suffix = self.clients[client as usize].suffix;
        let mut connect = Connect::new(ProtocolVersion::V5, client_id(client, suffix), false);
        connect.properties.session_expiry_interval = u32::MAX;
        connect
    }

    /// The filters of a client.
    pub(crate) fn filters(&self, client: u32) -> Vec<String> {
        let share = (client < self.shares * MEMBERS).then(|| format!("$share/g/s/{}", client / MEMBERS));
        std::iter::once(topic_of(Target::Client(client))).chain(share).collect()
    }

    /// Whom a client publishes to. Each client is the target of one other.
    pub(crate) fn target(&self, client: u32) -> Target {
        if self.shares > 0 && client.is_multiple_of(OF_SHARES) {
            return Target::Share(client / OF_SHARES % self.shares);
        }
        let sessions = self.clients.len() as u32;
        Target::Client((client + sessions / 2) % sessions)
    }

    /// Who publishes to a client.
    pub(crate) fn source(&self, client: u32) -> u32 {
        let sessions = self.clients.len() as u32;
        (client + sessions - sessions / 2) % sessions
    }

    /// Whether a message is on its way in the eyes of who publishes and gets it.
    pub(crate) fn in_flight(&self, client: u32) -> u32 {
        let publisher = &self.clients[client as usize];
        let arrived = match self.target(client) {
            Target::Client(target) => self.clients[target as usize].expected,
            Target::Share(_) => publisher.acknowledged,
        };
        let acknowledged = if self.qos == Qos::AtMostOnce { arrived } else { publisher.acknowledged };
        publisher.sent.saturating_sub(arrived.min(acknowledged))
    }

    /// Messages that have not arrived, and that have arrived too often.
    pub(crate) fn balance(&self) -> (u64, u64) {
        let (mut lost, mut doubled) = (0, 0);
        for (number, publisher) in (0..).zip(&self.clients) {
            if let Target::Client(target) = self.target(number) {
                let expected = self.clients[target as usize].expected;
                lost += u64::from(publisher.sent.saturating_sub(expected));
                doubled += u64::from(expected.saturating_sub(publisher.sent));
            }
        }
        for (sent, received) in self.shares_sent.iter().zip(&self.shares_received) {
            lost += sent.count.saturating_sub(received.count);
            doubled += received.count.saturating_sub(sent.count);
            lost += u64::from(sent.count == received.count && sent != received);
        }
        (lost, doubled)
    }
}

impl Client {
    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected)
    }
}

pub(crate) fn topic_of(target: Target) -> String {
    match target {
        Target::Client(client) => format!("d/{client}/in"),
        Target::Share(share) => format!("s/{share}"),
    }
}

fn client_id(client: u32, suffix: u32) -> String {
    if suffix == 0 { format!("client-{client}") } else { format!("client-{client}-{suffix}") }
}

/// The members of each share.
const MEMBERS: u32 = 4;
/// The number of publishers for each one that publishes to a share.
const OF_SHARES: u32 = 20;
const SUFFIXES_MAX: u32 = 100_000;
