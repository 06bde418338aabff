//! Groups of subscribers of streams. Each message is acknowledged by some member; until a crash, by one only. While a member has a message that it has
//! not acknowledged, no other member gets that one, nor a later one of its key. What members refuse is sent again when it is due and before later ones of
//! its key, and says how often it was refused, or is a dead letter after the last attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use oncemq::broker::{Answer, Event, GroupAnswer, GroupDispatch, GroupQuery, Query, QueryId, Recovered, StreamStart};
use oncemq::codec::{OutgoingPublish, Qos, ReasonCode};

use crate::consumers::is_behind;
use crate::ledger::Message;
use crate::reader::user_properties;
use crate::refusing::{attempts_of, pause_after};
use crate::streams::{Known, stream_named};
use crate::world::{Phase, World};

/// All groups of a run.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) runs: Vec<GroupRun>,
    /// How each stream distributes its messages, in the order of [`STREAMS`](crate::streams::STREAMS).
    pub(crate) dispatch: Vec<GroupDispatch>,
    /// Connections on which DISCONNECT was read.
    left: BTreeSet<usize>,
    /// What an operator has asked for, without an answer: the group and its new position.
    asked: BTreeMap<u64, (usize, u64)>,
}

/// A group, and what became of the messages.
#[derive(Debug)]
pub(crate) struct GroupRun {
    name: &'static str,
    pub(crate) stream: &'static str,
    filter: Option<&'static str>,
    qos: Qos,
    /// Whether all members see the sequences.
    is_marked: bool,
    /// SUBACK was received.
    pub(crate) is_made: bool,
    /// Messages that a member has acknowledged, by sequence.
    acknowledged: BTreeSet<u64>,
    /// How often members that do not see sequences have acknowledged a message.
    unmarked: BTreeMap<usize, u32>,
    /// How often members have refused a message.
    refusals: BTreeMap<u64, u32>,
    /// How often a message has become a dead letter.
    letters: BTreeMap<u64, u32>,
    /// What messages said about others that the stream does not have any more.
    trimmed: Vec<RangeInclusive<u64>>,
    /// An operator has set the position behind these.
    skipped: u64,
    /// Since the last start, or since an operator has set the position.
    recent: Recent,
    /// Whether there was something before that.
    is_interrupted: bool,
    /// All that was sent to members.
    ever_sent: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Recent {
    /// The connection and the Packet Identifier of each message that is not acknowledged.
    in_flight: BTreeMap<u64, (usize, u16)>,
    /// The sequence and the message of each Packet Identifier of a connection.
    by_id: BTreeMap<(usize, u16), (Option<u64>, usize)>,
    /// Acknowledged, or sent at QoS 0.
    done: BTreeSet<u64>,
    sent: BTreeSet<u64>,
    /// The highest sequence that was sent of each key.
    reached: BTreeMap<String, u64>,
    /// Which attempt the next delivery of a message is that was sent.
    attempts: BTreeMap<u64, u32>,
    /// Messages that were refused and not sent since, with the earliest time of their next attempt.
    waiting: BTreeMap<u64, u64>,
}

impl GroupRun {
    pub(crate) fn new(
        name: &'static str,
        (stream, filter): (&'static str, Option<&'static str>),
        qos: Qos,
        is_marked: bool,
    ) -> Self {
        Self {
            name,
            stream,
            filter,
            qos,
            is_marked,
            is_made: false,
            acknowledged: BTreeSet::new(),
            unmarked: BTreeMap::new(),
            refusals: BTreeMap::new(),
            letters: BTreeMap::new(),
            trimmed: Vec::new(),
            skipped: 0,
            recent: Recent::default(),
            is_interrupted: false,
            ever_sent: BTreeSet::new(),
        }
    }

    /// What was sent before may be sent again.
    fn interrupt(&mut self) {
        (self.recent, self.is_interrupted) = (Recent::default(), true);
    }

