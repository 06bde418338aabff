//! A client that follows the standard: its Session state.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use oncemq::codec::Qos;
use oncemq::topic::{Filter, TopicName};

use crate::mix::Mix;
use crate::profile::{Lifetime, Profile};
use crate::rng::Rng;

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) profile: Profile,
    pub(crate) connection: Option<usize>,
    /// CONNACK came.
    pub(crate) connected: bool,
    /// It has asked for Clean Start, and does so until it is answered.
    pub(crate) clean_asked: bool,
    /// In the order they were sent first.
    pub(crate) outgoing: VecDeque<Outgoing>,
    /// Not sent yet, by their numbers in the ledger.
    pub(crate) waiting: VecDeque<usize>,
    /// QoS 2 identifiers that wait for PUBREL, and the payload that came with them.
    pub(crate) received: BTreeMap<u16, Bytes>,
    /// SUBSCRIBE and UNSUBSCRIBE that wait for their answer: the subscription.
    pub(crate) requests: BTreeMap<u16, usize>,
    /// All that it ever asked for.
    pub(crate) subscriptions: Vec<Asked>,
    /// Of the server, for this connection.
    pub(crate) window: usize,
    pub(crate) alias_maximum: u16,
    pub(crate) aliases: BTreeMap<TopicName, u16>,
    pub(crate) last_id: u16,
    pub(crate) last_sent: u64,
    /// In milliseconds; 0: none.
    pub(crate) keep_alive: u64,
    /// When its last CONNECT came or will come, or was or will be judged.
    pub(crate) last_connect_at: u64,
    /// A CONNECT came to nothing since the last CONNACK.
    pub(crate) unanswered: bool,
    /// The Session may be a new one without its knowing: CONNACK said so to a connection that was lost before.
    pub(crate) doubtful: bool,
}

/// A message of its own in flight.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: u16,
    pub(crate) message: usize,
    pub(crate) qos: Qos,
    /// PUBREC came.
    pub(crate) released: bool,
}

/// A subscription that it asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) filter: Filter,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) asked_at: u64,
    /// SUBACK came.
    pub(crate) since: Option<u64>,
    /// It asked for its end, or for another in its place.
    pub(crate) ending: bool,
    /// It can't match any more.
    pub(crate) until: Option<u64>,
    /// It was asked for in a Session that may be gone.
    pub(crate) doubtful: bool,
}

impl Client {
    pub(crate) fn new(number: usize, profile: Profile, mix: &Mix, rng: &mut Rng) -> Self {
        let mut client = Self {
            number,
            connection: None,
            connected: false,
            clean_asked: false,
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
            doubtful: false,
            profile,
        };
        for filter in client.profile.filters.clone() {
            let qos = if number == 0 || mix.shares { Qos::ExactlyOnce } else { any_qos(rng) };
            client.ask(filter, qos, rng.percent(20));
        }
        client
    }

    /// Wants a subscription, in place of the one with the same filter that it had.
    pub(crate) fn ask(&mut self, filter: &str, qos: Qos, no_local: bool) {
        let filter = Filter::try_from(filter).unwrap();
        let no_local = no_local && filter.share.is_none() && self.profile.is_v5();
        for before in &mut self.subscriptions {
            before.ending |= before.filter == filter;
        }
        let (asked_at, since, until) = (u64::MAX, None, None);
        self.subscriptions.push(Asked {
            filter,
            qos,
            no_local,
            asked_at,
            since,
            ending: false,
            until,
            doubtful: false,
        });
    }

    /// The connection is gone: what belonged to it alone goes with it.
    pub(crate) fn disconnected(&mut self) {
        self.unanswered |= self.connection.is_some() && !self.connected;
        self.connection = None;
        self.connected = false;
        self.requests.clear();
        self.aliases.clear();
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected && self.connection.is_some()
    }

    pub(crate) fn is_steadfast(&self) -> bool {
        self.profile.lifetime == Lifetime::Steadfast
    }

    /// Whether a crash leaves its Session, which may be another one.
    pub(crate) fn outlives_crashes(&self) -> bool {
        matches!(self.profile.lifetime, Lifetime::Steadfast | Lifetime::Expiring(_))
    }

    /// When something may happen to a CONNECT of its that would happen at `at`.
    ///
    /// The CONNECTs of a client overtake each other, when it opens a connection and another behind it. With a Session that goes on whatever
    /// they say that does no harm; with another a lost CONNECT could undo what a later one did.
    pub(crate) fn in_turn(&mut self, at: u64) -> u64 {
        if self.is_steadfast() && !self.profile.wills {
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

impl Asked {
    /// Whether it was there at that time and ever since: SUBACK had come, and nothing was asked since.
    pub(crate) fn is_settled(&self, at: u64) -> bool {
        self.since.is_some_and(|since| since < at) && self.until.is_none() && !self.ending && !self.doubtful
    }
}

pub(crate) fn any_qos(rng: &mut Rng) -> Qos {
    rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

/// Few, so that they are used again soon.
const PACKET_IDS: u16 = 40;
