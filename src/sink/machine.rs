use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, Event, RequestId, Stored};
use super::backoff::Backoff;
use super::delivery::Delivery;
use super::lanes::{Entry, Lanes};
use super::outcome::Outcome;
use super::settings::Settings;
use crate::timestamp::Timestamp;

/// The messages that a sink has taken from its Session and not acknowledged, and what happens to each.
///
/// A message is in a lane, or in one batch. A batch is a request that is under way or waits to be tried again, or a dead letter. Its messages
/// keep their lanes busy, so that what comes later waits for them.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    backoff: Backoff,
    lanes: Lanes,
    batches: HashMap<RequestId, Batch>,
    /// Those that wait for their time.
    waiting: BTreeSet<(Timestamp, RequestId)>,
    /// The requests whose time has come, and that wait for a place.
    due: VecDeque<RequestId>,
    /// The dead letters that do.
    due_burials: VecDeque<RequestId>,
    requests: usize,
    burials: usize,
    next_id: u64,
    /// The receiver wants no request before.
    paused_until: Timestamp,
    /// Messages of QoS 0 that are here, and their bytes.
    unacknowledged: (usize, usize),
    held: usize,
    counts: Counts,
    is_closed: bool,
}

/// What became of messages and requests, since the sink started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that the receiver has.
    pub delivered: u64,
    /// Requests that were answered with success.
    pub batches: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Messages that were published to the dead letter topic.
    pub dead_letters: u64,
    /// Messages that are lost: there is no dead letter topic, it did not take them, or they were too many of QoS 0.
    pub dropped: u64,
}

/// Messages that are together in a request, or the message of a dead letter.
#[derive(Debug)]
struct Batch {
    entries: Vec<Entry>,
    /// How often it was tried in this stage.
    attempts: u32,
    /// Why it becomes a dead letter.
    burial: Option<Arc<str>>,
}

impl Machine {
    /// A sink without messages. `seed` decides how its pauses vary.
    pub fn new(settings: Settings, seed: u64) -> Self {
        assert!(settings.batch_max > 0 && settings.requests_max > 0, "a request has a message and a place");
        let backoff = Backoff::new(seed, (settings.retry_min, settings.retry_max));
        Self {
            settings,
            backoff,
            lanes: Lanes::default(),
            batches: HashMap::new(),
            waiting: BTreeSet::new(),
            due: VecDeque::new(),
            due_burials: VecDeque::new(),
            requests: 0,
            burials: 0,
            next_id: 0,
            paused_until: Timestamp::default(),
            unacknowledged: (0, 0),
            held: 0,
            counts: Counts::default(),
            is_closed: false,
        }
    }

