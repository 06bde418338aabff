//! What the stream has, as its consumers see it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ledger::{BROKER, Fault, Ledger};

/// The messages of the stream, by sequence.
#[derive(Debug, Default)]
pub(crate) struct Content {
    messages: BTreeMap<u64, (u64, String)>,
    /// What is below was checked in an earlier settled state.
    begin: u64,
}

impl Content {
    /// A consumer has received a message. All consumers see the same one under a sequence, before and after each crash.
    pub(crate) fn note(&mut self, sequence: u64, number: u64, topic: &str) -> Result<(), String> {
        let is = (number, topic.to_owned());
        let was = self.messages.entry(sequence).or_insert_with(|| is.clone());
        if *was == is { Ok(()) } else { Err(format!("{sequence} is {is:?}, and was {was:?}")) }
    }

    /// The message with a sequence.
    pub(crate) fn number_at(&self, sequence: u64) -> Option<u64> {
        self.messages.get(&sequence).map(|(number, _)| *number)
    }

    /// The messages since the last settled state, with their sequences.
    pub(crate) fn recent(&self) -> impl Iterator<Item = (u64, u64)> {
        self.messages.range(self.begin..).map(|(sequence, (number, _))| (*sequence, *number))
    }

    /// The sequence behind the last message.
    pub(crate) fn end(&self) -> u64 {
        self.messages.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// A sequence at or behind `next` whose topic begins like this.
    pub(crate) fn missed(&self, next: u64, topic: &str) -> Option<u64> {
        self.messages.range(next..).find(|(_, (_, known))| known.starts_with(topic)).map(|(sequence, _)| *sequence)
    }

    /// A message that was acknowledged and that no consumer has received.
    pub(crate) fn missing(&self, ledger: &Ledger) -> Option<Fault> {
        let known: HashSet<u64> = self.messages.range(self.begin..).map(|(_, (number, _))| *number).collect();
        let mut owed =
            ledger.messages().filter(|(_, message)| message.owed_since.is_some() && is_event(&message.topic));
        let (number, message) = owed.find(|(number, _)| !known.contains(number))?;
        let text = format!("was acknowledged, and is not in the stream: {message:?}");
        Some(Fault { client: BROKER, message: Some(number), text })
    }

    /// Checks the stream as a whole: numbers without gap, each message as often as its QoS permits, in order, and batches that are whole.
    pub(crate) fn judge(&self, ledger: &Ledger) -> Result<(), Fault> {
        let fault = |number, text: String| Err(Fault { client: BROKER, message: Some(number), text });
        let mut newest = HashMap::new();
        let mut places = HashMap::<u64, Vec<u64>>::new();
        let begin = self.begin.max(1);
        for (place, (sequence, (number, topic))) in (begin..).zip(self.messages.range(begin..)) {
            if place != *sequence {
                return fault(*number, format!("the stream has {sequence} behind {}", place - 1));
            }
            places.entry(*number).or_default().push(*sequence);
            let Some(message) = ledger.message(*number) else {
                continue; // a repetition of what was published before the last settled state
            };
            if message.topic != *topic {
                return fault(*number, format!("the stream has it under {topic}: {message:?}"));
            }
            let count = places.get(number).map_or(0, Vec::len);
            if count > 1 && message.qos != 1 {
                return fault(*number, format!("the stream has it {count} times"));
            }
            let newest = newest.entry((message.publisher, topic.clone())).or_insert(*number);
            if count == 1 && message.qos > 0 {
                if *number < *newest {
                    return fault(*number, format!("the stream has it behind {newest}"));
                }
                *newest = *number;
            }
        }
        for (number, message) in ledger.messages() {
            let Some(first) = message.batch else { continue };
            let (own, others) = (places.get(&number), places.get(&first));
            if own.map(Vec::len) != others.map(Vec::len) {
                return fault(number, format!("of one batch, the stream has {own:?} and {others:?}"));
            }
            for (own, other) in own.into_iter().flatten().zip(others.into_iter().flatten()) {
                if *own != other + (number - first) {
                    return fault(number, format!("the stream has a batch with others in between: {own} and {other}"));
                }
            }
        }
        Ok(())
    }

    /// All is checked up to now.
    pub(crate) fn settle(&mut self) {
        self.begin = self.end();
    }
}

/// Whether the stream keeps this topic.
fn is_event(topic: &str) -> bool {
    topic.starts_with("t/")
}
