//! The publishers, subscribers and topics of a run.

use crate::packet::{Protocol, QoS, Retain, SessionKind};

/// The participants of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Distinguishes this run from leftovers of earlier runs.
    pub(crate) run: u32,
    pub(crate) protocol: Protocol,
    pub(crate) retain: Retain,
    pub(crate) payload_len: usize,
    pub(crate) pace: Pace,
    pub(crate) window: usize,
    /// Messages that are published in one batch; 1: each for itself.
    pub(crate) batch: usize,
    /// Whether receivers refuse each message when it comes for the first time.
    pub(crate) refuses: bool,
    /// Whether each message asks for a receipt, in MQTT 5.0.
    pub(crate) receipts: bool,
    pub(crate) streams: Vec<StreamPlan>,
    /// The streams of each publisher, which it sends in turn.
    pub(crate) publishers: Vec<Vec<usize>>,
    pub(crate) receivers: Vec<ReceiverPlan>,
}

/// One topic of one publisher.
#[derive(Debug)]
pub(crate) struct StreamPlan {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    /// The audiences that must get every message once.
    pub(crate) audiences: Vec<usize>,
}

/// One subscriber.
#[derive(Debug)]
pub(crate) struct ReceiverPlan {
    pub(crate) filters: Vec<String>,
    /// Its own audience, or the one of its shared group.
    pub(crate) audience: usize,
    pub(crate) qos: QoS,
    pub(crate) session: SessionKind,
}

/// When a publisher sends its next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// When one of the messages in flight has arrived at all audiences and is acknowledged.
    EachDelivered,
    /// When all messages in flight have, so that they are sent in bursts.
    AllDelivered,
    /// When one is acknowledged, regardless of its arrival.
    Acknowledged,
    /// As fast as the socket accepts.
    Unbounded,
    /// At a fixed interval, all publishers in turn.
    Scheduled { interval_ns: u64 },
}

impl Plan {
    /// The size of the longest packet of the run.
    pub(crate) fn packet_len_max(&self) -> usize {
        let topic_len = self.streams.iter().map(|stream| stream.topic.len()).max().unwrap_or(0);
        let properties_len = if self.protocol == Protocol::V5 { PROPERTIES_LEN } else { 0 };
        topic_len + self.payload_len + FIXED_PARTS_LEN + properties_len
    }

    /// The number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.publishers.len() + self.receivers.len()
    }
}

impl StreamPlan {
    fn new(topic: String, audiences: Vec<usize>) -> Self {
        Self { topic, audiences, qos: QoS::AtMostOnce }
    }
}

impl ReceiverPlan {
    fn new(filters: Vec<String>, audience: usize) -> Self {
        Self { filters, audience, qos: QoS::AtMostOnce, session: SessionKind::Clean }
    }
}

/// Each publisher has one subscriber of its own.
pub(crate) fn pairs(run: u32, count: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    let streams = (0..count).map(|pair| StreamPlan::new(topic(run, pair), vec![pair])).collect();
    let receivers = (0..count).map(|pair| ReceiverPlan::new(vec![topic(run, pair)], pair)).collect();
    (streams, receivers)
}

/// `topics` topics, and subscribers that all subscribe to them: to a single one by name, to several with a wildcard.
pub(crate) fn fan_out(run: u32, topics: usize, subscribers: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    let filter = if topics == 1 { topic(run, 0) } else { all_topics(run) };
    let streams = (0..topics).map(|number| StreamPlan::new(topic(run, number), (0..subscribers).collect())).collect();
    let receivers = (0..subscribers).map(|audience| ReceiverPlan::new(vec![filter.clone()], audience)).collect();
    (streams, receivers)
}

/// `topics` topics, and one subscriber to all of them.
pub(crate) fn fan_in(run: u32, topics: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    (streams_to_one_audience(run, topics), vec![ReceiverPlan::new(vec![all_topics(run)], 0)])
}

/// `topics` topics, and one group with a Shared Subscription.
pub(crate) fn shared(run: u32, topics: usize, members: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    let filter = format!("{SHARE}{}", all_topics(run));
    let receivers = (0..members).map(|_| ReceiverPlan::new(vec![filter.clone()], 0)).collect();
    (streams_to_one_audience(run, topics), receivers)
}

/// The filter for the same messages of a stream, which has been given this name in the broker's configuration.
pub(crate) fn in_stream(filter: &str, stream: &str) -> String {
    match filter.strip_prefix(SHARE) {
        Some(shared) => format!("{SHARE}$stream/{stream}/{shared}"),
        None => format!("$stream/{stream}/{filter}"),
    }
}

/// The same as the only member of the group with this number.
pub(crate) fn in_group(filter: &str, stream: &str, number: usize) -> String {
    format!("$share/group-{number}/{}", in_stream(filter, stream))
}

/// `filters` wildcard filters over `sessions`, in groups of three that match one topic, and topics for some of the
/// groups.
///
/// The three filters of a topic belong to three sessions, because the standard doesn't define how often a session gets
/// a message that matches several of its filters.
pub(crate) fn wildcards(run: u32, filters: usize, sessions: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    let root = format!("bench/{run:08x}");
    let mut receivers: Vec<_> = (0..sessions).map(|audience| ReceiverPlan::new(Vec::new(), audience)).collect();
    for filter in 0..filters {
        let place = filter / 3;
        let text = match filter % 3 {
            0 => format!("{root}/place{place}/+/temperature"),
            1 => format!("{root}/place{place}/#"),
            _ => format!("{root}/+/device{place}/temperature"),
        };
        if let Some(receiver) = receivers.get_mut(filter % sessions) {
            receiver.filters.push(text);
        }
    }
    let places = filters / 3;
    let step = places.div_ceil(WILDCARD_TOPICS_MAX).max(1);
    let streams = (0..places).step_by(step).map(|place| {
        let audiences = (place * 3..place * 3 + 3).map(|filter| filter % sessions).collect();
        StreamPlan::new(format!("{root}/place{place}/device{place}/temperature"), audiences)
    });
    (streams.collect(), receivers)
}

