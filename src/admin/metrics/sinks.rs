//! What sinks send to other services.

use super::own::{counts, each, figures, queues};
use crate::admin::metric::{Metric, Source};
use crate::admin::queues::{Own, OwnQueue};
use crate::admin::snapshot::Snapshot;
use crate::histogram::LatencyHistogram;
use crate::server::SinkFigures;

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_sink_connected",
        labels: &["sink"],
        help: "1 while the sink has its session, 0 while it has none or does not run.",
        source: Source::Gauges(|snapshot| {
            figures(&snapshot.sinks, |sink| f64::from(u8::from(sink.connected_since.is_some())))
        }),
    },
    Metric {
        name: "oncemq_sink_failing_seconds",
        labels: &["sink"],
        help: "How long the sink has delivered nothing although it tries, or has no session; 0 while all is well.",
        source: Source::Gauges(|snapshot| {
            let seconds = |sink: &SinkFigures| sink.failing_since.map_or(0.0, |since| snapshot.seconds_since(since));
            figures(&snapshot.sinks, seconds)
        }),
    },
    Metric {
        name: "oncemq_sink_messages_delivered_total",
        labels: &["sink"],
        help: "Messages that the receiver of the sink has taken.",
        source: Source::Outcomes(|snapshot| counts(&snapshot.sinks, |sink| sink.counts.delivered)),
    },
    Metric {
        name: "oncemq_sink_requests_total",
        labels: &["sink", "result"],
        help: "Requests of the sink: delivered (answered with success), refused (answered otherwise), and unanswered (not connected, or no answer in time).",
        source: Source::Outcomes(|snapshot| each(&snapshot.sinks, requests)),
    },
    Metric {
        name: "oncemq_sink_request_seconds",
        labels: &["sink"],
        help: "Time from sending a request of the sink to its answer.",
        source: Source::Histograms(latency),
    },
    Metric {
        name: "oncemq_sink_retries_total",
        labels: &["sink"],
        help: "Requests of the sink that were sent again.",
        source: Source::Outcomes(|snapshot| counts(&snapshot.sinks, |sink| sink.counts.retries)),
    },
    Metric {
        name: "oncemq_sink_dead_letters_total",
        labels: &["sink"],
        help: "Messages that the sink gave up and that became dead letters.",
        source: Source::Outcomes(|snapshot| counts(&snapshot.sinks, |sink| sink.counts.dead_letters)),
    },
    Metric {
        name: "oncemq_sink_messages_dropped_total",
        labels: &["sink", "reason"],
        help: "Messages that did not reach the receiver of the sink and became no dead letter of it: given_up by the sink, or dropped from the queue of its session for another reason.",
        source: Source::Outcomes(|snapshot| each(&snapshot.sinks, dropped)),
    },
    Metric {
        name: "oncemq_sink_requests_under_way",
        labels: &["sink"],
        help: "Requests of the sink that are under way.",
        source: Source::Gauges(|snapshot| figures(&snapshot.sinks, |sink| sink.under_way as f64)),
    },
    Metric {
        name: "oncemq_sink_messages_held",
        labels: &["sink"],
        help: "Messages that the sink has taken from its session and that are not delivered yet.",
        source: Source::Gauges(|snapshot| figures(&snapshot.sinks, |sink| sink.held as f64)),
    },
    Metric {
        name: "oncemq_sink_queued_messages",
        labels: &["sink"],
        help: "QoS 1 and 2 messages in the session of the sink, those that it holds included; measured every five seconds.",
        source: Source::Gauges(|snapshot| queues(&snapshot.sinks, |queue| queue.messages as f64)),
    },
    Metric {
        name: "oncemq_sink_queued_bytes",
        labels: &["sink"],
        help: "Bytes of these messages.",
        source: Source::Gauges(|snapshot| queues(&snapshot.sinks, |queue| queue.bytes as f64)),
    },
    Metric {
        name: "oncemq_sink_queue_used_ratio",
        labels: &["sink"],
        help: "How full the queue of the session of the sink is: 1 is its limit of messages or of bytes.",
        source: Source::Gauges(|snapshot| queues(&snapshot.sinks, OwnQueue::used)),
    },
];

fn requests(sink: &Own<SinkFigures>) -> Vec<(&'static str, u64)> {
    let SinkFigures { counts, answered, unanswered, .. } = &sink.figures;
    let refused = answered.saturating_sub(counts.batches);
    vec![("delivered", counts.batches), ("refused", refused), ("unanswered", *unanswered)]
}

fn dropped(sink: &Own<SinkFigures>) -> Vec<(&'static str, u64)> {
    [("given_up", sink.figures.counts.dropped)].into_iter().chain(super::own::dropped(sink)).collect()
}

fn latency(snapshot: &Snapshot) -> Vec<(String, LatencyHistogram)> {
    snapshot.sinks.iter().map(|sink| (sink.name.to_string(), sink.figures.latency)).collect()
}
