//! Answers queries about the journey of a message.

use std::collections::HashSet;

use foldhash::quality::RandomState;

use crate::broker::action::Action;
use crate::broker::journey::query::{
    AcceptedView, HolderView, HoldersPart, HoldersRequest, JourneyPart, JourneyRequest, JourneyStep, PublisherView,
    QueuePlace, RECEIVERS_ASKED_MAX, StableView, StepView,
};
use crate::broker::journey::search::Search;
use crate::broker::journey::step::{Accepted, Source, Step, age, reason_from, short, time_of};
use crate::broker::journey::{COUNTS, Journeys, RETENTION};
use crate::broker::persistence::fetch::{Fetch, Purpose};
use crate::broker::query::{Answer, QueryId};
use crate::broker::shard::{Shard, Turn};
use crate::codec::{ClientId, MessageId};
use crate::routing::SessionKey;
use crate::session::{Delivery, FetchedMessage, QueuedState};
use crate::timestamp::Timestamp;

/// Which steps are looked for.
enum Wanted {
    /// The first steps of a message, by its number and that of its run.
    First(u64, u8),
    /// The further steps of receivers.
    Further(HashSet<(SessionKey, u32), RandomState>),
}

impl Shard {
    /// What this shard has noted about a message, from a bounded number of steps on.
    pub(in crate::broker) fn journey(&self, request: &JourneyRequest, now: Timestamp) -> JourneyPart {
        let journeys = &self.journeys;
        let mut part = JourneyPart::default();
        let accepted = journeys.find(request.id, now).filter(|_| request.receivers.is_empty());
        if request.from == 0 {
            part.accepted = accepted.map(|entry| self.accepted_view(entry, now));
            part.left_out = accepted_count(journeys, request.id);
        }
        let asked = request.receivers.iter().take(RECEIVERS_ASKED_MAX);
        part.ended = asked.clone().map(|(key, _)| *key).filter(|key| self.has_ended(*key)).collect();
        let wanted = match journeys.known_run(request.id.run) {
            _ if !request.receivers.is_empty() => Wanted::Further(asked.copied().collect()),
            Some(run) => Wanted::First(request.id.number, run),
            None => return part,
        };
        let is_old = |step: &Step| age(step.at, now) > RETENTION;
        let from = request.from.max(accepted.map_or(0, |entry| entry.steps));
        let from = if from <= journeys.steps.begin() { journeys.steps.partition_point(is_old) } else { from };
        for (position, step) in journeys.steps.from(from) {
            if position - from >= STEPS_PER_TURN || part.steps.len() >= RECEIVERS_ASKED_MAX {
                part.next = Some(position);
                break;
            }
            match &wanted {
                Wanted::First(number, run) if (step.number, step.run) != (*number, *run) => {}
                Wanted::Further(of) if step.number != 0 || !of.contains(&(step.receiver, step.sequence)) => {}
                Wanted::First(..) if step.kind == JourneyStep::LeftOut => part.left_out += u64::from(step.sequence),
                Wanted::First(..) | Wanted::Further(_) => part.steps.push(self.step_view(step, now)),
            }
        }
        part
    }

    pub(super) fn accepted_view(&self, entry: &Accepted, now: Timestamp) -> AcceptedView {
        let journeys = &self.journeys;
        let publisher = match entry.source {
            Source::Client => PublisherView::Client(self.name_of(entry.publisher, entry.slot).0),
            Source::Operator => PublisherView::Operator,
            Source::Broker => PublisherView::Broker,
        };
        let commit = journeys.commits.partition_point(|commit| commit.ticket < entry.ticket);
        let has_left = commit == journeys.commits.begin() && commit > 0;
        let stable = match journeys.commits.get(commit) {
            _ if entry.ticket.0 == 0 => StableView::NoRecord,
            _ if !self.pipeline.is_stable(entry.ticket) => StableView::NotYet,
            // An earlier commit, which is not known any more, may have been that of the message.
            Some(_) if has_left => StableView::Unknown,
            Some(commit) => StableView::Since(time_of(commit.at, now)),
            None => StableView::Unknown,
        };
        AcceptedView {
            at: time_of(entry.at, now),
            topic: journeys.topics.get(entry.topic).map(str::to_owned),
            qos: entry.qos,
            publisher,
            stable,
            matched: entry.matched,
            is_complete: entry.steps >= journeys.steps.begin(),
        }
    }

    pub(super) fn step_view(&self, step: &Step, now: Timestamp) -> StepView {
        let (client_id, is_ended) = self.name_of(step.receiver, step.slot);
        StepView {
            at: time_of(step.at, now),
            step: step.kind,
            receiver: step.receiver,
            sequence: step.sequence,
            client_id,
            is_ended,
            reason: step.reason.and_then(reason_from),
        }
    }

    /// The Client Identifier of a Session that is or was in `slot`, and whether it has ended here.
    fn name_of(&self, key: SessionKey, slot: u32) -> (Option<ClientId>, bool) {
        if let Some(entry) = self.sessions.with_key(slot as usize, key) {
            return (Some(entry.subscriber.client_id.clone()), false);
        }
        let name = self.journeys.names.get(key);
        (name.map(|name| name.client_id.clone()), name.is_some_and(|name| name.is_ended))
    }

