//! Running traces: what the API shows live of packets and decisions.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc;

use crate::broker::{ClientLabel, ClientPattern};
use crate::timestamp::Timestamp;
use crate::topic::{Filter, TopicFilter, TopicName};

/// What a trace shows: that to which each of the given criteria applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceFilter {
    /// The Client Identifier.
    pub client_id: Option<ClientPattern>,
    /// The topic of a message, or a Topic Filter that has a topic in common. What has no topic is not shown.
    pub topic: Option<TopicFilter>,
    /// The address of the client, without its port.
    pub address: Option<IpAddr>,
}

/// A packet, or a decision about a client. Unknown is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceEntry {
    /// When.
    pub at: Timestamp,
    /// The client.
    pub client: ClientLabel,
    /// `received` or `sent` for a packet; otherwise what happened, such as `connected` or `denied`.
    pub event: &'static str,
    /// The name of the packet.
    pub packet: Option<&'static str>,
    /// The length of the packet; of the payload for a message that was published.
    pub bytes: Option<usize>,
    /// Packet Identifier.
    pub packet_id: Option<u16>,
    /// Topic Name or Topic Filter.
    pub topic: Option<String>,
    /// QoS.
    pub qos: Option<u8>,
    /// RETAIN.
    pub retain: Option<bool>,
    /// DUP.
    pub dup: Option<bool>,
    /// Reason Code.
    pub reason_code: Option<u8>,
    /// Why.
    pub reason: Option<String>,
    /// The access rule or the limit.
    pub rule: Option<String>,
    /// The number of Sessions that a message was sent to or queued for.
    pub receivers: Option<usize>,
    /// The identity of a message.
    pub message_id: Option<String>,
    /// Further fields of a packet, as words.
    pub details: Option<String>,
}

/// What a trace has for its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceItem {
    /// An entry.
    Entry(Arc<TraceEntry>),
    /// So many entries were left out here, because there were too many within a second, or because the reader was too slow.
    LeftOut(u64),
}

/// A running trace: all shards add entries, one reader takes them.
#[derive(Debug)]
pub(in crate::server) struct Trace {
    pub(super) filter: TraceFilter,
    queue: Mutex<Queue>,
}

/// At most [`ENTRIES_PER_SECOND`] entries are added in a second, and at most as many, and [`BYTES_MAX`] bytes, wait for the reader.
#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<TraceItem>,
    bytes: usize,
    left_out: u64,
    second: u64,
    used: usize,
    reader: Option<Waker>,
}

/// The traces that run from now on, for a shard.
#[derive(Debug)]
pub(in crate::server) struct TraceChange {
    pub(in crate::server) running: Arc<[Arc<Trace>]>,
    /// Dropped when the shard knows them.
    pub(in crate::server) known: mpsc::Sender<()>,
}

impl TraceFilter {
    pub(super) fn wants_client(&self, client: &ClientLabel) -> bool {
        let is_named =
            |pattern: &ClientPattern| client.client_id.as_ref().is_some_and(|id| pattern.matches(id.as_str()));
        let is_at = |address: IpAddr| client.address.is_some_and(|at| at.ip().to_canonical() == address);
        self.client_id.as_ref().is_none_or(is_named) && self.address.is_none_or(is_at)
    }

    pub(super) fn wants_topic(&self, topic: Option<&TopicName>) -> bool {
        self.topic.as_ref().is_none_or(|filter| topic.is_some_and(|topic| filter.matches(topic)))
    }

    pub(super) fn wants_filters<'a>(&self, mut filters: impl Iterator<Item = &'a Filter>) -> bool {
        let Some(wanted) = &self.topic else { return true };
        filters.any(|filter| overlap(wanted, &filter.topic_filter))
    }

    /// Like the above, for the text of a Topic Name or Topic Filter.
    pub(super) fn wants_text(&self, text: Option<&str>) -> bool {
        let parse = |text| Filter::try_from(text).ok();
        self.topic.is_none() || text.and_then(parse).is_some_and(|filter| self.wants_filters([&filter].into_iter()))
    }
}

/// Whether there is a topic that both match.
fn overlap(one: &TopicFilter, other: &TopicFilter) -> bool {
    let (mut ones, mut others) = (one.levels(), other.levels());
    let is_wild = |level: Option<&str>| matches!(level, Some("+" | "#"));
    let mut is_first = true;
    loop {
        let (a, b) = (ones.next(), others.next());
        let is_hidden = |level: Option<&str>| is_first && level.is_some_and(|level| level.starts_with('$'));
        match (a, b) {
            // [MQTT-4.7.2-1]
            _ if (is_wild(a) && is_hidden(b)) || (is_wild(b) && is_hidden(a)) => return false,
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            (Some(_) | None, Some(_)) | (Some(_), None) => return false,
        }
        is_first = false;
    }
}

impl TraceItem {
    fn bytes(&self) -> usize {
        match self {
            Self::Entry(entry) => {
                let texts = [&entry.topic, &entry.reason, &entry.rule, &entry.details];
                let id = entry.client.client_id.as_ref().map_or(0, |id| id.as_str().len());
                size_of::<TraceEntry>() + id + texts.into_iter().flatten().map(String::len).sum::<usize>()
            }
            Self::LeftOut(_) => size_of::<Self>(),
        }
    }
}

impl Trace {
    pub(in crate::server) fn new(filter: TraceFilter) -> Self {
        Self { filter, queue: Mutex::default() }
    }

    /// The pattern of Client Identifiers, if there is one.
    pub(in crate::server) const fn client_id(&self) -> Option<&ClientPattern> {
        self.filter.client_id.as_ref()
    }

