//! The trace of one message: from its steps to its spans.

use std::time::Duration;

use crate::broker::{AcceptedView, JourneyStep, SampledMessage, StableView, StepView, TailPlace};
use crate::timestamp::Timestamp;

/// A message of which a trace is being made.
#[derive(Debug)]
pub(super) struct OpenTrace {
    pub(super) message: SampledMessage,
    /// How it was accepted, as far as that is known.
    pub(super) accepted: Option<AcceptedView>,
    /// The first [`RECEIVERS_MAX`] receivers.
    receivers: Vec<Receiver>,
    /// The others that were told.
    left_out: u32,
}

#[derive(Debug)]
struct Receiver {
    place: TailPlace,
    /// At most [`STEPS_MAX`], and the last one.
    steps: Vec<StepView>,
}

/// A part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) what: What,
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
}

/// What a part of a trace is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// From its receipt until it was acknowledged.
    Publish {
        /// The receivers, if that is known.
        matched: Option<u32>,
        /// Those without a part of their own.
        left_out: u32,
        /// Whether its record is stable, or it has none.
        is_stable: bool,
    },
    /// Its record: until it was stable.
    Commit,
    /// The way to one receiver.
    Deliver {
        /// The steps, the oldest first; never empty.
        steps: Vec<StepView>,
    },
}

impl OpenTrace {
    pub(super) const fn new(message: SampledMessage) -> Self {
        Self { message, accepted: None, receivers: Vec::new(), left_out: 0 }
    }

    /// Adds the first step of a receiver. Returns whether its further steps are wanted.
    pub(super) fn begin(&mut self, place: TailPlace, step: StepView) -> bool {
        if self.receivers.len() >= RECEIVERS_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return false;
        }
        let is_over = step.step.is_end();
        self.receivers.push(Receiver { place, steps: vec![step] });
        !is_over
    }

    /// Adds a further step of a receiver.
    pub(super) fn add(&mut self, place: TailPlace, step: StepView) {
        let Some(receiver) = self.receivers.iter_mut().find(|receiver| receiver.place == place) else { return };
        if receiver.steps.len() >= STEPS_MAX {
            receiver.steps.pop();
        }
        receiver.steps.push(step);
    }

    /// The places of its receivers.
    pub(super) fn places(&self) -> impl Iterator<Item = TailPlace> {
        self.receivers.iter().map(|receiver| receiver.place)
    }

    /// When the message was accepted.
    pub(super) const fn began_at(&self) -> Timestamp {
        self.message.at
    }

    /// Whether it is not known yet when its record is stable.
    pub(super) fn awaits_commit(&self) -> bool {
        self.accepted.as_ref().is_none_or(|accepted| accepted.stable == StableView::NotYet)
    }

    /// Whether nothing more is expected of it, if all steps until this time are known.
    pub(super) fn is_over(&self, until: Timestamp) -> bool {
        if until.since(self.message.at) >= OPEN_TIME_MAX {
            return true;
        }
        let is_settled = until.since(self.committed().unwrap_or(self.message.at)) >= SETTLING_TIME;
        let has_ended = |receiver: &Receiver| receiver.steps.last().is_some_and(|step| step.step.is_end());
        !self.awaits_commit() && is_settled && self.receivers.iter().all(has_ended)
    }

    /// When its record was stable, if that is known.
    fn committed(&self) -> Option<Timestamp> {
        match self.accepted.as_ref()?.stable {
            StableView::Since(at) => Some(at.max(self.message.at)),
            StableView::NoRecord | StableView::NotYet | StableView::Unknown => None,
        }
    }

    /// Its parts: that of the message first.
    pub(super) fn parts(&self) -> Vec<Part> {
        let (at, committed) = (self.message.at, self.committed());
        let end = committed.filter(|_| self.message.waits).unwrap_or(at);
        let matched = self.accepted.as_ref().map(|accepted| accepted.matched);
        let shown = u32::try_from(self.receivers.len()).unwrap_or(u32::MAX);
        let left_out = matched.map_or(0, |matched| matched.saturating_sub(shown)).max(self.left_out);
        let is_stable = self.message.id.is_none() || !self.awaits_commit();
        let mut parts = vec![Part { what: What::Publish { matched, left_out, is_stable }, begin: at, end }];
        parts.extend(committed.map(|end| Part { what: What::Commit, begin: at, end }));
        parts.extend(self.receivers.iter().filter_map(|receiver| {
            let mut steps = receiver.steps.clone();
            steps.sort_by_key(|step| step.at);
            let (begin, end) = (steps.first()?.at, steps.last()?.at);
            Some(Part { what: What::Deliver { steps }, begin, end })
        }));
        parts
    }
}

/// What a step is called in a span.
pub(super) const fn name_of(step: JourneyStep) -> &'static str {
    if matches!(step, JourneyStep::Resent) { "resent" } else { step.name() }
}

