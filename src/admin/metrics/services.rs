//! The requests to the services that judge clients.

use crate::admin::metric::{Metric, Source};
use crate::admin::snapshot::Snapshot;

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_auth_requests_total",
        labels: &["provider", "result"],
        help: "Clients for which the service of a provider was to be asked: allowed, denied, ignored (not its own), without an answer (unreachable, late, invalid), cached (accepted without asking), busy (too many waited) and abandoned (the client had gone).",
        source: Source::Outcomes(Snapshot::service_requests),
    },
    Metric {
        name: "oncemq_auth_requests_under_way",
        labels: &["provider"],
        help: "Requests to the service of a provider that are under way.",
        source: Source::Gauges(Snapshot::service_requests_under_way),
    },
    Metric {
        name: "oncemq_auth_requests_waiting",
        labels: &["provider"],
        help: "Requests to the service of a provider that wait for their turn.",
        source: Source::Gauges(Snapshot::service_requests_waiting),
    },
];
