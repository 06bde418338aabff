//! The streams of the broker, driven as the server drives them: opened and defined at each start, written behind the commits, and read for their
//! subscribers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use oncemq::broker::{
    Event, GroupDispatch, Recovered, Stream, StreamBounds, StreamChunk, StreamDefinition, StreamNumber, StreamRequest,
    StreamStart, StreamTable, TrimmedOffset,
};
use oncemq::store::{Progress, StreamReadError};
use oncemq::topic::{TopicFilter, TopicName};

use crate::ledger::{KEY, number_in};
use crate::world::{Phase, Step, World};

/// The streams of a run, by name.
pub(crate) const STREAMS: [(&str, &str); 3] = [("every", "t/#"), ("one", "t/1"), ("kept", "r/#")];

/// What the streams have, as the files show it.
#[derive(Debug, Default)]
pub(crate) struct StreamLedger {
    /// By stream and sequence.
    pub(crate) known: BTreeMap<StreamNumber, BTreeMap<u64, Known>>,
    /// The messages that members of groups were sent before the streams had them: they are stable, so the streams get them.
    pub(crate) claimed: BTreeMap<(StreamNumber, u64), Known>,
    /// Where an operator trimmed each stream.
    pub(crate) oldest: BTreeMap<StreamNumber, u64>,
    /// The keeper is scheduled.
    keeping: bool,
    /// What retained messages said: the stream, the sequence, and the message.
    pub(crate) said: Vec<(StreamNumber, u64, usize)>,
    /// The messages that were removed because there are later ones with their keys.
    pub(crate) removed: BTreeSet<(StreamNumber, u64)>,
}

/// A message of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its number in the ledger.
    pub(crate) message: usize,
    /// When the broker accepted it.
    pub(crate) timestamp: u64,
}

impl StreamLedger {
    /// The message with this sequence, which the stream has or a member of a group was sent.
    pub(crate) fn at(&self, stream: StreamNumber, sequence: u64) -> Option<Known> {
        let known = self.known.get(&stream).and_then(|known| known.get(&sequence));
        known.or_else(|| self.claimed.get(&(stream, sequence))).copied()
    }

    /// The same; if there is none, it is `claimed` from now on.
    pub(crate) fn at_or_claimed(&mut self, stream: StreamNumber, sequence: u64, claimed: Known) -> Known {
        self.at(stream, sequence).unwrap_or_else(|| *self.claimed.entry((stream, sequence)).or_insert(claimed))
    }
}

/// The stream with this name.
pub(crate) fn stream_named(name: &str) -> Option<StreamNumber> {
    let place = STREAMS.iter().position(|(known, _)| *known == name)?;
    Some(StreamNumber(u32::try_from(place).unwrap() + 1))
}

/// The streams that keep the messages of a topic.
pub(crate) fn streams_of(topic: &TopicName) -> impl Iterator<Item = StreamNumber> {
    let filter = |topic: &'static str| TopicFilter::new(topic.into()).unwrap();
    let names = STREAMS.iter().filter(move |(_, wanted)| filter(wanted).matches(topic));
    names.filter_map(|(name, _)| stream_named(name))
}

fn table(dispatch: &[GroupDispatch]) -> StreamTable {
    let dispatch = dispatch.iter().cloned().chain(std::iter::repeat_with(GroupDispatch::default));
    StreamTable::new(STREAMS.iter().zip(dispatch).map(|((name, topic), group_dispatch)| Stream {
        number: stream_named(name).unwrap(),
        name: (*name).into(),
        topic: TopicFilter::new((*topic).into()).unwrap(),
        is_open: true,
        trimmed_offset: TrimmedOffset::Oldest,
        group_dispatch,
    }))
}

impl World {
    /// Opens the streams at the first start.
    pub(crate) fn begin_streams(&mut self) {
        if !self.mix.streams {
            return;
        }
        for (name, _) in STREAMS {
            self.log.open_stream(stream_named(name).unwrap()).unwrap();
        }
        self.define_streams(&[]);
        if self.mix.groups {
            let choices = [GroupDispatch::RoundRobin, GroupDispatch::HashTopic, GroupDispatch::HashKey(KEY.into())];
            self.checker.groups.dispatch = STREAMS.map(|_| choices[self.rng.index(choices.len())].clone()).to_vec();
        }
        self.shared.set_streams(table(&self.checker.groups.dispatch));
        self.begin_compaction();
        if self.mix.trims {
            let delay = self.rng.between(1, TRIM_INTERVAL_MAX);
            self.schedule(delay, Step::Trim);
        }
    }

    /// Opens the streams at a start after a crash. The store has opened their files.
    pub(crate) fn resume_streams(&mut self, recovered: &Recovered) {
        if !self.mix.streams {
            return;
        }
        self.checker.streams.keeping = false;
        self.define_streams(&recovered.streams);
        STREAMS.iter().for_each(|(name, _)| self.observe(stream_named(name).unwrap(), 0));
        if let Some((lost, known)) = self.checker.streams.claimed.first_key_value() {
            self.fail(None, format!("a message of a stream that a group was sent is lost: {lost:?}, {known:?}"));
        }
    }

