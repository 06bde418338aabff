//! The Session state of a client that follows the standard.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use oncemq::codec::Qos;
use oncemq::topic::{Filter, TopicName};

use crate::consumers::Consumer;
use crate::mix::Mix;
use crate::profile::{Lifetime, Profile};
use crate::reader::Reader;
use crate::rng::Rng;

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) profile: Profile,
    pub(crate) connection: Option<usize>,
    /// CONNACK was received.
    pub(crate) connected: bool,
    /// It requested Clean Start, and repeats that until CONNACK.
    pub(crate) clean_requested: bool,
    /// Messages in flight, in the order of their first transmission.
    pub(crate) outgoing: VecDeque<Outgoing>,
    /// Numbers of messages that are not sent yet.
    pub(crate) waiting: VecDeque<usize>,
    /// QoS 2 identifiers that wait for PUBREL, with their payload.
    pub(crate) received: BTreeMap<u16, Bytes>,
    /// Unanswered SUBSCRIBE and UNSUBSCRIBE packets, with their subscription.
    pub(crate) requests: BTreeMap<u16, usize>,
    /// All subscriptions that it ever requested.
    pub(crate) subscriptions: Vec<RequestedSubscription>,
    /// The server's Receive Maximum for this connection.
    pub(crate) window: usize,
    pub(crate) alias_maximum: u16,
    pub(crate) aliases: BTreeMap<TopicName, u16>,
    pub(crate) last_id: u16,
    pub(crate) last_sent: u64,
    /// Keep Alive in milliseconds; 0 means none.
    pub(crate) keep_alive: u64,
    /// The latest time at which one of its CONNECTs arrives or is decided.
    pub(crate) last_connect_at: u64,
    /// A CONNECT since the last CONNACK was not answered.
    pub(crate) unanswered: bool,
    /// The Session may be new without the client's knowledge: CONNACK was sent to a lost connection.
    pub(crate) uncertain: bool,
    /// Its subscription to a stream.
    pub(crate) reader: Option<Reader>,
    /// Its subscription with a place that the broker keeps.
    pub(crate) consumer: Option<Consumer>,
}

/// A message that the client publishes, in flight.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: u16,
    pub(crate) message: usize,
    pub(crate) qos: Qos,
    /// PUBREC was received.
    pub(crate) released: bool,
}

/// A requested subscription.
#[derive(Debug, Clone)]
pub(crate) struct RequestedSubscription {
    pub(crate) filter: Filter,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) requested_at: u64,
    /// When SUBACK was received.
    pub(crate) since: Option<u64>,
    /// Its end or its replacement was requested.
    pub(crate) ending: bool,
    /// The time after which it can't match.
    pub(crate) until: Option<u64>,
    /// It was requested in a Session that may be discarded.
    pub(crate) uncertain: bool,
}

impl Client {
    pub(crate) fn new(number: usize, profile: Profile, mix: &Mix, rng: &mut Rng) -> Self {
        let mut client = Self {
            number,
            connection: None,
            connected: false,
            clean_requested: false,
            outgoing: VecDeque::new(),
            waiting: VecDeque::new(),
            received: BTreeMap::new(),
            requests: BTreeMap::new(),
            subscriptions: Vec::new(),
            window: 0,
            alias_maximum: 0,
            aliases: BTreeMap::new(),
            last_id: 0,
            last_sent: 0,
            keep_alive: 0,
            last_connect_at: 0,
            unanswered: false,
            uncertain: false,
            reader: None,
            consumer: None,
            profile,
        };
        for filter in client.profile.filters.clone() {
            let qos = if number == 0 || mix.shares { Qos::ExactlyOnce } else { any_qos(rng) };
            client.request(filter, qos, rng.percent(20));
        }
        client
    }

    /// Requests a subscription, which replaces the one with the same filter.
    pub(crate) fn request(&mut self, filter: &str, qos: Qos, no_local: bool) {
        let filter = Filter::try_from(filter).unwrap();
        let no_local = no_local && filter.share.is_none() && self.profile.is_v5();
        for before in &mut self.subscriptions {
            before.ending |= before.filter == filter;
        }
        let (requested_at, since, until) = (u64::MAX, None, None);
        self.subscriptions.push(RequestedSubscription {
            filter,
            qos,
            no_local,
            requested_at,
            since,
            ending: false,
            until,
            uncertain: false,
        });
    }

    /// Removes state that ends with the connection.
    pub(crate) fn disconnected(&mut self) {
        self.unanswered |= self.connection.is_some() && !self.connected;
        self.connection = None;
        self.connected = false;
        self.requests.clear();
        self.aliases.clear();
        if let Some(reader) = &mut self.reader {
            reader.disconnected();
        }
        if let Some(consumer) = &mut self.consumer {
            consumer.disconnected();
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected && self.connection.is_some()
    }

    pub(crate) fn has_one_session(&self) -> bool {
        self.profile.lifetime == Lifetime::WholeRun
    }

    /// Whether its Session survives a crash, possibly as another one.
    pub(crate) fn survives_crashes(&self) -> bool {
        matches!(self.profile.lifetime, Lifetime::WholeRun | Lifetime::Expiring(_))
    }

    /// Delays the event of a CONNECT at `at` until all earlier CONNECTs of the client are decided.
    ///
    /// CONNECTs of a client can overtake each other on different connections. For a Session that always continues, the
    /// order doesn't matter; otherwise, a lost CONNECT could undo the effect of a later one.
    pub(crate) fn in_turn(&mut self, at: u64) -> u64 {
        if self.has_one_session() && !self.profile.wills {
            return at;
        }
        self.last_connect_at = self.last_connect_at.max(at);
        self.last_connect_at
    }

    pub(crate) fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % PACKET_IDS + 1;
            let id = self.last_id;
            if self.outgoing.iter().all(|outgoing| outgoing.id != id) && !self.requests.contains_key(&id) {
                return id;
            }
        }
    }
}

impl RequestedSubscription {
    /// Whether the subscription existed at that time and since: SUBACK was received, and no request was sent.
    pub(crate) fn is_settled(&self, at: u64) -> bool {
        self.since.is_some_and(|since| since < at) && self.until.is_none() && !self.ending && !self.uncertain
    }
}

pub(crate) fn any_qos(rng: &mut Rng) -> Qos {
    rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

/// Few identifiers, so that they are reused soon.
const PACKET_IDS: u16 = 40;