    /// Applies `event` at `now`, and appends what the caller must do.
    pub fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Arrived(delivery) => self.on_arrived(now, delivery, actions),
            Event::Answered(id, outcome) => self.on_answered(now, id, outcome, actions),
            Event::Buried(id, stored) => self.on_buried(now, id, stored, actions),
            Event::DeadlinePassed => {}
        }
        self.proceed(now, actions);
        assert!(self.requests <= self.settings.requests_max && self.burials <= BURIALS_MAX);
    }

    /// The connection of the Session has ended: it sends again what is not acknowledged, so all is forgotten but the counts.
    pub fn forget(&mut self) {
        self.lanes = Lanes::default();
        self.batches.clear();
        self.waiting.clear();
        self.due.clear();
        self.due_burials.clear();
        (self.requests, self.burials, self.held, self.unacknowledged) = (0, 0, 0, (0, 0));
    }

    /// When [`Event::DeadlinePassed`] is needed; `None`: not before another event.
    pub fn deadline(&self) -> Option<Timestamp> {
        let has_place = self.requests < self.settings.requests_max;
        let batch = self.lanes.due(&self.settings).map(|due| due.max(self.paused_until)).filter(|_| has_place);
        let again = self.due.front().map(|_| self.paused_until).filter(|_| has_place);
        [self.waiting.first().map(|(due, _)| *due), batch, again].into_iter().flatten().min()
    }

    /// What became of messages and requests.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts on from these.
    #[must_use]
    pub const fn counting_from(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }

    /// Nothing more is begun: answers are still taken.
    pub const fn close(&mut self) {
        self.is_closed = true;
    }

    /// The messages that are not acknowledged, and the requests under way.
    pub const fn load(&self) -> (usize, usize) {
        (self.held, self.requests)
    }

    fn on_arrived(&mut self, now: Timestamp, delivery: Delivery, actions: &mut Vec<Action>) {
        let message = Arc::new(delivery);
        if message.to_acknowledge().is_none() {
            let (messages, bytes) = &mut self.unacknowledged;
            if *messages >= self.settings.unacknowledged_max || *bytes >= UNACKNOWLEDGED_BYTES_MAX {
                self.counts.dropped += 1;
                let reason = "the receiver is too slow for messages of QoS 0".into();
                return actions.push(Action::Dropped { message, reason });
            }
            *messages += 1;
            *bytes += message.bytes();
        }
        self.held += 1;
        self.lanes.push(&self.settings, Entry { message, arrived: now, alone_after: None });
    }

    fn on_answered(&mut self, now: Timestamp, id: RequestId, outcome: Outcome, actions: &mut Vec<Action>) {
        // An answer to a request of a former connection has no batch.
        let Some(batch) = self.batches.remove(&id) else { return };
        self.requests -= 1;
        match outcome {
            Outcome::Delivered => {
                self.counts.batches += 1;
                self.counts.delivered += batch.entries.len() as u64;
                self.finish(batch.entries, actions);
            }
            Outcome::Again { reason, pause } => {
                if let Some(pause) = pause {
                    self.paused_until = self.paused_until.max(now + pause);
                }
                if batch.attempts > self.settings.retries_max {
                    // Each message has one more attempt, by itself.
                    self.give_up(now, batch, (reason, self.settings.retries_max), actions);
                } else {
                    self.wait(now, id, batch, pause);
                }
            }
            // What is not to blame has all its attempts.
            Outcome::Refused(reason) => self.give_up(now, batch, (reason, 0), actions),
        }
    }

    fn on_buried(&mut self, now: Timestamp, id: RequestId, stored: Stored, actions: &mut Vec<Action>) {
        let Some(batch) = self.batches.remove(&id) else { return };
        self.burials -= 1;
        match stored {
            Stored::Yes => {
                self.counts.dead_letters += batch.entries.len() as u64;
                self.finish(batch.entries, actions);
            }
            Stored::No(_) if batch.attempts <= self.settings.retries_max => self.wait(now, id, batch, None),
            Stored::No(reason) | Stored::Never(reason) => self.drop_all(batch.entries, &reason, actions),
        }
    }

    /// The batch is tried again after a pause.
    fn wait(&mut self, now: Timestamp, id: RequestId, batch: Batch, pause: Option<Duration>) {
        let pause = self.backoff.pause(batch.attempts).max(pause.unwrap_or_default());
        self.waiting.insert((now + pause, id));
        self.batches.insert(id, batch);
    }

    /// A request is not tried again. Its messages are tried one by one, as if so many attempts were made, so that one of them does not take the
    /// others with it; a single one becomes a dead letter.
    fn give_up(
        &mut self,
        now: Timestamp,
        mut batch: Batch,
        (reason, attempts): (Arc<str>, u32),
        actions: &mut Vec<Action>,
    ) {
        if batch.entries.len() > 1 {
            let messages: Vec<_> = batch.entries.iter().map(|entry| Arc::clone(&entry.message)).collect();
            self.lanes.give_back(&self.settings, batch.entries, attempts);
            return self.lanes.release(&self.settings, messages.iter());
        }
        let becomes_dead_letter = |entry: &Entry| {
            let topic = self.settings.dead_letter_topic.as_ref();
            entry.message.to_acknowledge().is_some() && topic.is_some_and(|topic| topic != entry.message.topic())
        };
        if !batch.entries.iter().all(becomes_dead_letter) {
            return self.drop_all(batch.entries, &reason, actions);
        }
        let id = self.new_id();
        (batch.attempts, batch.burial) = (0, Some(reason));
        self.waiting.insert((now, id));
        self.batches.insert(id, batch);
    }

    fn drop_all(&mut self, entries: Vec<Entry>, reason: &Arc<str>, actions: &mut Vec<Action>) {
        self.counts.dropped += entries.len() as u64;
        let dropped =
            |entry: &Entry| Action::Dropped { message: Arc::clone(&entry.message), reason: Arc::clone(reason) };
        actions.extend(entries.iter().map(dropped));
        self.finish(entries, actions);
    }

    /// The messages are at their end.
    fn finish(&mut self, entries: Vec<Entry>, actions: &mut Vec<Action>) {
        for entry in &entries {
            self.held -= 1;
            match entry.message.to_acknowledge() {
                Some((id, qos)) => actions.push(Action::Acknowledge(id, qos)),
                None => {
                    self.unacknowledged.0 -= 1;
                    self.unacknowledged.1 -= entry.message.bytes();
                }
            }
        }
        self.lanes.release(&self.settings, entries.iter().map(|entry| &entry.message));
    }

    /// Starts what may start.
    fn proceed(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.is_closed {
            return;
        }
        while let Some((_, id)) = self.waiting.first().copied().filter(|(due, _)| *due <= now) {
            self.waiting.pop_first();
            match self.batches.get(&id).is_some_and(|batch| batch.burial.is_some()) {
                true => self.due_burials.push_back(id),
                false => self.due.push_back(id),
            }
        }
        while self.burials < BURIALS_MAX
            && let Some(id) = self.due_burials.pop_front()
        {
            self.bury(id, actions);
        }
        while self.requests < self.settings.requests_max && now >= self.paused_until {
            if let Some(id) = self.due.pop_front() {
                self.counts.retries += 1;
                self.send(id, actions);
            } else if let Some(entries) = self.lanes.take(&self.settings, now) {
                let attempts = entries.first().and_then(|entry| entry.alone_after).unwrap_or(0);
                let id = self.new_id();
                self.batches.insert(id, Batch { entries, attempts, burial: None });
                self.send(id, actions);
            } else {
                break;
            }
        }
    }

    fn send(&mut self, id: RequestId, actions: &mut Vec<Action>) {
        let Some(batch) = self.batches.get_mut(&id) else { return };
        batch.attempts = batch.attempts.saturating_add(1);
        self.requests += 1;
        let messages = batch.entries.iter().map(|entry| Arc::clone(&entry.message)).collect();
        actions.push(Action::Send { id, attempt: batch.attempts, messages });
    }

    fn bury(&mut self, id: RequestId, actions: &mut Vec<Action>) {
        let Some(batch) = self.batches.get_mut(&id) else { return };
        batch.attempts = batch.attempts.saturating_add(1);
        self.burials += 1;
        let Some(reason) = batch.burial.clone() else { return };
        let messages = batch.entries.iter().map(|entry| Arc::clone(&entry.message));
        actions.extend(messages.map(|message| Action::Bury { id, message, reason: Arc::clone(&reason) }));
    }

    const fn new_id(&mut self) -> RequestId {
        self.next_id += 1;
        RequestId(self.next_id)
    }

    #[cfg(test)]
    fn check(&self) {
        self.lanes.check();
        let waiting = self.waiting.len() + self.due.len() + self.due_burials.len();
        assert_eq!(self.batches.len(), waiting + self.requests + self.burials);
    }
}

/// Dead letters on their way. The broker's Receive Maximum bounds them, too.
const BURIALS_MAX: usize = 16;
/// Messages of QoS 0 beyond this wait for no request.
const UNACKNOWLEDGED_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests;
