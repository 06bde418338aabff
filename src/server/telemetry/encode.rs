//! Spans in the types of OTLP, and the batches in which they are sent.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status as SpanStatus};
use tokio::sync::mpsc;

use super::trace::{OpenTrace, Part, What, name_of};
use crate::broker::{JourneyStep, StepView};
use crate::server::status::Status;
use crate::timestamp::Timestamp;

/// Makes spans of traces.
pub(super) struct Encoder {
    spans: Vec<Span>,
    batches: mpsc::Sender<Vec<Span>>,
}

impl Encoder {
    pub(super) const fn new(batches: mpsc::Sender<Vec<Span>>) -> Self {
        Self { spans: Vec::new(), batches }
    }

    /// Adds the spans of a trace.
    pub(super) fn add(&mut self, trace: &OpenTrace, status: &Status) {
        let parts = trace.parts();
        let mut random = vec![0; TRACE_ID_LENGTH + SPAN_ID_LENGTH * parts.len()];
        // Without randomness there are no identifiers, and 0 is none.
        if getrandom::fill(&mut random).is_ok() {
            // The wall clock is read once for a trace: between two readings it may be rounded to another millisecond.
            let (first, wall) = (trace.began_at(), status.wall_of(trace.began_at()));
            let nanoseconds = |at: Timestamp| (wall.0 + at.0.saturating_sub(first.0)).saturating_mul(1_000_000);
            self.spans.extend(spans(trace, parts, &random, &nanoseconds));
        }
    }

    /// Passes all spans on. Returns the number of those for which there was no room.
    pub(super) fn flush(&mut self) -> usize {
        let mut dropped = 0;
        while !self.spans.is_empty() {
            let batch = self.spans.split_off(self.spans.len().saturating_sub(BATCH_MAX));
            if let Err(error) = self.batches.try_send(batch) {
                dropped += error.into_inner().len();
            }
        }
        self.spans = Vec::new();
        dropped
    }
}

/// The spans of a trace, with identifiers from random bytes. `nanoseconds`: since 1970.
fn spans(trace: &OpenTrace, parts: Vec<Part>, random: &[u8], nanoseconds: &dyn Fn(Timestamp) -> u64) -> Vec<Span> {
    let (trace_id, ids) = random.split_at(TRACE_ID_LENGTH.min(random.len()));
    let trace_id =
        trace.message.parent.map_or_else(|| trace_id.to_vec(), |parent| parent.trace_id.to_be_bytes().to_vec());
    let mut ids = ids.chunks(SPAN_ID_LENGTH).map(<[u8]>::to_vec);
    let mut publish_id = Vec::new();
    let mut spans = Vec::with_capacity(parts.len());
    for part in parts {
        let Some(span_id) = ids.next() else { break };
        let is_first = spans.is_empty();
        let mut span = Span {
            trace_id: trace_id.clone(),
            span_id: span_id.clone(),
            parent_span_id: publish_id.clone(),
            flags: SAMPLED | HAS_IS_REMOTE,
            start_time_unix_nano: nanoseconds(part.begin),
            end_time_unix_nano: nanoseconds(part.end),
            ..Span::default()
        };
        if is_first {
            publish_id = span_id;
            if let Some(parent) = trace.message.parent {
                span.parent_span_id = parent.parent_id.to_be_bytes().to_vec();
                span.flags |= IS_REMOTE;
            }
        }
        describe(&mut span, trace, part.what, nanoseconds);
        spans.push(span);
    }
    spans
}

/// Gives a span its name, kind and attributes, by the semantic conventions for messaging.
fn describe(span: &mut Span, trace: &OpenTrace, what: What, nanoseconds: &dyn Fn(Timestamp) -> u64) {
    let message = &trace.message;
    let mut attributes = vec![
        text("messaging.system", "mqtt"),
        text("messaging.destination.name", &message.topic),
        number("oncemq.qos", message.qos as i64),
    ];
    attributes.extend(message.id.map(|id| text("messaging.message.id", &id.to_string())));
    let (name, kind) = match what {
        What::Publish { matched, left_out, is_stable } => {
            attributes.push(text("messaging.operation.name", "publish"));
            attributes.push(text("messaging.operation.type", "send"));
            attributes.push(number("messaging.message.body.size", i64::try_from(message.bytes).unwrap_or(i64::MAX)));
            attributes.extend(message.client_id.as_ref().map(|id| text("messaging.client.id", id.as_str())));
            attributes.extend(matched.map(|matched| number("oncemq.receivers", i64::from(matched))));
            if left_out > 0 {
                attributes.push(number("oncemq.receivers_left_out", i64::from(left_out)));
            }
            if !is_stable {
                attributes.push(flag("oncemq.unfinished"));
            }
            ("publish", SpanKind::Server)
        }
        What::Commit => {
            attributes.push(text("messaging.operation.name", "commit"));
            ("commit", SpanKind::Internal)
        }
        What::Deliver { steps } => {
            attributes.push(text("messaging.operation.name", "deliver"));
            attributes.push(text("messaging.operation.type", "send"));
            describe_delivery(span, &mut attributes, &steps, nanoseconds);
            ("deliver", SpanKind::Producer)
        }
    };
    (span.name, span.kind, span.attributes) = (name.to_owned(), kind as i32, attributes);
}