    /// Whether an entry may be added; if not, it is counted. Asked before an entry is made, so that a flood costs little.
    pub(super) fn admits(&self, now: Timestamp) -> bool {
        let mut queue = self.lock();
        let second = now.0 / 1_000;
        // A shard whose turn began earlier does not begin the second before again.
        if second > queue.second {
            (queue.second, queue.used) = (second, 0);
        }
        if queue.used >= ENTRIES_PER_SECOND || queue.items.len() >= ENTRIES_PER_SECOND || queue.bytes >= BYTES_MAX {
            queue.left_out += 1;
            return false;
        }
        queue.used += 1;
        true
    }

    /// Adds an entry that was admitted.
    pub(super) fn add(&self, entry: Arc<TraceEntry>) {
        let mut queue = self.lock();
        let left_out = std::mem::take(&mut queue.left_out);
        if left_out > 0 {
            queue.items.push_back(TraceItem::LeftOut(left_out));
        }
        let item = TraceItem::Entry(entry);
        queue.bytes += item.bytes();
        queue.items.push_back(item);
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }

    /// Takes what there is, and waits if there is nothing.
    pub(in crate::server) fn poll_items(&self, context: &Context<'_>) -> Poll<VecDeque<TraceItem>> {
        let mut queue = self.lock();
        if queue.items.is_empty() {
            queue.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        queue.bytes = 0;
        Poll::Ready(std::mem::take(&mut queue.items))
    }

    /// Takes the number of entries that were left out after all that wait.
    pub(in crate::server) fn take_left_out(&self) -> u64 {
        let mut queue = self.lock();
        if queue.items.is_empty() { std::mem::take(&mut queue.left_out) } else { 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than anyone reads, and little work for the shards.
const ENTRIES_PER_SECOND: usize = 1_000;
/// Of the entries that wait for the reader of a trace.
const BYTES_MAX: usize = 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::codec::ClientId;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text.to_owned().into()).unwrap()
    }

    fn drain(trace: &Trace) -> Vec<TraceItem> {
        match trace.poll_items(&Context::from_waker(Waker::noop())) {
            Poll::Ready(items) => items.into(),
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn filters_overlap_if_a_topic_matches_both() {
        for (one, other, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "+/b", true),
            ("a/+", "+/b/c", false),
            ("a/#", "a", true),
            ("a/#", "b/#", false),
            ("#", "a/b/c", true),
            ("#", "$SYS/broker", false),
            ("+/broker", "$SYS/#", false),
            ("$SYS/#", "$SYS/broker", true),
            ("a/+/c", "a/#", true),
            ("a", "a/b", false),
        ] {
            assert_eq!(overlap(&filter(one), &filter(other)), expected, "{one} {other}");
            assert_eq!(overlap(&filter(other), &filter(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn all_criteria_must_apply() {
        let client = |id: &str, address: &str| ClientLabel {
            client_id: Some(ClientId(id.into())),
            address: Some(address.parse().unwrap()),
            ..ClientLabel::default()
        };
        let both = TraceFilter {
            client_id: Some(ClientPattern::new("a*")),
            topic: None,
            address: Some("192.0.2.1".parse().unwrap()),
        };
        assert!(both.wants_client(&client("ab", "192.0.2.1:7")));
        assert!(both.wants_client(&client("ab", "[::ffff:192.0.2.1]:7")), "the same address");
        assert!(!both.wants_client(&client("ba", "192.0.2.1:7")) && !both.wants_client(&client("ab", "192.0.2.2:7")));
        assert!(!both.wants_client(&ClientLabel::default()));
        let topic = TraceFilter { topic: Some(filter("a/+")), ..TraceFilter::default() };
        assert!(topic.wants_text(Some("a/b")) && topic.wants_text(Some("$share/s/a/#")));
        assert!(!topic.wants_text(Some("a")) && !topic.wants_text(None) && !topic.wants_text(Some("a/#/b")));
        assert!(both.wants_text(None));
    }

    #[test]
    fn what_exceeds_the_rate_is_counted_where_it_is_missing() {
        let trace = Trace::new(TraceFilter::default());
        let entry = Arc::new(TraceEntry::default());
        for _ in 0..ENTRIES_PER_SECOND + 7 {
            if trace.admits(Timestamp(1_500)) {
                trace.add(Arc::clone(&entry));
            }
        }
        assert_eq!(trace.take_left_out(), 0, "entries before it wait");
        assert_eq!(drain(&trace).len(), ENTRIES_PER_SECOND);
        assert!(!trace.admits(Timestamp(1_999)) && trace.admits(Timestamp(2_000)));
        let used = trace.lock().used;
        assert!(trace.admits(Timestamp(1_999)) && trace.lock().used == used + 1, "it counts for the later second");
        trace.add(Arc::clone(&entry));
        assert_eq!(drain(&trace), [TraceItem::LeftOut(8), TraceItem::Entry(entry)]);
        assert_eq!((trace.take_left_out(), drain(&trace).len()), (0, 0));
    }

    #[test]
    fn a_reader_that_takes_nothing_costs_bounded_memory() {
        let trace = Trace::new(TraceFilter::default());
        let long = Arc::new(TraceEntry { reason: Some("x".repeat(60_000)), ..TraceEntry::default() });
        let mut refused = 0;
        for second in 0..100 {
            for _ in 0..3 {
                if trace.admits(Timestamp(second * 1_000)) { trace.add(Arc::clone(&long)) } else { refused += 1 }
            }
        }
        let items = drain(&trace);
        assert!(items.len() * 60_000 <= BYTES_MAX + 60_000, "{}", items.len());
        assert_eq!((items.len() as u64 + refused, trace.take_left_out()), (300, refused));
        assert!(trace.admits(Timestamp(200_000)));
    }
}
