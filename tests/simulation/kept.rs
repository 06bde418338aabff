//! Consumers with a durable position: each message at QoS 1 comes once, in order, and each says which one was before it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use oncemq::codec::{OutgoingPublish, Qos};

use crate::consumers::{Role, is_behind};
use crate::reader::user_properties;
use crate::streams::{Known, stream_named};
use crate::world::World;

/// What a consumer has received.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) stream: &'static str,
    filter: Option<&'static str>,
    /// How often it has subscribed with an offset, without knowing that it has a position.
    pub(crate) begins: u32,
    /// How often it received each sequence, not counting repetitions with DUP.
    received: BTreeMap<u64, u32>,
    /// The same by message, if it does not see sequences, with those that had DUP.
    unmarked: BTreeMap<usize, (u32, u32)>,
    /// The last sequence at QoS 0, and at QoS 1.
    last: [u64; 2],
    /// How often an earlier one came than the last one of the same QoS.
    descents: [u32; 2],
    /// What messages said about others that the stream does not have any more.
    trimmed: Vec<RangeInclusive<u64>>,
}

impl Kept {
    pub(crate) const fn new(stream: &'static str, filter: Option<&'static str>) -> Self {
        Self {
            stream,
            filter,
            begins: 0,
            received: BTreeMap::new(),
            unmarked: BTreeMap::new(),
            last: [0; 2],
            descents: [0; 2],
            trimmed: Vec::new(),
        }
    }
}

impl World {
    pub(crate) fn on_kept_message(&mut self, number: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let Some(consumer) = self.clients[number].consumer.as_mut() else { return Ok(()) };
        // Taken out, so that it can be changed beside the rest.
        let Role::Kept(mut kept) = std::mem::replace(&mut consumer.role, Role::Receipts) else { return Ok(()) };
        let result = self.take_kept((number, &mut kept), publish);
        if let Some(consumer) = &mut self.clients[number].consumer {
            consumer.role = Role::Kept(kept);
        }
        result
    }

    fn take_kept(&self, (number, kept): (usize, &mut Kept), publish: &OutgoingPublish) -> Result<(), String> {
        let client = &self.clients[number];
        let Some(consumer) = &client.consumer else { return Ok(()) };
        let ledger = &self.checker.ledger;
        let message = ledger.find(&publish.message.payload).ok_or("a message that was not published")?;
        let published = &ledger.messages[message];
        let qos = published.qos.min(consumer.qos).min(Qos::AtLeastOnce);
        if published.topic != publish.message.topic || published.payload() != publish.message.payload {
            return Err(format!("message {message} was altered"));
        }
        if publish.qos != qos || publish.retain || !is_behind(kept.filter, &published.topic) {
            return Err(format!("message {message} has the wrong QoS or a flag, or is not wanted: {publish:?}"));
        }
        if client.profile.is_v5() {
            self.note_kept((number, kept), message, publish)?;
        } else {
            let places = self.checker.streams.known.get(&stream_named(kept.stream).unwrap());
            let places = places.into_iter().flatten().filter(|(_, known)| known.message == message).count();
            let (fresh, again) = kept.unmarked.entry(message).or_default();
            *(if publish.dup { again } else { &mut *fresh }) += 1;
            if *fresh as usize > places * kept.begins as usize {
                return Err(format!("message {message} came {fresh} times, and is {places} times in {}", kept.stream));
            }
        }
        Ok(())
    }