    /// The new shards get the streams.
    pub(crate) fn set_streams(&mut self) {
        if !self.mix.streams {
            return;
        }
        self.shared.set_streams(table(&self.checker.groups.dispatch));
        for (name, _) in STREAMS {
            let stream = stream_named(name).unwrap();
            let reader = self.log.store().stream_reader(stream.0).unwrap();
            self.shared.stream_advanced(stream, reader.oldest()..reader.end(), |_| ());
        }
    }

    /// Stores the definitions that the store does not have.
    fn define_streams(&mut self, recovered: &[StreamDefinition]) {
        for definition in recovered {
            let is_known = stream_named(&definition.name) == Some(definition.number);
            if !is_known {
                return self.fail(None, format!("an exchanged definition: {definition:?}"));
            }
        }
        for (name, topic) in STREAMS {
            let number = stream_named(name).unwrap();
            if recovered.iter().any(|definition| definition.number == number) {
                continue;
            }
            if self.checker.streams.known.get(&number).is_some_and(|known| !known.is_empty()) {
                return self.fail(None, format!("the definition of {name} is lost"));
            }
            let topic = TopicFilter::new(topic.into()).unwrap();
            let (name, created, bounds) = (name.into(), self.now, StreamBounds::default());
            self.log.now = self.now;
            self.log.append_definition(&StreamDefinition { number, name, topic, created, bounds, key: None });
        }
        self.sync_soon();
    }

    /// Lets the keeper write soon, if there is something to write.
    pub(crate) fn keep_soon(&mut self) {
        if self.mix.streams && !std::mem::replace(&mut self.checker.streams.keeping, true) {
            let delay = self.delay(self.mix.sync_delay);
            self.schedule(delay, Step::Keep);
        }
    }

    /// The keeper writes what is stable, and wakes the shards that wait for it.
    pub(crate) fn on_keep(&mut self) {
        self.checker.streams.keeping = false;
        let syncs = self.rng.percent(30);
        let progress = self.log.keep(syncs);
        self.trace.note(self.now, None, || format!("streams: {progress:?}"));
        match progress {
            Progress::Failed => return self.fail(None, "a stream can't be written".to_owned()),
            Progress::Worked | Progress::Blocked => self.keep_soon(),
            Progress::Idle => {}
        }
        let advanced = std::mem::take(&mut *self.log.advanced.lock().unwrap());
        for (group, end) in advanced {
            let Some(stream) = StreamNumber::of_group(group) else { continue };
            let next = self.checker.streams.known.get(&stream).and_then(|known| Some(known.last_key_value()?.0 + 1));
            self.observe(stream, next.unwrap_or_default());
            self.advance_stream(stream, 0..end);
        }
        self.announce_room();
    }

    fn advance_stream(&mut self, stream: StreamNumber, range: std::ops::Range<u64>) {
        let mut woken = Vec::new();
        self.shared.stream_advanced(stream, range, |shard| woken.push(usize::from(shard.0)));
        for shard in woken {
            let delay = self.delay(self.mix.forward_delay);
            self.schedule(delay, Step::StreamAdvanced(shard, stream));
        }
    }

    /// Notes the messages of a stream from a sequence on. What was there before must be there, and the same; and the numbers have no gap.
    pub(crate) fn observe(&mut self, stream: StreamNumber, from: u64) {
        let reader = self.log.store().stream_reader(stream.0).unwrap();
        let (mut found, mut next) = (Vec::new(), reader.oldest().max(from));
        let begin = next;
        while next < reader.end() {
            let read = reader.read(next, usize::MAX, &mut |message| {
                found.push((message.sequence, message.timestamp, number_in(message.body)));
                ControlFlow::Continue(())
            });
            match read {
                Ok(to) if to > next => next = to,
                other => return self.fail(None, format!("stream {} can't be read at {next}: {other:?}", stream.0)),
            }
        }
        let oldest = self.checker.streams.oldest.get(&stream).copied().unwrap_or(1);
        let known = self.checker.streams.known.entry(stream).or_default();
        let first = known.last_key_value().map_or(1, |(last, _)| last + 1);
        if reader.oldest() > oldest {
            return self.fail(None, format!("stream {} lacks {oldest} to {}", stream.0, reader.oldest()));
        }
        if reader.end() < first {
            return self.fail(None, format!("stream {} has lost {} to {}", stream.0, reader.end(), first - 1));
        }
        let mut place = begin;
        let mut left_out = Vec::new();
        for (sequence, timestamp, message) in found {
            if self.mix.keyed {
                // Only what was there before may be removed.
                let is_known = |place: &u64| known.contains_key(place);
                left_out.extend((place..sequence).take_while(is_known));
                place = (place..sequence).find(|place| !is_known(place)).unwrap_or(sequence);
            }
            let Some(message) = message.filter(|_| place == sequence) else {
                return self.fail(None, format!("stream {} has {sequence} at {place}: {message:?}", stream.0));
            };
            let is = Known { message, timestamp };
            let before = self.checker.streams.claimed.remove(&(stream, sequence)).unwrap_or(is);
            let was = *known.entry(sequence).or_insert(before);
            if was != is {
                return self.fail(None, format!("stream {}: {sequence} was {was:?} and is {is:?}", stream.0));
            }
            place = sequence + 1;
        }
        self.remove_known(stream, (place, reader.end()), left_out);
    }