    fn is(&self, stream: oncemq::broker::StreamNumber, name: &str, filter: Option<&str>) -> bool {
        stream_named(self.stream) == Some(stream) && self.name == name && self.filter == filter
    }
}

impl Groups {
    /// The process has ended.
    pub(crate) fn forget(&mut self) {
        self.left.clear();
        self.asked.clear(); // the position is set, or it is not
        self.runs.iter_mut().for_each(GroupRun::interrupt);
    }

    /// DISCONNECT was read.
    pub(crate) fn leaves(&mut self, connection: usize) {
        self.left.insert(connection);
    }

    /// The key of a message, by which it keeps its order in a group.
    fn key_of(&self, run: &GroupRun, message: &Message) -> Option<String> {
        let dispatch = self.dispatch.get(stream_named(run.stream)?.0 as usize - 1)?;
        match (dispatch, message.key) {
            (GroupDispatch::RoundRobin, _) => None,
            (GroupDispatch::HashKey(_), Some(key)) => Some(format!("key {key}")),
            (GroupDispatch::HashTopic, _) | (GroupDispatch::HashKey(_), None) => Some(message.topic.to_string()),
        }
    }
}

impl World {
    /// The broker sends a message to a member.
    pub(crate) fn tap_group(&mut self, connection: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let client = &self.clients[self.connections[connection].client];
        let Some(group) = client.consumer.as_ref().and_then(|consumer| consumer.group()) else { return Ok(()) };
        let is_v5 = client.profile.is_v5();
        let ledger = &self.checker.ledger;
        let message = ledger.find(&publish.message.payload).ok_or("a message that was not published")?;
        let published = &ledger.messages[message];
        let run = &self.checker.groups.runs[group];
        let qos = published.qos.min(run.qos).min(Qos::AtLeastOnce);
        if publish.dup || publish.retain || publish.qos != qos || published.topic != publish.message.topic {
            return Err(format!("message {message} of a group has the wrong QoS, a flag, or was altered: {publish:?}"));
        }
        if !is_behind(run.filter, &published.topic) {
            return Err(format!("message {message}, which the filter of its group does not match"));
        }
        let sequence = if is_v5 { Some(self.read_marks(group, message, publish)?) } else { None };
        if let Some(sequence) = sequence.filter(|_| self.checker.groups.runs[group].is_marked) {
            self.judge_sending(group, connection, (sequence, message))?;
        }
        let key = self.checker.groups.key_of(&self.checker.groups.runs[group], &self.checker.ledger.messages[message]);
        let run = &mut self.checker.groups.runs[group];
        let recent = &mut run.recent;
        if let Some(id) = publish.packet_id {
            recent.by_id.insert((connection, id.number()), (sequence, message));
        }
        let Some(sequence) = sequence else { return Ok(()) };
        run.ever_sent.insert(sequence);
        recent.waiting.remove(&sequence);
        recent.sent.insert(sequence);
        if let Some(key) = key {
            let reached = recent.reached.entry(key).or_default();
            *reached = sequence.max(*reached);
        }
        match publish.packet_id {
            Some(id) => _ = recent.in_flight.insert(sequence, (connection, id.number())),
            None => _ = recent.done.insert(sequence),
        }
        Ok(())
    }