    /// A message with properties: its place is known.
    fn note_kept(
        &self,
        (number, kept): (usize, &mut Kept),
        message: usize,
        publish: &OutgoingPublish,
    ) -> Result<(), String> {
        let properties = &publish.message.properties;
        let user = |wanted: &str| user_properties(properties).find(|(name, _)| name == wanted).map(|(_, value)| value);
        let parse = |name: &str| user(name).and_then(|text| text.parse::<u64>().ok());
        if user("stream").as_deref() != Some(kept.stream) || user("stream-unreadable").is_some() {
            return Err(format!("message {message} is of {:?}, or behind damaged ones", user("stream")));
        }
        let sequence = parse("stream-sequence").ok_or(format!("message {message} has no sequence"))?;
        let is = Known { message, timestamp: parse("stream-timestamp").ok_or("no timestamp")? };
        let streams = &self.checker.streams;
        let known = streams.known.get(&stream_named(kept.stream).unwrap()).ok_or("an empty stream")?;
        if known.get(&sequence) != Some(&is) {
            return Err(format!("{sequence} is {is:?}, but the stream has {:?}", known.get(&sequence)));
        }
        let times = kept.received.entry(sequence).or_default();
        if publish.dup && *times > 0 {
            return Ok(()); // a repetition
        }
        *times += 1;
        if *times > kept.begins {
            return Err(format!("{sequence} came {times} times"));
        }
        let level = usize::from(publish.qos > Qos::AtMostOnce);
        let last = &mut kept.last[level];
        kept.descents[level] += u32::from(sequence < *last);
        if kept.descents[level] >= kept.begins {
            return Err(format!("{sequence} came after {last}"));
        }
        *last = sequence;
        if let Some(range) = user("stream-trimmed") {
            let (from, to) = range.split_once('-').ok_or("no range")?;
            let (from, to): (u64, u64) = (from.parse().unwrap_or(0), to.parse().unwrap_or(u64::MAX));
            if to >= streams.oldest_of(kept.stream) {
                return Err(format!("{range} is said to be trimmed, at {sequence}"));
            }
            kept.trimmed.push(from..=to);
        }
        let previous = user("stream-previous").ok_or("no previous message")?;
        let previous = if previous == "none" { None } else { Some(previous.parse().map_err(|_| "no number")?) };
        let is_behind_queue = publish.qos > Qos::AtMostOnce; // one at QoS 0 does not wait in the queue
        self.check_previous((number, kept), (previous, sequence), is_behind_queue)
    }

    /// Nothing is between a message and the one before it, and that one has come.
    fn check_previous(
        &self,
        (number, kept): (usize, &Kept),
        (previous, sequence): (Option<u64>, u64),
        is_behind_queue: bool,
    ) -> Result<(), String> {
        let known = &self.checker.streams.known[&stream_named(kept.stream).unwrap()];
        let mut between = known.range(previous.map_or(0, |previous| previous + 1)..sequence);
        if let Some((left_out, _)) = between.find(|(place, one)| self.is_owed(kept, **place, one.message)) {
            return Err(format!("{sequence} comes after {previous:?}, and leaves out {left_out}"));
        }
        let Some(previous) = previous else { return Ok(()) };
        let before = known.get(&previous).ok_or(format!("{previous} is not in the stream"))?;
        let qos = self.clients[number].consumer.as_ref().map_or(Qos::AtMostOnce, |consumer| consumer.qos);
        let is_queued = self.checker.ledger.messages[before.message].qos.min(qos) > Qos::AtMostOnce;
        if is_behind_queue
            && is_queued
            && self.is_owed(kept, previous, before.message)
            && !kept.received.contains_key(&previous)
        {
            return Err(format!("{sequence} comes after {previous}, which has not come"));
        }
        Ok(())
    }

    /// Whether a consumer must get a message, if it has QoS 1.
    fn is_owed(&self, kept: &Kept, sequence: u64, message: usize) -> bool {
        let message = &self.checker.ledger.messages[message];
        is_behind(kept.filter, &message.topic)
            && message.expiry.is_none()
            && !self.checker.streams.is_gone(kept.stream, sequence)
            && !kept.trimmed.iter().any(|range| range.contains(&sequence))
    }

    /// At the end, each consumer has all messages at QoS 1.
    pub(crate) fn check_kept(&self) -> Result<(), (Option<usize>, String)> {
        for client in &self.clients {
            let Some(consumer) = &client.consumer else { continue };
            let Role::Kept(kept) = &consumer.role else { continue };
            for (sequence, known) in
                self.checker.streams.known.get(&stream_named(kept.stream).unwrap()).into_iter().flatten()
            {
                let is_durable = self.checker.ledger.messages[known.message].qos.min(consumer.qos) > Qos::AtMostOnce;
                let has_come = match client.profile.is_v5() {
                    true => kept.received.contains_key(sequence),
                    false => kept.unmarked.contains_key(&known.message),
                };
                if is_durable && !has_come && self.is_owed(kept, *sequence, known.message) {
                    let (name, message) = (kept.stream, known.message);
                    return Err((Some(client.number), format!("{sequence} of {name}, message {message}, is missing")));
                }
            }
        }
        Ok(())
    }
}