/// After this time, a trace is made of what is known.
pub(super) const OPEN_TIME_MAX: Duration = Duration::from_secs(10);
/// After the commit, receivers on all shards begin within this time, or are left out.
const SETTLING_TIME: Duration = Duration::from_secs(1);
/// The receivers with a span of their own.
const RECEIVERS_MAX: usize = 32;
/// The steps of a receiver: a message that is sent again and again has more.
const STEPS_MAX: usize = 12;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::broker::PublisherView;
    use crate::codec::{MessageId, Qos};
    use crate::routing::SessionKey;

    pub(in crate::server::telemetry) fn sampled(number: u64) -> SampledMessage {
        SampledMessage {
            id: Some(MessageId { run: 7, number }),
            qos: Qos::AtLeastOnce,
            topic: "a/b".to_owned(),
            client_id: Some("p".into()),
            bytes: 5,
            at: Timestamp(1_000),
            waits: true,
            parent: None,
        }
    }

    pub(in crate::server::telemetry) fn accepted(stable: StableView, matched: u32) -> AcceptedView {
        AcceptedView {
            at: Timestamp(1_000),
            topic: None,
            qos: Qos::AtLeastOnce,
            publisher: PublisherView::Operator,
            stable,
            matched,
            is_complete: true,
        }
    }

    pub(in crate::server::telemetry) fn step(receiver: u64, at: u64, step: JourneyStep) -> StepView {
        StepView {
            at: Timestamp(at),
            step,
            receiver: SessionKey(receiver),
            sequence: 1,
            client_id: Some("s".into()),
            is_ended: false,
            reason: None,
        }
    }

    const fn place(receiver: u64) -> TailPlace {
        (SessionKey(receiver), 1)
    }

    #[test]
    fn a_message_becomes_a_part_and_its_record_and_receivers_one_each() {
        let mut trace = OpenTrace::new(sampled(1));
        assert!(trace.begin(place(4), step(4, 1_013, JourneyStep::Queued)));
        trace.add(place(4), step(4, 1_014, JourneyStep::Sent));
        assert!(!trace.begin(place(5), step(5, 1_012, JourneyStep::Dropped)));
        trace.add(place(9), step(9, 1_014, JourneyStep::Sent));
        assert!(trace.awaits_commit() && !trace.is_over(Timestamp(10_999)) && trace.is_over(Timestamp(11_000)));
        trace.accepted = Some(accepted(StableView::Since(Timestamp(1_012)), 3));
        assert!(!trace.is_over(Timestamp(5_000)), "a receiver has not acknowledged it");
        trace.add(place(4), step(4, 1_030, JourneyStep::Acknowledged));
        assert!(!trace.is_over(Timestamp(2_011)) && trace.is_over(Timestamp(2_012)));
        let parts = trace.parts();
        let times: Vec<_> = parts.iter().map(|part| (part.begin.0, part.end.0)).collect();
        assert_eq!(times, [(1_000, 1_012), (1_000, 1_012), (1_013, 1_030), (1_012, 1_012)]);
        assert_eq!(parts[0].what, What::Publish { matched: Some(3), left_out: 1, is_stable: true });
        assert_eq!(parts[1].what, What::Commit);
        let What::Deliver { steps } = &parts[2].what else { panic!("{parts:?}") };
        let names: Vec<_> = steps.iter().map(|step| name_of(step.step)).collect();
        assert_eq!(names, ["queued", "sent", "acknowledged"]);
    }

    #[test]
    fn an_acknowledgement_that_does_not_wait_is_given_at_once() {
        let mut trace = OpenTrace::new(SampledMessage { waits: false, ..sampled(1) });
        trace.accepted = Some(accepted(StableView::Since(Timestamp(1_012)), 0));
        let times: Vec<_> = trace.parts().iter().map(|part| (part.begin.0, part.end.0)).collect();
        assert_eq!(times, [(1_000, 1_000), (1_000, 1_012)]);
    }

    #[test]
    fn receivers_and_steps_are_bounded() {
        let mut trace = OpenTrace::new(sampled(1));
        let begun =
            (0..100).filter(|receiver| trace.begin(place(*receiver), step(*receiver, 1_001, JourneyStep::Queued)));
        assert_eq!(begun.count(), RECEIVERS_MAX);
        (0..100).for_each(|at| trace.add(place(0), step(0, 1_100 + at, JourneyStep::Resent)));
        let parts = trace.parts();
        assert_eq!(parts.len(), 1 + RECEIVERS_MAX);
        assert_eq!(parts[0].what, What::Publish { matched: None, left_out: 68, is_stable: false });
        let What::Deliver { steps } = &parts[1].what else { panic!("{parts:?}") };
        assert_eq!((steps.len(), parts[1].end), (STEPS_MAX, Timestamp(1_199)));
    }
}
