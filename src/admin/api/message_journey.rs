//! Gathers what all shards know about a message.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;
use super::state::ApiState;
use crate::broker::{
    AcceptedView, Answer, HoldersRequest, JourneyPart, JourneyRequest, Query, QueuePlace, QueuedState,
    RECEIVERS_ASKED_MAX, StepView,
};
use crate::codec::{ClientId, MessageId, Qos};
use crate::routing::{SessionKey, ShardId};

/// A place in the queue of a Session, without the upper bits of the sequence.
type Place = (SessionKey, u32);

/// What is known about a message.
#[derive(Debug, Default)]
pub(super) struct Journey {
    pub(super) accepted: Option<AcceptedView>,
    pub(super) topic: Option<String>,
    pub(super) qos: Option<Qos>,
    /// In the order of time.
    pub(super) steps: Vec<StepView>,
    pub(super) left_out: u64,
    /// Whether the steps since it was accepted are all known, or all queues were looked through.
    pub(super) is_complete: bool,
    ended: HashSet<SessionKey>,
    /// The queues that have it, with the state there.
    holders: HashMap<Place, (ClientId, &'static str)>,
}

/// Asks all shards for their steps of a message, and, if they don't tell everything, for the queues that have it.
pub(super) async fn journey(state: &ApiState, id: MessageId) -> Result<Journey, Failure> {
    let mut journey = Journey::default();
    journey.add_steps(state, JourneyRequest { id, receivers: Vec::new(), from: 0 }).await?;
    let receivers = journey.trim();
    if !receivers.is_empty() {
        journey.add_steps(state, JourneyRequest { id, receivers, from: 0 }).await?;
        journey.trim();
    }
    journey.steps.sort_by_key(|step| step.at);
    journey.is_complete = journey.knows_all_receivers();
    if !journey.is_complete {
        journey.is_complete = journey.add_holders(state, id).await?;
    }
    Ok(journey)
}

impl Journey {
    pub(super) fn is_unknown(&self) -> bool {
        self.accepted.is_none() && self.steps.is_empty() && self.holders.is_empty() && self.left_out == 0
    }

    /// Each receiver with the state of the message, those that were first to get it first.
    pub(super) fn receivers(&self) -> impl Iterator<Item = (Option<&ClientId>, &'static str)> {
        let mut places: Vec<Place> = Vec::new();
        let mut last: HashMap<Place, &StepView> = HashMap::new();
        for step in &self.steps {
            if last.insert((step.receiver, step.sequence), step).is_none() {
                places.push((step.receiver, step.sequence));
            }
        }
        let others = self.holders.iter().filter(|(place, _)| !last.contains_key(place));
        let mut others: Vec<_> = others.map(|(_, (client_id, state))| (client_id, *state)).collect();
        others.sort_unstable_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let with_steps = places.into_iter().filter_map(move |place| {
            let step = *last.get(&place)?;
            let state = match self.holders.get(&place) {
                Some((_, state)) => state,
                None if step.step.is_end() => step.step.name(),
                None if self.has_ended(step) => "session-ended",
                None => step.step.name(),
            };
            Some((step.client_id.as_ref(), state))
        });
        with_steps.chain(others.into_iter().map(|(client_id, state)| (Some(client_id), state)))
    }

    fn has_ended(&self, step: &StepView) -> bool {
        step.is_ended || step.client_id.is_none() || self.ended.contains(&step.receiver)
    }

    async fn add_steps(&mut self, state: &ApiState, request: JourneyRequest) -> Result<(), Failure> {
        for shard in (0..state.queries.shards()).zip(0..).map(|(_, number)| ShardId(number)) {
            let mut request = request.clone();
            loop {
                let query = Query::Journey(Box::new(request.clone()));
                let Answer::Journey(part) = state.queries.ask(shard, query).await? else {
                    return Err(Failure::unexpected_answer());
                };
                let JourneyPart { accepted, steps, left_out, ended, next } = *part;
                if let Some(accepted) = accepted {
                    (self.topic, self.qos) = (accepted.topic.clone(), Some(accepted.qos));
                    self.accepted = Some(accepted);
                }
                self.left_out += left_out;
                self.ended.extend(ended);
                self.steps.extend(steps);
                match next {
                    Some(from) if self.steps.len() < STEPS_MAX => request.from = from,
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Leaves out what is too much. Returns the receivers.
    fn trim(&mut self) -> Vec<Place> {
        let mut receivers = HashSet::new();
        let mut left_out = HashSet::new();
        self.steps.retain(|step| {
            let place = (step.receiver, step.sequence);
            let is_kept = receivers.contains(&place) || receivers.len() < RECEIVERS_ASKED_MAX;
            if is_kept {
                receivers.insert(place)
            } else {
                left_out.insert(place)
            };
            is_kept
        });
        self.left_out += left_out.len() as u64;
        receivers.into_iter().filter(|(_, sequence)| *sequence != 0).collect()
    }

    /// Whether the steps tell about every receiver.
    fn knows_all_receivers(&self) -> bool {
        let places: HashSet<SessionKey> = self.steps.iter().map(|step| step.receiver).collect();
        self.left_out == 0
            && self.accepted.as_ref().is_some_and(|accepted| {
                accepted.is_complete && usize::try_from(accepted.matched).is_ok_and(|matched| places.len() >= matched)
            })
    }

    /// Adds the queues that have the message. Returns whether all were looked through.
    async fn add_holders(&mut self, state: &ApiState, id: MessageId) -> Result<bool, Failure> {
        let (end, mut read) = (Instant::now() + SEARCH_TIME_MAX, 0);
        for shard in (0..state.queries.shards()).zip(0..).map(|(_, number)| ShardId(number)) {
            let mut from = QueuePlace::default();
            loop {
                let answer = state.queries.ask(shard, Query::Holders(HoldersRequest { id, from })).await?;
                let Answer::Holders(part) = answer else { return Err(Failure::unexpected_answer()) };
                for holder in part.holders {
                    self.topic.get_or_insert(holder.topic);
                    self.qos.get_or_insert(holder.qos);
                    #[expect(clippy::cast_possible_truncation, reason = "steps have the lower bits, too")]
                    let place = (holder.key, holder.sequence as u32);
                    if self.holders.len() < RECEIVERS_ASKED_MAX || self.holders.contains_key(&place) {
                        self.holders.insert(place, (holder.client_id, state_name(holder.state)));
                    } else {
                        self.left_out += 1;
                    }
                }
                read += part.read;
                let Some(next) = part.next else { break };
                if read >= READ_MAX || Instant::now() >= end {
                    return Ok(false);
                }
                from = next;
            }
        }
        Ok(true)
    }
}

/// The state of a message that is still in a queue.
const fn state_name(state: QueuedState) -> &'static str {
    match state {
        QueuedState::Waiting => "queued",
        QueuedState::AwaitingPuback | QueuedState::AwaitingPubrec => "sent",
        QueuedState::AwaitingPubcomp => "released",
    }
}

/// Of one message. More are not shown.
const STEPS_MAX: usize = 10_000;
/// Messages that are read from the store for one request.
const READ_MAX: usize = 20_000;
const SEARCH_TIME_MAX: Duration = Duration::from_secs(5);
