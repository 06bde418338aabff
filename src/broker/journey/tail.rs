//! Reads the steps of some messages as they are noted, for traces: each step is looked at once, whatever the number of messages.

use std::collections::HashSet;

use foldhash::quality::RandomState;

use crate::broker::journey::query::JourneyStep;
use crate::broker::journey::step::time_of;
use crate::broker::journey::tail_query::{ACCEPTED_ASKED_MAX, TailPart, TailPlace, TailRequest};
use crate::broker::shard::Shard;
use crate::codec::MessageId;
use crate::timestamp::Timestamp;

impl Shard {
    /// The next steps of messages, of a bounded number of steps.
    pub(in crate::broker) fn journey_tail(&self, request: &TailRequest, now: Timestamp) -> TailPart {
        let journeys = &self.journeys;
        let mut part = TailPart::default();
        for id in request.accepted.iter().take(ACCEPTED_ASKED_MAX) {
            let accepted = journeys.find(*id, now).map(|entry| (*id, self.accepted_view(entry, now)));
            part.accepted.extend(accepted);
        }
        let first = || journeys.steps.partition_point(|step| time_of(step.at, now) < request.since);
        let from = request.from.map_or_else(first, |from| from.max(journeys.steps.begin()));
        part.next = journeys.steps.end();
        let mut begun: HashSet<TailPlace, RandomState> = HashSet::default();
        for (position, step) in journeys.steps.from(from) {
            let is_full = position - from >= STEPS_PER_TURN || part.steps.len() >= STEPS_MAX;
            if is_full || time_of(step.at, now) > request.until {
                (part.next, part.has_more) = (position, is_full);
                break;
            }
            if step.run != 0 || step.kind == JourneyStep::LeftOut {
                continue;
            }
            let place = (step.receiver, step.sequence);
            if step.number != 0 {
                let id = MessageId { run: journeys.run, number: step.number };
                if request.messages.contains(&id) {
                    begun.insert(place);
                    part.steps.push((Some(id), self.step_view(step, now)));
                }
            } else if begun.contains(&place) || request.places.contains_key(&place) {
                part.steps.push((None, self.step_view(step, now)));
            }
        }
        part
    }
}

/// The steps that are looked at for one request: less than 0.2 ms.
const STEPS_PER_TURN: u64 = 16_384;
/// The steps in one answer.
const STEPS_MAX: usize = 2_048;