fn describe_delivery(
    span: &mut Span,
    attributes: &mut Vec<KeyValue>,
    steps: &[StepView],
    nanoseconds: &dyn Fn(Timestamp) -> u64,
) {
    let client_id = steps.iter().rev().find_map(|step| step.client_id.as_ref());
    attributes.extend(client_id.map(|id| text("messaging.client.id", id.as_str())));
    let event = |step: &StepView| Event {
        time_unix_nano: nanoseconds(step.at),
        name: name_of(step.step).to_owned(),
        ..Event::default()
    };
    span.events = steps.iter().map(event).collect();
    let Some(last) = steps.last() else { return };
    attributes.push(text("oncemq.outcome", name_of(last.step)));
    if !last.step.is_end() {
        attributes.push(flag("oncemq.unfinished"));
    }
    if let Some(reason) = last.reason {
        attributes.push(text("oncemq.drop_reason", reason.name()));
    }
    if matches!(last.step, JourneyStep::Dropped | JourneyStep::Refused) {
        let message = last.reason.map_or(name_of(last.step), |reason| reason.name()).to_owned();
        span.status = Some(SpanStatus { message, code: StatusCode::Error as i32 });
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn flag(key: &str) -> KeyValue {
    attribute(key, Value::BoolValue(true))
}

const TRACE_ID_LENGTH: usize = 16;
const SPAN_ID_LENGTH: usize = 8;
/// The spans of one request, about 200 KiB.
const BATCH_MAX: usize = 512;
/// Flags of a span: those of W3C Trace Context, and whether its parent is in another process.
const SAMPLED: u32 = 1;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

#[cfg(test)]
mod tests {
    use super::super::trace::tests::{accepted, sampled, step};
    use super::*;
    use crate::broker::{DropReason, SampledMessage, StableView, TraceContext};

    fn value(span: &Span, key: &str) -> Option<String> {
        let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
        let value = found.value.clone()?.value?;
        if let Value::StringValue(text) = value {
            Some(text)
        } else if let Value::IntValue(number) = value {
            Some(number.to_string())
        } else if let Value::BoolValue(flag) = value {
            Some(flag.to_string())
        } else {
            panic!("{value:?}")
        }
    }

    fn spans_of(trace: &OpenTrace) -> Vec<Span> {
        let parts = trace.parts();
        let random: Vec<u8> = (1..=u8::try_from(TRACE_ID_LENGTH + SPAN_ID_LENGTH * parts.len()).unwrap()).collect();
        spans(trace, parts, &random, &|at| at.0 * 1_000_000)
    }

    #[test]
    fn the_spans_of_a_message_are_children_of_its_own() {
        let mut trace = OpenTrace::new(sampled(1));
        trace.accepted = Some(accepted(StableView::Since(Timestamp(1_012)), 1));
        trace.begin((crate::routing::SessionKey(4), 1), step(4, 1_013, JourneyStep::Queued));
        let dropped = StepView { reason: Some(DropReason::Expired), ..step(4, 1_040, JourneyStep::Dropped) };
        trace.add((crate::routing::SessionKey(4), 1), dropped);
        let spans = spans_of(&trace);
        let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["publish", "commit", "deliver"]);
        let publish = &spans[0];
        assert!(publish.parent_span_id.is_empty());
        assert_eq!((publish.trace_id.len(), publish.span_id.len(), publish.flags), (16, 8, 0x101));
        assert_eq!((publish.start_time_unix_nano, publish.end_time_unix_nano), (1_000_000_000, 1_012_000_000));
        for child in &spans[1..] {
            assert_eq!((&child.parent_span_id, &child.trace_id), (&publish.span_id, &publish.trace_id));
        }
        assert_eq!(value(publish, "messaging.system").as_deref(), Some("mqtt"));
        assert_eq!(value(publish, "messaging.destination.name").as_deref(), Some("a/b"));
        assert_eq!(value(publish, "messaging.client.id").as_deref(), Some("p"));
        assert_eq!(value(publish, "messaging.message.id"), trace.message.id.map(|id| id.to_string()));
        assert_eq!(value(publish, "oncemq.qos").as_deref(), Some("1"));
        assert_eq!(value(publish, "oncemq.unfinished"), None);
        let deliver = &spans[2];
        assert_eq!(value(deliver, "messaging.client.id").as_deref(), Some("s"));
        assert_eq!(value(deliver, "oncemq.outcome").as_deref(), Some("dropped"));
        assert_eq!(value(deliver, "oncemq.drop_reason").as_deref(), Some("expired"));
        assert_eq!(deliver.status.as_ref().unwrap().code, StatusCode::Error as i32);
        let events: Vec<_> = deliver.events.iter().map(|event| (&*event.name, event.time_unix_nano)).collect();
        assert_eq!(events, [("queued", 1_013_000_000), ("dropped", 1_040_000_000)]);
    }

    #[test]
    fn a_parent_is_taken_up() {
        let parent = Some(TraceContext { trace_id: 0xA << 64, parent_id: 0xB, sampled: true });
        let spans = spans_of(&OpenTrace::new(SampledMessage { parent, id: None, ..sampled(1) }));
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].trace_id, (0xA_u128 << 64).to_be_bytes());
        assert_eq!((&*spans[0].parent_span_id, spans[0].flags), (&0xB_u64.to_be_bytes()[..], 0x301));
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut encoder = Encoder::new(sender);
        encoder.spans = vec![Span::default(); BATCH_MAX + 88];
        assert_eq!(encoder.flush(), 88);
        assert_eq!(receiver.try_recv().unwrap().len(), BATCH_MAX);
        assert_eq!(encoder.flush(), 0);
    }
}
