//! Gathers the steps of the messages in the sample from all shards.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::Inbox;
use super::encode::Encoder;
use super::trace::OpenTrace;
use crate::broker::{ACCEPTED_ASKED_MAX, Answer, Query, SampledMessage, TailPart, TailPlace, TailRequest};
use crate::codec::MessageId;
use crate::routing::ShardId;
use crate::server::queries::Queries;
use crate::server::status::Status;
use crate::server::telemetry_figures::SpanResult;
use crate::timestamp::Timestamp;

/// What the thread knows between two looks.
pub(super) struct Collector {
    inbox: Arc<Inbox>,
    queries: Queries,
    status: Arc<Status>,
    encoder: Encoder,
    /// Where to continue at each shard.
    positions: Vec<Option<u64>>,
    /// At most [`OPEN_MAX`].
    open: HashMap<MessageId, OpenTrace, RandomState>,
    /// Their identities. Shards have it while they are asked, and it is copied if they still do when it changes.
    messages: Arc<HashSet<MessageId, RandomState>>,
    /// The places of their receivers; the same.
    places: Arc<HashMap<TailPlace, MessageId, RandomState>>,
}

impl Collector {
    pub(super) fn new(inbox: Arc<Inbox>, queries: Queries, status: Arc<Status>, encoder: Encoder) -> Self {
        let positions = vec![None; queries.shards()];
        let (open, messages, places) = (HashMap::default(), Arc::default(), Arc::default());
        Self { inbox, queries, status, encoder, positions, open, messages, places }
    }

    /// Runs until `stop` is dropped, and then ends all traces.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        self.inbox.take();
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.status.publish_telemetry(self.inbox.figures());
            select! {
                _ = looks.tick() => {}
                _ = &mut stop => break,
            }
            self.look(LAG).await;
        }
        self.look(Duration::ZERO).await;
        self.end_traces(|_| true);
        self.flush();
        self.status.publish_telemetry(self.inbox.figures());
    }

    /// Takes new messages, their steps until `lag` ago, and makes spans of the messages that are over. Later steps wait: their messages may
    /// not be known yet.
    async fn look(&mut self, lag: Duration) {
        let now = self.status.now();
        self.take_messages();
        let until = Timestamp(now.0.saturating_sub(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)));
        if self.open.is_empty() {
            self.positions.fill(None);
        } else {
            for (shard, _) in (0..).zip(0..self.positions.len()) {
                self.ask(ShardId(shard), until).await;
            }
            self.end_traces(|trace| trace.is_over(until));
        }
        self.flush();
    }

    fn take_messages(&mut self) {
        for message in self.inbox.take() {
            match message.id {
                None => self.encoder.add(&OpenTrace::new(message), &self.status),
                Some(id) if self.open.len() < OPEN_MAX => {
                    Arc::make_mut(&mut self.messages).insert(id);
                    self.open.insert(id, OpenTrace::new(message));
                }
                Some(_) => self.inbox.count(SpanResult::Dropped, 1),
            }
        }
    }

    /// Takes all steps of a shard until this time. What it doesn't answer is asked again at the next look.
    async fn ask(&mut self, shard: ShardId, until: Timestamp) {
        let at = usize::from(shard.0);
        let is_here = |trace: &&OpenTrace| trace.awaits_commit() && shard_of(&trace.message) == Some(shard);
        let ids = self.open.values().filter(is_here).filter_map(|trace| trace.message.id);
        let mut accepted: Vec<MessageId> = ids.take(ACCEPTED_ASKED_MAX).collect();
        let since = self.open.values().map(|trace| trace.message.at).min().unwrap_or_default();
        loop {
            let request = TailRequest {
                messages: Arc::clone(&self.messages),
                places: Arc::clone(&self.places),
                from: self.positions.get(at).copied().flatten(),
                since,
                until,
                accepted: std::mem::take(&mut accepted),
            };
            let Ok(Answer::Tail(part)) = self.queries.ask(shard, Query::Tail(Box::new(request))).await else { return };
            let has_more = part.has_more;
            if let Some(position) = self.positions.get_mut(at) {
                *position = Some(part.next);
            }
            self.add(*part);
            if !has_more {
                return;
            }
        }
    }

    fn add(&mut self, part: TailPart) {
        for (id, accepted) in part.accepted {
            if let Some(trace) = self.open.get_mut(&id) {
                trace.accepted = Some(accepted);
            }
        }
        for (id, step) in part.steps {
            let place = (step.receiver, step.sequence);
            match id {
                Some(id) => {
                    if let Some(trace) = self.open.get_mut(&id)
                        && trace.begin(place, step)
                    {
                        Arc::make_mut(&mut self.places).insert(place, id);
                    }
                }
                None => {
                    if let Some(trace) = self.places.get(&place).and_then(|id| self.open.get_mut(id)) {
                        trace.add(place, step);
                    }
                }
            }
        }
    }

    fn end_traces(&mut self, is_over: impl Fn(&OpenTrace) -> bool) {
        let (messages, places) = (Arc::make_mut(&mut self.messages), Arc::make_mut(&mut self.places));
        for (id, trace) in self.open.extract_if(|_, trace| is_over(trace)) {
            messages.remove(&id);
            for place in trace.places() {
                places.remove(&place);
            }
            self.encoder.add(&trace, &self.status);
        }
    }

    fn flush(&mut self) {
        let dropped = self.encoder.flush();
        self.inbox.count(SpanResult::Dropped, dropped);
    }
}

/// The shard that has accepted a message: it is in the upper bits of its number.
fn shard_of(message: &SampledMessage) -> Option<ShardId> {
    u16::try_from(message.id?.number >> 48).ok().map(ShardId)
}

/// How often the shards are asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A step of a message that is not in the inbox yet is at most so old: far longer than a turn.
const LAG: Duration = Duration::from_secs(1);
/// Messages of which traces are being made, about 5 KiB each if all have many receivers.
const OPEN_MAX: usize = 4_096;