/// `count` topics below one root, and one subscriber to the root.
pub(crate) fn tree(run: u32, count: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    let streams = (0..count).map(|index| {
        let topic = format!("bench/{run:08x}/{}/{index}", index / TREE_BRANCH);
        StreamPlan::new(topic, vec![0])
    });
    let receiver = ReceiverPlan::new(vec![format!("bench/{run:08x}/#")], 0);
    (streams.collect(), vec![receiver])
}

/// `count` topics, each with one receiver that subscribes to it by name.
pub(crate) fn topics(run: u32, count: usize, receivers: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    let streams = (0..count).map(|index| StreamPlan::new(topic(run, index), vec![index % receivers]));
    let filters = |receiver| (receiver..count).step_by(receivers).map(|index| topic(run, index)).collect();
    let receivers = (0..receivers).map(|receiver| ReceiverPlan::new(filters(receiver), receiver));
    (streams.collect(), receivers.collect())
}

/// No publishers; `filters` long filters over `sessions`.
pub(crate) fn subscriptions(run: u32, filters: usize, sessions: usize) -> (Vec<StreamPlan>, Vec<ReceiverPlan>) {
    let filter = |number| format!("bench/{run:08x}/site{}/device{number}/state/+", number % SITES);
    let filters = |session| (session..filters).step_by(sessions).map(filter).collect();
    let receivers = (0..sessions).map(|session| ReceiverPlan::new(filters(session), session));
    (Vec::new(), receivers.collect())
}

/// Distributes the streams among the publishers.
pub(crate) fn distribute(streams: usize, publishers: usize) -> Vec<Vec<usize>> {
    let publishers = publishers.min(streams);
    (0..publishers).map(|publisher| (publisher..streams).step_by(publishers).collect()).collect()
}

fn topic(run: u32, number: usize) -> String {
    format!("bench/{run:08x}/{number}")
}

/// A filter that matches every [`topic`].
fn all_topics(run: u32) -> String {
    format!("bench/{run:08x}/+")
}

fn streams_to_one_audience(run: u32, topics: usize) -> Vec<StreamPlan> {
    (0..topics).map(|number| StreamPlan::new(topic(run, number), vec![0])).collect()
}

/// What the filters of Shared Subscriptions begin with.
const SHARE: &str = "$share/group/";
/// Fixed header, topic length and Packet Identifier of a PUBLISH.
const FIXED_PARTS_LEN: usize = 9;
/// More than the properties with which the broker tells the place of a message in a stream.
const PROPERTIES_LEN: usize = 1_024;
/// Enough topics to defeat a cache of a single topic, few enough for a small ledger.
const WILDCARD_TOPICS_MAX: usize = 1_000;
/// Number of different first levels in the filters of `subscriptions`.
const SITES: usize = 100;
/// Retained topics below one parent.
const TREE_BRANCH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    /// A simple implementation of matching, level by level.
    fn matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
            ([one, filter @ ..], [other, topic @ ..]) if one == other => matches(filter, topic),
            (_, _) => false,
        }
    }

    #[test]
    fn every_stream_goes_to_the_audiences_whose_filters_match() {
        let plans = [
            pairs(7, 5),
            fan_out(7, 1, 5),
            fan_out(7, 3, 5),
            fan_in(7, 5),
            wildcards(7, 100, 7),
            wildcards(7, 9, 3),
            tree(7, 250),
            topics(7, 50, 4),
        ];
        for (streams, receivers) in plans {
            assert!(!streams.is_empty());
            for stream in streams {
                let topic: Vec<_> = stream.topic.split('/').collect();
                let mut audiences: Vec<_> = receivers
                    .iter()
                    .flat_map(|receiver| receiver.filters.iter().map(|filter| (filter, receiver.audience)))
                    .filter(|(filter, _)| matches(&filter.split('/').collect::<Vec<_>>(), &topic))
                    .map(|(_, audience)| audience)
                    .collect();
                let mut expected = stream.audiences;
                audiences.sort_unstable();
                expected.sort_unstable();
                assert_eq!(audiences, expected, "{topic:?}");
            }
        }
    }

    #[test]
    fn a_filter_selects_the_same_messages_of_a_stream() {
        assert_eq!(in_stream("bench/7/+", "s"), "$stream/s/bench/7/+");
        assert_eq!(in_stream("$share/group/bench/7/+", "s"), "$share/group/$stream/s/bench/7/+");
    }

    #[test]
    fn every_stream_is_assigned_to_one_publisher() {
        for (streams, publishers) in [(10, 3), (3, 10), (1, 1), (50, 50)] {
            let hands = distribute(streams, publishers);
            assert!(hands.iter().all(|hand| !hand.is_empty()));
            let mut dealt = hands.concat();
            dealt.sort_unstable();
            assert_eq!(dealt, (0..streams).collect::<Vec<_>>());
        }
    }
}