    fn has_ended(&self, key: SessionKey) -> bool {
        self.journeys.names.get(key).is_some_and(|name| name.is_ended)
    }

    /// Looks for a message in some of the queues. Answers at once, or when messages that only the store has were read.
    pub(in crate::broker) fn on_holders_query(&mut self, id: QueryId, request: HoldersRequest, turn: &mut Turn<'_>) {
        let mut search = Search { query: id, message: request.id, slot: 0, part: HoldersPart::default() };
        let QueuePlace { mut slot, mut sequence } = request.from;
        let mut visits = VISITS_PER_TURN;
        while slot < self.sessions.slots_end() as u64 {
            if visits == 0 {
                search.part.next = Some(QueuePlace { slot, sequence });
                break;
            }
            visits -= 1;
            let Some(entry) = usize::try_from(slot).ok().and_then(|slot| self.sessions.get(slot)) else {
                (slot, sequence) = (slot + 1, 0);
                continue;
            };
            let (mut sequences, mut bytes, mut is_end) = (Vec::new(), READ_BYTES_MAX, true);
            for queued in entry.session.queue_from(sequence) {
                if visits == 0 || sequences.len() == READ_MAX || bytes == 0 {
                    (sequence, is_end) = (queued.sequence, false);
                    break;
                }
                visits -= 1;
                match queued.delivery {
                    Some(delivery) if delivery.message.id == Some(request.id) => {
                        let (key, client_id) = (entry.subscriber.key, &entry.subscriber.client_id);
                        let place = (key, client_id, queued.sequence);
                        search.part.holders.push(holder(place, queued.state, delivery));
                    }
                    None if queued.is_stored => {
                        bytes = bytes.saturating_sub(queued.content.unwrap_or_default());
                        sequences.push(queued.sequence);
                    }
                    Some(_) | None => {}
                }
            }
            let (session, searched) = (entry.subscriber.key, slot);
            if is_end {
                (slot, sequence) = (slot + 1, 0);
            }
            if !sequences.is_empty() {
                search.part.next = Some(QueuePlace { slot, sequence });
                search.part.read = sequences.len();
                search.slot = usize::try_from(searched).unwrap_or(usize::MAX);
                self.journeys.searches.push(search);
                let fetch = Fetch { session, sequences, purpose: Purpose::Search { query: id } };
                return turn.actions.push(Action::Fetch(Box::new(fetch)));
            }
        }
        turn.actions.push(Action::Answer(id, Box::new(Answer::Holders(search.part))));
    }

    /// Messages in which one is looked for were read, as far as they are still in the store.
    pub(in crate::broker) fn on_search_read(
        &mut self,
        id: QueryId,
        session: SessionKey,
        messages: Vec<FetchedMessage>,
        turn: &mut Turn<'_>,
    ) {
        let Some(place) = self.journeys.searches.iter().position(|search| search.query == id) else { return };
        let Search { message: sought, slot, mut part, .. } = self.journeys.searches.swap_remove(place);
        if let Some(entry) = self.session(slot, session) {
            for (sequence, message) in messages {
                let Ok(delivery) = message else { continue };
                let state = || entry.session.queue_from(sequence).next().filter(|queued| queued.sequence == sequence);
                if delivery.message.id == Some(sought)
                    && let Some(queued) = state()
                {
                    part.holders.push(holder(
                        (session, &entry.subscriber.client_id, sequence),
                        queued.state,
                        &delivery,
                    ));
                }
            }
        }
        turn.actions.push(Action::Answer(id, Box::new(Answer::Holders(part))));
    }
}

impl Journeys {
    /// The entry of a message that was accepted here. They are in the order of their numbers.
    pub(super) fn find(&self, id: MessageId, now: Timestamp) -> Option<&Accepted> {
        let is_here = id.run == self.run && id.number >> SHARD_SHIFT == u64::from(self.shard.0);
        let place = self.accepted.partition_point(|entry| entry.number < id.number);
        self.accepted.get(place).filter(|entry| is_here && entry.number == id.number && age(entry.at, now) <= RETENTION)
    }
}

/// The receivers of a message without steps, as far as its place in the counts was not needed for another message.
fn accepted_count(journeys: &Journeys, id: MessageId) -> u64 {
    let Some(run) = journeys.known_run(id.run) else { return 0 };
    let count = journeys.counts.get(short(id.number) as usize % COUNTS);
    let count = count.filter(|count| (count.number, count.run) == (id.number, run));
    count.map_or(0, |count| u64::from(count.left_out))
}

fn holder(
    (key, client_id, sequence): (SessionKey, &ClientId, u64),
    state: QueuedState,
    delivery: &Delivery,
) -> HolderView {
    let message = &delivery.message;
    let topic = message.topic.as_str().to_owned();
    HolderView { key, client_id: client_id.clone(), sequence, state, topic, qos: message.qos }
}

/// The shard is in the upper bits of the number of a message.
const SHARD_SHIFT: u32 = 48;
/// About 0.1 ms.
const STEPS_PER_TURN: u64 = 16_384;
/// Messages and slots that one query looks at.
const VISITS_PER_TURN: usize = 8_192;
/// Messages that are read from the store for one query, and their bytes.
const READ_MAX: usize = 512;
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