    /// The sequence of a message. What its properties say must be true.
    fn read_marks(&mut self, group: usize, message: usize, publish: &OutgoingPublish) -> Result<u64, String> {
        let run = &self.checker.groups.runs[group];
        let (topic, properties) = (&publish.message.topic, &publish.message.properties);
        let user = |wanted: &str| user_properties(properties).find(|(name, _)| name == wanted).map(|(_, value)| value);
        let number = |name: &str| user(name).and_then(|text| text.parse::<u64>().ok());
        let is_of = user("stream").as_deref() == Some(run.stream);
        let sequence = number("stream-sequence").filter(|_| is_of).ok_or(format!("message {message} has no place"))?;
        let is = Known { message, timestamp: number("stream-timestamp").ok_or("no timestamp")? };
        let stream = stream_named(run.stream).unwrap();
        let known = self.checker.streams.at_or_claimed(stream, sequence, is);
        if known != is {
            return Err(format!("{sequence} is {is:?}, but the stream has {known:?}"));
        }
        let previous = user("stream-previous").ok_or("no previous message")?;
        if previous != "none" && !previous.parse().is_ok_and(|previous| run.ever_sent.contains(&previous)) {
            return Err(format!("{sequence} comes after {previous}, which was not sent"));
        }
        if user("stream-unreadable").is_some() {
            return Err(format!("messages before {sequence} are said to be damaged"));
        }
        let attempt = number("delivery-attempt").map_or(1, |attempt| u32::try_from(attempt).unwrap_or(u32::MAX));
        let refusals = run.refusals.get(&sequence).copied().unwrap_or_default();
        let is_attempt = match run.recent.attempts.get(&sequence) {
            Some(expected) => attempt == *expected,
            // A crash forgets refusals, and so does an operator who sets the position.
            None => attempt <= refusals + 1 && (attempt == 1 || run.is_interrupted),
        };
        if !is_attempt || attempt > attempts_of(topic).unwrap_or(1) {
            return Err(format!(
                "{sequence}, refused {refusals} times, is sent as attempt {attempt}: {:?}",
                run.recent
            ));
        }
        if let Some(range) = user("stream-trimmed") {
            let (from, to) = range.split_once('-').ok_or("no range")?;
            let (from, to): (u64, u64) = (from.parse().unwrap_or(0), to.parse().unwrap_or(u64::MAX));
            if to >= self.checker.streams.oldest_of(run.stream) {
                return Err(format!("{range} is said to be trimmed, at {sequence}"));
            }
            self.checker.groups.runs[group].trimmed.push(from..=to);
        }
        self.checker.groups.runs[group].recent.attempts.insert(sequence, attempt);
        Ok(sequence)
    }

    /// Whether a message may be sent to a member now.
    fn judge_sending(&self, group: usize, connection: usize, (sequence, message): (u64, usize)) -> Result<(), String> {
        let groups = &self.checker.groups;
        let (run, messages) = (&groups.runs[group], &self.checker.ledger.messages);
        let recent = &run.recent;
        let name = run.name;
        let is_live = |other: usize| self.connections[other].is_open() && !groups.left.contains(&other);
        if recent.done.contains(&sequence) {
            return Err(format!("group {name}: {sequence} is sent again after its PUBACK"));
        }
        if let Some((other, _)) = recent.in_flight.get(&sequence).filter(|(other, _)| is_live(*other)) {
            return Err(format!("group {name}: {sequence} is in flight on connection {other}, too"));
        }
        if let Some(due) = recent.waiting.get(&sequence).filter(|due| **due > self.now) {
            return Err(format!("group {name}: {sequence} was refused, and is sent again before {due}"));
        }
        let Some(key) = groups.key_of(run, &messages[message]) else { return Ok(()) };
        let stream = stream_named(run.stream).unwrap();
        let is_same = |other: u64| {
            let message = &messages[self.checker.streams.at(stream, other).unwrap().message];
            let may_be_gone = message.expiry.is_some() || self.checker.streams.is_gone(run.stream, other);
            !may_be_gone && groups.key_of(run, message).as_ref() == Some(&key)
        };
        let mut earlier = recent.in_flight.range(..sequence);
        if let Some((earlier, on)) = earlier.find(|(other, (on, _))| *on != connection && is_same(**other)) {
            return Err(format!("group {name}: {sequence} overtakes {earlier} of {key}, sent as {on:?}"));
        }
        let mut refused = recent.waiting.keys().take_while(|other| **other < sequence);
        if let Some(earlier) = refused.find(|other| is_same(**other)) {
            return Err(format!("group {name}: {sequence} overtakes {earlier} of {key}, which was refused"));
        }
        let is_again = recent.waiting.contains_key(&sequence);
        let is_ahead = |on: usize| is_live(on) && !(is_again && on == connection);
        let mut later = recent.in_flight.range(sequence + 1..);
        if let Some((later, on)) = later.find(|(other, (on, _))| is_ahead(*on) && is_same(**other)) {
            return Err(format!("group {name}: {sequence} comes behind {later} of {key}, sent as {on:?}"));
        }
        let reached = recent.reached.get(&key).copied().unwrap_or_default();
        if sequence < reached && !recent.sent.contains(&sequence) {
            return Err(format!("group {name}: {sequence} comes for the first time after {reached} of {key}"));
        }
        Ok(())
    }

