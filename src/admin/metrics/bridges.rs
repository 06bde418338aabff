//! What bridges pass on.

use super::own::{counts, each, figures, queues};
use crate::admin::metric::{Metric, Source};
use crate::admin::queues::{Own, OwnQueue};
use crate::bridge::Dropped;
use crate::server::{BridgeFigures, BridgeState};

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_bridge_connected",
        labels: &["bridge"],
        help: "1 while the bridge is connected to the other broker, otherwise 0.",
        source: Source::Gauges(|snapshot| {
            figures(&snapshot.bridges, |bridge| f64::from(u8::from(bridge.state == BridgeState::Connected)))
        }),
    },
    Metric {
        name: "oncemq_bridge_disconnected_seconds",
        labels: &["bridge"],
        help: "How long the bridge has tried to connect; 0 while it is connected, waits for messages (lazy) or has ended (once).",
        source: Source::Gauges(|snapshot| {
            let seconds = |bridge: &BridgeFigures| match bridge.state {
                BridgeState::Connecting => snapshot.seconds_since(bridge.since),
                BridgeState::Connected | BridgeState::Idle | BridgeState::Ended => 0.0,
            };
            figures(&snapshot.bridges, seconds)
        }),
    },
    Metric {
        name: "oncemq_bridge_connects_total",
        labels: &["bridge"],
        help: "Connections of the bridge to the other broker.",
        source: Source::Outcomes(|snapshot| counts(&snapshot.bridges, |bridge| bridge.connects)),
    },
    Metric {
        name: "oncemq_bridge_disconnects_total",
        labels: &["bridge"],
        help: "Connections of the bridge to the other broker that have ended.",
        source: Source::Outcomes(|snapshot| counts(&snapshot.bridges, disconnects)),
    },
    Metric {
        name: "oncemq_bridge_connect_failures_total",
        labels: &["bridge"],
        help: "Attempts of the bridge to connect that failed.",
        source: Source::Outcomes(|snapshot| counts(&snapshot.bridges, |bridge| bridge.failures)),
    },
    Metric {
        name: "oncemq_bridge_messages_total",
        labels: &["bridge", "direction"],
        help: "Messages that the bridge has passed on: out (to the other broker) and in (from it), those sent again included.",
        source: Source::Outcomes(|snapshot| {
            each(&snapshot.bridges, |Own { figures: bridge, .. }| {
                vec![("out", bridge.counts.messages_out), ("in", bridge.counts.messages_in)]
            })
        }),
    },
    Metric {
        name: "oncemq_bridge_bytes_total",
        labels: &["bridge", "direction"],
        help: "Bytes of the topics and payloads of these messages.",
        source: Source::Outcomes(|snapshot| {
            each(&snapshot.bridges, |Own { figures: bridge, .. }| {
                vec![("out", bridge.counts.bytes_out), ("in", bridge.counts.bytes_in)]
            })
        }),
    },
    Metric {
        name: "oncemq_bridge_messages_dropped_total",
        labels: &["bridge", "reason"],
        help: "Messages that the bridge did not pass on: unmapped (no rule for their topic any more), looped (they have been here or there), too_large for the other broker, congested (QoS 0); or dropped from the queue of its session for another reason.",
        source: Source::Outcomes(|snapshot| each(&snapshot.bridges, dropped)),
    },
    Metric {
        name: "oncemq_bridge_messages_refused_total",
        labels: &["bridge", "by"],
        help: "Messages of the bridge that a broker has refused: here (this one) or there (the other one).",
        source: Source::Outcomes(|snapshot| {
            each(&snapshot.bridges, |Own { figures: bridge, .. }| {
                vec![("here", bridge.counts.refused_here), ("there", bridge.counts.refused_there)]
            })
        }),
    },
    Metric {
        name: "oncemq_bridge_sessions_lost_total",
        labels: &["bridge", "at"],
        help: "How often the session of the bridge was gone at one broker, here or there, although the other one had its own: messages under way may come twice.",
        source: Source::Outcomes(|snapshot| {
            each(&snapshot.bridges, |Own { figures: bridge, .. }| {
                vec![("here", bridge.sessions_lost_here), ("there", bridge.sessions_lost_there)]
            })
        }),
    },
    Metric {
        name: "oncemq_bridge_subscriptions_refused",
        labels: &["bridge"],
        help: "Topic filters of the bridge that a broker has refused at the last connect.",
        source: Source::Gauges(|snapshot| figures(&snapshot.bridges, |bridge| bridge.subscriptions_refused as f64)),
    },
    Metric {
        name: "oncemq_bridge_queued_messages",
        labels: &["bridge"],
        help: "QoS 1 and 2 messages in the session of the bridge here, those in flight included; measured every five seconds.",
        source: Source::Gauges(|snapshot| queues(&snapshot.bridges, |queue| queue.messages as f64)),
    },
    Metric {
        name: "oncemq_bridge_queued_bytes",
        labels: &["bridge"],
        help: "Bytes of these messages.",
        source: Source::Gauges(|snapshot| queues(&snapshot.bridges, |queue| queue.bytes as f64)),
    },
    Metric {
        name: "oncemq_bridge_queue_used_ratio",
        labels: &["bridge"],
        help: "How full the queue of the session of the bridge is: 1 is its limit of messages or of bytes.",
        source: Source::Gauges(|snapshot| queues(&snapshot.bridges, OwnQueue::used)),
    },
];

/// Each connection but the present one has ended.
fn disconnects(bridge: &BridgeFigures) -> u64 {
    bridge.connects.saturating_sub(u64::from(bridge.state == BridgeState::Connected))
}

fn dropped(bridge: &Own<BridgeFigures>) -> Vec<(&'static str, u64)> {
    let own = Dropped::ALL.into_iter().map(Dropped::name).zip(bridge.figures.counts.dropped);
    own.chain(super::own::dropped(bridge)).collect()
}
