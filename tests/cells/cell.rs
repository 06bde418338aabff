//! A cell: its log, and its owner.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oncemq::broker::{LinkPosition, LinkReceiver, LinkSender};
use oncemq::routing::{Announcer, AnnouncerLimits, CellId};
use oncemq::topic::{TopicFilter, TopicName};

use crate::node::key;
use crate::world::Bugs;

/// A message at QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) source: CellId,
    pub(crate) topic: TopicName,
}

/// A Session, by its cell and its number there.
pub(crate) type Session = (CellId, u8);

#[derive(Debug, Clone)]
pub(crate) enum Record {
    /// A message, in the queues of Sessions, in outboxes, and with the position of the link by which it came.
    Accepted {
        message: Message,
        sessions: Vec<u8>,
        outbox: Vec<(CellId, u64)>,
        link: Option<(CellId, LinkPosition)>,
    },
    /// A destination has confirmed all numbers below.
    Confirmed(CellId, u64),
    Subscribed(u8, TopicFilter),
    Unsubscribed(u8, TopicFilter),
    /// Written only on purpose: the position without its message.
    Position(CellId, LinkPosition),
}

/// What a log says.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) filters: BTreeMap<u8, BTreeSet<TopicFilter>>,
    pub(crate) queues: BTreeMap<u8, Vec<Message>>,
    pub(crate) outbox: BTreeMap<CellId, BTreeMap<u64, Message>>,
    /// The last number of each link.
    last: BTreeMap<CellId, u64>,
    pub(crate) positions: BTreeMap<CellId, LinkPosition>,
}

impl State {
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Accepted { message, sessions, outbox, link } => {
                for session in sessions {
                    self.queues.entry(*session).or_default().push(message.clone());
                }
                for (cell, number) in outbox {
                    self.outbox.entry(*cell).or_default().insert(*number, message.clone());
                    self.last.insert(*cell, *number);
                }
                self.positions.extend(*link);
            }
            Record::Confirmed(cell, end) => {
                let outbox = self.outbox.entry(*cell).or_default();
                *outbox = outbox.split_off(end);
            }
            Record::Subscribed(session, filter) => {
                self.filters.entry(*session).or_default().insert(filter.clone());
            }
            Record::Unsubscribed(session, filter) => {
                self.filters.entry(*session).or_default().remove(filter);
            }
            Record::Position(cell, position) => {
                self.positions.insert(*cell, *position);
            }
        }
    }

    pub(crate) fn next_number(&self, to: CellId) -> u64 {
        self.last.get(&to).copied().unwrap_or(0) + 1
    }

    /// The Sessions that want messages to this topic.
    pub(crate) fn receivers(&self, topic: &TopicName) -> Vec<u8> {
        let wants = |filters: &BTreeSet<TopicFilter>| filters.iter().any(|filter| filter.matches(topic));
        self.filters.iter().filter(|(_, filters)| wants(filters)).map(|(session, _)| *session).collect()
    }
}

/// What follows when a record is stable.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Puback(u64),
    /// SUBACK, when all nodes know this change.
    Suback(Session, TopicFilter, u64),
    Outbox(CellId, u64),
    Link(CellId, u64),
}

/// The owner of a cell, or a node that believes that it is one.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) epoch: u64,
    /// With what is not stable yet.
    pub(crate) state: State,
    pub(crate) pending: VecDeque<(Record, Vec<Effect>)>,
    pub(crate) announcer: Announcer,
    pub(crate) senders: BTreeMap<CellId, LinkSender>,
    pub(crate) receivers: BTreeMap<CellId, LinkReceiver>,
    /// SUBACKs that wait for nodes.
    pub(crate) subacks: Vec<(Session, TopicFilter, u64)>,
}

impl Owner {
    /// `epoch_of`: what the node knows of other cells.
    pub(crate) fn new(cell: CellId, epoch: u64, log: &State, epoch_of: impl Fn(CellId) -> u64, bugs: Bugs) -> Self {
        let mut state = log.clone();
        if bugs.numbers_anew {
            let last = |(cell, outbox): (&CellId, &BTreeMap<u64, Message>)| Some((*cell, *outbox.last_key_value()?.0));
            state.last = state.outbox.iter().filter_map(last).collect();
        }
        let mut announcer = Announcer::new(cell, epoch, key(), limits(epoch));
        state.filters.values().flatten().for_each(|filter| {
            announcer.subscribe(filter);
        });
        let mut senders = BTreeMap::new();
        for to in state.last.keys() {
            let end = state.next_number(*to);
            let first =
                state.outbox.get(to).and_then(|outbox| outbox.first_key_value()).map_or(end, |(first, _)| *first);
            let mut sender = LinkSender::new(1, first..end);
            sender.epoch(if bugs.any_epoch { 1 } else { epoch_of(*to) });
            senders.insert(*to, sender);
        }
        let (pending, receivers, subacks) = (VecDeque::new(), BTreeMap::new(), Vec::new());
        Self { epoch, state, pending, announcer, senders, receivers, subacks }
    }

    pub(crate) fn append(&mut self, record: Record, effects: Vec<Effect>) {
        self.state.apply(&record);
        self.pending.push_back((record, effects));
    }

    pub(crate) fn receiver(&mut self, from: CellId) -> &mut LinkReceiver {
        let (epoch, position) = (self.epoch, self.state.positions.get(&from).copied());
        self.receivers.entry(from).or_insert_with(|| LinkReceiver::new(epoch, position))
    }
}

/// Every third owner tells all interest in parts, keeps few changes, and soon wants everything.
fn limits(epoch: u64) -> AnnouncerLimits {
    let small =
        AnnouncerLimits { announcement_bytes_max: 8, changes_max: 2, changes_bytes_max: 1_000, table_bytes_max: 500 };
    if epoch.is_multiple_of(3) { small } else { AnnouncerLimits::default() }
}