    /// The broker reads PUBACK of a member.
    pub(crate) fn on_group_puback(&mut self, connection: usize, id: u16, code: ReasonCode) {
        let now = self.now;
        let client = &self.clients[self.connections[connection].client];
        let Some(group) = client.consumer.as_ref().and_then(|consumer| consumer.group()) else { return };
        let run = &mut self.checker.groups.runs[group];
        let Some((sequence, message)) = run.recent.by_id.remove(&(connection, id)) else { return };
        let Some(sequence) = sequence else {
            *run.unmarked.entry(message).or_default() += 1;
            return;
        };
        if run.recent.in_flight.get(&sequence) != Some(&(connection, id)) {
            return;
        }
        run.recent.in_flight.remove(&sequence);
        let attempts_max = attempts_of(&self.checker.ledger.messages[message].topic).filter(|_| code.is_error());
        let Some(attempts_max) = attempts_max.filter(|_| self.mix.refuses_messages) else {
            // Without a rule, a refusal is an acknowledgement.
            run.recent.done.insert(sequence);
            run.acknowledged.insert(sequence);
            return;
        };
        *run.refusals.entry(sequence).or_default() += 1;
        let attempt = run.recent.attempts.entry(sequence).or_insert(1);
        if *attempt < attempts_max {
            run.recent.waiting.insert(sequence, now + pause_after(*attempt));
            *attempt += 1;
        } else {
            run.recent.done.insert(sequence);
        }
    }

    /// A dead letter of a group has arrived.
    pub(crate) fn on_group_letter(&mut self, publish: &OutgoingPublish) -> Result<(), String> {
        let properties = &publish.message.properties;
        let user = |wanted: &str| user_properties(properties).find(|(name, _)| name == wanted).map(|(_, value)| value);
        let Some(name) = user("group") else { return Ok(()) }; // that of a Session
        let number = |name: &str| user(name).and_then(|text| text.parse::<u64>().ok());
        let message =
            self.checker.ledger.find(&publish.message.payload).ok_or("a dead letter that was not published")?;
        let fault = |text: &str| format!("the dead letter of message {message}: {text}: {publish:?}");
        let attempts_max = attempts_of(&self.checker.ledger.messages[message].topic);
        if attempts_max.is_none() || number("attempts") != attempts_max.map(u64::from) {
            return Err(fault("before the last attempt"));
        }
        let sequence = number("stream-sequence").ok_or_else(|| fault("no sequence"))?;
        let run = self.checker.groups.runs.iter_mut().find(|run| run.name == name).ok_or_else(|| fault("no group"))?;
        let known = self.checker.streams.at(stream_named(run.stream).unwrap(), sequence);
        if known.map(|known| known.message) != Some(message) {
            return Err(fault("another message is there"));
        }
        let letters = run.letters.entry(sequence).or_default();
        *letters += u32::from(!publish.dup || *letters == 0);
        let refusals = run.refusals.get(&sequence).copied().unwrap_or_default();
        // A crash may forget the last refusal only.
        if refusals + 1 < *letters + attempts_max.unwrap_or(0) || !run.is_interrupted && *letters > 1 {
            return Err(fault(&format!("{letters} of them after {refusals} refusals")));
        }
        Ok(())
    }

    /// A group whose SUBACK was received is in the store.
    pub(crate) fn check_recovered_groups(&self, recovered: &Recovered) -> Result<(), String> {
        for run in self.checker.groups.runs.iter().filter(|run| run.is_made) {
            let is_there = |group: &oncemq::broker::StreamGroup| {
                run.is(group.stream, &group.name, group.filter.as_ref().map(|filter| filter.as_str()))
            };
            if !recovered.groups.iter().any(is_there) {
                return Err(format!("the group {} of {} is lost", run.name, run.stream));
            }
        }
        Ok(())
    }

