//! What the streams must have at the end of a run.

use std::collections::BTreeMap;

use oncemq::broker::StreamNumber;
use oncemq::codec::{OutgoingPublish, Qos};

use crate::ledger::Message;
use crate::reader::user_properties;
use crate::streams::{STREAMS, stream_named, streams_of};
use crate::world::World;

impl World {
    /// Checks that each message is in its streams as often as it was accepted, in order, and that batches are there as a whole.
    pub(crate) fn check_streams(&self) -> Result<(), String> {
        if !self.mix.streams {
            return Ok(());
        }
        for (name, _) in STREAMS {
            let stream = stream_named(name).unwrap();
            let places = self.places(stream);
            self.check_content(name, stream, &places)?;
            self.check_stream_order(name, stream)?;
        }
        self.check_batches_in_streams()?;
        if let Some(claimed) = self.checker.streams.claimed.first_key_value() {
            return Err(format!("no stream has what a group was sent: {claimed:?}"));
        }
        for (stream, sequence, message) in &self.checker.streams.said {
            let known = self.checker.streams.known.get(stream).and_then(|known| known.get(sequence));
            if known.is_none_or(|known| known.message != *message) {
                return Err(format!("retained message {message} is said to be {sequence} of {}", stream.0));
            }
        }
        Ok(())
    }

    /// The sequences of each message.
    fn places(&self, stream: StreamNumber) -> BTreeMap<usize, Vec<u64>> {
        let mut places = BTreeMap::<usize, Vec<u64>>::new();
        for (sequence, known) in self.checker.streams.known.get(&stream).into_iter().flatten() {
            places.entry(known.message).or_default().push(*sequence);
        }
        places
    }

    fn check_content(
        &self,
        name: &str,
        stream: StreamNumber,
        places: &BTreeMap<usize, Vec<u64>>,
    ) -> Result<(), String> {
        for (message, sequences) in places {
            let Some(message) = self.checker.ledger.messages.get(*message) else {
                return Err(format!("{name} has the message {message}, which nobody published"));
            };
            let keeps = streams_of(&message.topic).any(|other| other == stream);
            let most = self.most_in_stream(message);
            if !keeps || sequences.len() > most {
                let number = message.number;
                return Err(format!("{name} has message {number} as {sequences:?}, and may have it {most} times"));
            }
        }
        for message in &self.checker.ledger.messages {
            let keeps = streams_of(&message.topic).any(|other| other == stream);
            if keeps && message.acknowledged && !places.contains_key(&message.number) {
                return Err(format!("message {} was acknowledged and is not in {name}", message.number));
            }
        }
        Ok(())
    }

    /// How often a message may be accepted.
    fn most_in_stream(&self, message: &Message) -> usize {
        let was_repeated = message.read > 1
            && (message.qos == Qos::AtLeastOnce
                || message.uncertain
                || !self.clients[message.publisher].has_one_session());
        let most = match message.refused {
            // One copy may have been accepted on an earlier connection.
            true if was_repeated => message.read - 1,
            true => 0,
            false => message.copies().min(message.read),
        };
        usize::try_from(most).unwrap()
    }

    /// First copies of a publisher's messages to a topic have the order in which they were sent.
    fn check_stream_order(&self, name: &str, stream: StreamNumber) -> Result<(), String> {
        let mut last = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for (sequence, known) in self.checker.streams.known.get(&stream).into_iter().flatten() {
            if !seen.insert(known.message) {
                continue;
            }
            let message = &self.checker.ledger.messages[known.message];
            // At QoS 0, a message may overtake others when its publisher moves to another shard; a refused copy is followed by a later one.
            if message.qos == Qos::AtMostOnce || message.read > 1 && self.mix.refuses() {
                continue;
            }
            let key = (message.publisher, message.topic.clone());
            if let Some(before) = last.insert(key, message.number).filter(|before| *before > message.number) {
                return Err(format!("{name} has message {} at {sequence}, behind {before}", message.number));
            }
        }
        Ok(())
    }

    /// A batch is in the streams as a whole, its messages one behind the other.
    fn check_batches_in_streams(&self) -> Result<(), String> {
        let places: Vec<_> = STREAMS.iter().map(|(name, _)| self.places(stream_named(name).unwrap())).collect();
        let messages = &self.checker.ledger.messages;
        for (first, second) in messages.iter().filter_map(|message| Some((message, &messages[message.companion?]))) {
            let counts: Vec<usize> = [first, second]
                .into_iter()
                .flat_map(|message| streams_of(&message.topic).map(move |stream| (stream, message.number)))
                .map(|(stream, number)| places[stream.0 as usize - 1].get(&number).map_or(0, Vec::len))
                .collect();
            if counts.windows(2).any(|pair| pair[0] != pair[1]) {
                let numbers = (first.number, second.number);
                return Err(format!("the messages {numbers:?} of a batch are {counts:?} times in their streams"));
            }
            for places in &places {
                if let (Some(one), Some(other)) = (places.get(&first.number), places.get(&second.number))
                    && one.iter().zip(other).any(|(one, other)| one + 1 != *other)
                {
                    return Err(format!("a batch is divided: {one:?} and {other:?}"));
                }
            }
        }
        Ok(())
    }

    /// A retained message says where it is in its streams.
    pub(crate) fn note_said(&mut self, message: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let mut said = Vec::new();
        let mut stream = None;
        for (name, value) in user_properties(&publish.message.properties) {
            if name == "stream" {
                stream = stream_named(&value);
            } else if name == "stream-sequence" {
                let stream = stream.take().ok_or("a sequence without a stream")?;
                said.push((stream, value.parse().map_err(|_| "no number")?, message));
            }
        }
        let published = &self.checker.ledger.messages[message];
        let must: Vec<_> = streams_of(&published.topic).collect();
        let are: Vec<_> = said.iter().map(|(stream, ..)| *stream).collect();
        // At QoS 0 on a full disk, a message is retained and enters no stream.
        if are.iter().any(|stream| !must.contains(stream)) || are.len() != must.len() && !self.mix.disk_fills {
            return Err(format!("retained message {message} says {said:?}, and is in {must:?}"));
        }
        self.checker.streams.said.append(&mut said);
        Ok(())
    }
}