    /// Notes what a stream does not have any more, although it was not trimmed: there must be a later one with its key. From `place` on, there is nothing.
    fn remove_known(&mut self, stream: StreamNumber, (place, end): (u64, u64), left_out: Vec<u64>) {
        if place < end {
            return self.fail(None, format!("stream {} lacks {place} to {end}", stream.0));
        }
        if left_out.is_empty() {
            return;
        }
        let (name, _) = STREAMS[stream.0 as usize - 1];
        let newest = self.newest_of_keys(name);
        let known = &self.checker.streams.known[&stream];
        let is_newest = |sequence: &&u64| {
            let topic = &self.checker.ledger.messages[known[*sequence].message].topic;
            newest.get(topic) == Some(*sequence)
        };
        if let Some(sequence) = left_out.iter().find(is_newest) {
            return self.fail(None, format!("{name} lacks {sequence}, the newest of its key"));
        }
        self.checker.streams.removed.extend(left_out.into_iter().map(|sequence| (stream, sequence)));
    }

    /// An operator trims a stream.
    pub(crate) fn on_trim(&mut self) {
        if self.phase != Phase::Busy {
            return;
        }
        let delay = self.rng.between(1, TRIM_INTERVAL_MAX);
        self.schedule(delay, Step::Trim);
        let (name, _) = self.rng.pick(&STREAMS);
        let stream = stream_named(name).unwrap();
        if self.restarting.is_some() || self.mix.disk_fills {
            return;
        }
        let reader = self.log.store().stream_reader(stream.0).unwrap();
        let below = self.rng.between(reader.oldest(), reader.end());
        let below = reader.oldest() + (below - reader.oldest()) / 2;
        match self.log.store().trim_stream(stream.0, below) {
            Ok(Some(oldest)) => {
                self.trace.note(self.now, None, || format!("trims {name} to {oldest}"));
                let before = self.checker.streams.oldest.entry(stream).or_insert(1);
                *before = (*before).max(oldest);
                // The shards are told at the next look at the streams.
                if self.rng.percent(50) {
                    self.advance_stream(stream, oldest..reader.end());
                }
            }
            other => self.fail(None, format!("{name} can't be trimmed: {other:?}")),
        }
    }

    /// A shard asks for the next messages of a stream. They are read later, and it is answered later still.
    pub(crate) fn read_stream_later(&mut self, shard: usize, request: Box<StreamRequest>) {
        let delay = self.delay(self.mix.read_delay);
        self.schedule(delay, Step::ReadStream(shard, request));
    }

    /// The store reads for a shard.
    pub(crate) fn on_read_stream(&mut self, shard: usize, request: StreamRequest) {
        match self.read_stream(request) {
            Ok(chunk) => {
                let delay = self.delay(self.mix.read_delay);
                self.schedule(delay, Step::StreamRead(shard, Box::new(chunk)));
            }
            Err(text) => self.fail(None, text),
        }
    }

    fn read_stream(&self, request: StreamRequest) -> Result<StreamChunk, String> {
        let mut chunk = request.answer();
        let (stream, from, bytes_max) = (chunk.request().stream, chunk.request().from, chunk.request().bytes_max);
        let reader = self.log.store().stream_reader(stream.0).ok_or("there is no such stream")?;
        let mut oldest = reader.oldest();
        let mut next = match from {
            StreamStart::Earliest => oldest,
            StreamStart::Latest => reader.end(),
            StreamStart::Sequence(sequence) => sequence.max(oldest),
            StreamStart::Time(timestamp) => reader.sequence_at(timestamp).map_err(|error| error.to_string())?,
        };
        let mut wants_more = true;
        while wants_more {
            let read = reader.read(next, bytes_max, &mut |message| {
                wants_more = chunk.add(message.sequence, message.timestamp, message.body);
                if wants_more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            next = match read {
                Ok(to) if to > next => to,
                Ok(_) => break,
                Err(StreamReadError::Trimmed { oldest: now }) => {
                    oldest = now;
                    now
                }
                Err(error) => return Err(format!("stream {} can't be read: {error}", stream.0)),
            };
        }
        chunk.finish(next, oldest);
        Ok(chunk)
    }

    pub(crate) fn on_stream_read(&mut self, shard: usize, chunk: StreamChunk) {
        self.trace.note(self.now, None, || format!("shard {shard} gets {:?} up to {}", chunk.request(), chunk.next()));
        self.handle(shard, Event::StreamRead(Box::new(chunk)));
    }
}

/// The longest time between two trims, in milliseconds.
const TRIM_INTERVAL_MAX: u64 = 1_500;