    /// Each message is acknowledged by some member.
    pub(crate) fn check_groups(&self) -> Result<(), String> {
        for run in &self.checker.groups.runs {
            let stream = stream_named(run.stream).unwrap();
            let mut missing = BTreeMap::<usize, Vec<u64>>::new();
            for (sequence, known) in self.checker.streams.known.get(&stream).into_iter().flatten() {
                let message = &self.checker.ledger.messages[known.message];
                let may_be_left_out = message.expiry.is_some()
                    || message.qos.min(run.qos) == Qos::AtMostOnce
                    || *sequence < run.skipped
                    || run.letters.contains_key(sequence)
                    || run.trimmed.iter().any(|range| range.contains(sequence))
                    || self.checker.streams.is_gone(run.stream, *sequence);
                let is_wanted = is_behind(run.filter, &message.topic);
                if is_wanted && !may_be_left_out && !run.acknowledged.contains(sequence) {
                    missing.entry(known.message).or_default().push(*sequence);
                }
            }
            for (message, sequences) in missing {
                let times = run.unmarked.get(&message).copied().unwrap_or_default() as usize;
                if times < sequences.len() {
                    let (group, name) = (run.name, run.stream);
                    return Err(format!(
                        "group {group}: message {message}, {sequences:?} of {name}, was acknowledged {times} times"
                    ));
                }
            }
            for view in self.shared.groups_of(stream) {
                if run.is(stream, &view.name, view.filter.as_ref().map(|filter| filter.as_str()))
                    && (view.lag, view.in_flight) != (0, 0)
                {
                    return Err(format!("the group has not done all: {view:?}"));
                }
            }
        }
        Ok(())
    }

    /// The operator sets the position of a group, mostly back.
    pub(crate) fn operate_groups(&mut self) {
        if self.restarting.is_some() || self.phase != Phase::Busy || self.checker.groups.runs.is_empty() {
            return;
        }
        let group = self.rng.index(self.checker.groups.runs.len());
        let shard = self.rng.index(self.shards.len());
        let run = &self.checker.groups.runs[group];
        let stream = stream_named(run.stream).unwrap();
        let views = self.shared.groups_of(stream);
        let is_it = |view: &&oncemq::broker::GroupView| {
            run.is(stream, &view.name, view.filter.as_ref().map(|filter| filter.as_str()))
        };
        let Some(number) = views.iter().find(is_it).map(|view| view.number) else { return };
        let reader = self.log.store().stream_reader(stream.0).unwrap();
        let (oldest, end) = (reader.oldest(), reader.end());
        let to = self.rng.between(oldest, oldest + (end - oldest) / 4);
        let id = self.operator.next_request();
        self.checker.groups.asked.insert(id, (group, to));
        // If a crash comes before the answer, it is not known whether the position was set.
        let run = &mut self.checker.groups.runs[group];
        run.skipped = run.skipped.max(to);
        self.trace.note(self.now, None, || format!("operator sets group {number} of {stream:?} to {to}"));
        let query = Query::Groups(GroupQuery::Reset(number, StreamStart::Sequence(to)));
        self.handle(shard, Event::Query(QueryId(id), Box::new(query)));
        // Without an answer, it is set in memory, and not stable yet.
        if self.checker.groups.asked.contains_key(&id) {
            self.checker.groups.runs[group].interrupt();
        }
    }

    /// An answer to the operator.
    pub(crate) fn on_group_answer(&mut self, id: u64, answer: &Answer) {
        let (Some(_), Answer::Group(answer)) = (self.checker.groups.asked.remove(&id), answer) else { return };
        if !matches!(answer, GroupAnswer::Done | GroupAnswer::Busy | GroupAnswer::Trimmed(_)) {
            self.fail(None, format!("a position can't be set: {answer:?}"));
        }
    }
}
