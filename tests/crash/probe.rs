//! A subscriber that repeatedly checks retained messages: each must be the last acknowledged one or newer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::client::{Link, Shared, Stage};
use crate::ledger::{Fault, Retained, number_in};
use wire::{Packet, Publish, SUBACK};

/// A transient client that subscribes to all retained messages.
#[derive(Debug)]
pub(crate) struct Probe {
    topics: Vec<String>,
    /// The permitted retained messages at the time of the subscription, by topic.
    asked: BTreeMap<String, Retained>,
    found: BTreeMap<String, u64>,
    /// Topics to which a message was published since: it replaces a retained one that was not sent yet.
    published: BTreeSet<String>,
    answered_at: Option<Instant>,
    /// It has checked since the run began to settle.
    is_satisfied: bool,
    asked_in: Stage,
    is_done: bool,
}

impl Probe {
    pub(crate) fn new(topics: &[String]) -> Self {
        let (asked, found, published) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (topics, asked_in) = (topics.to_vec(), Stage::Connecting);
        Self { topics, asked, found, published, answered_at: None, is_satisfied: false, asked_in, is_done: false }
    }

    pub(crate) fn ask(&mut self, link: &mut Link, shared: &mut Shared) {
        let topics = self.topics.iter();
        self.asked = topics.filter_map(|topic| Some((topic.clone(), shared.ledger.retained(topic)?))).collect();
        self.asked_in = shared.stage;
        link.send(&link.version.subscribe(1, "r/#", 0));
    }

    pub(crate) fn on_packet(&mut self, packet: &Packet, link: &mut Link, shared: &mut Shared) -> Result<(), Fault> {
        if packet.kind() == SUBACK {
            self.answered_at = Some(shared.now);
            return Ok(());
        }
        let Some(publish) = Publish::parse(link.version, packet) else {
            return link.fault(None, format!("{packet:x?} is malformed"));
        };
        let number = number_in(&publish.payload);
        if !publish.retain {
            self.published.insert(publish.topic);
            return Ok(());
        }
        let Some(number) = number else { return Ok(()) };
        shared.ledger.note(link.client, "gets retained PUBLISH", 0, Some(number));
        if let Some(before) = self.found.insert(publish.topic.clone(), number) {
            return link.fault(Some(number), format!("retained under {}, as is message {before}", publish.topic));
        }
        let oldest = self.asked.get(&publish.topic).map_or(0, |retained| retained.oldest);
        if number < oldest {
            return link.fault(Some(number), format!("still retained, though message {oldest} was acknowledged"));
        }
        Ok(())
    }

    /// Finishes when all retained messages have arrived, or at the time limit.
    pub(crate) fn step(&mut self, link: &mut Link, shared: &mut Shared) -> Result<(), Fault> {
        let Some(answered_at) = self.answered_at else { return Ok(()) };
        let is_missing = |(topic, asked): &(&String, &Retained)| {
            let may_be_none = asked.may_be_none || shared.ledger.retained(topic).is_none_or(|now| now.may_be_none);
            // A message cleared in between leaves no trace, so any newer clearing excuses its absence.
            let cleared = shared
                .ledger
                .messages()
                .any(|(number, message)| message.clears && number >= asked.oldest && message.topic == **topic);
            !may_be_none && !cleared && !self.found.contains_key(*topic) && !self.published.contains(*topic)
        };
        let missing = self.asked.iter().find(is_missing).map(|(topic, retained)| (topic.clone(), *retained));
        let waited = shared.now.duration_since(answered_at);
        if let Some((topic, retained)) = missing {
            // An owner sends nothing while the log of a cluster is not to be reached.
            let patience = if shared.addresses.len() > 1 { 10 * PATIENCE } else { PATIENCE };
            if waited < patience {
                return Ok(());
            }
            return link.fault(Some(retained.oldest), format!("no message is retained under {topic}"));
        }
        if waited > PAUSE {
            self.is_done = true;
            self.is_satisfied |= self.asked_in == Stage::Settling && shared.stage == Stage::Settling;
        }
        Ok(())
    }

    /// The connection has ended.
    pub(crate) fn forget(&mut self) {
        self.asked.clear();
        self.found.clear();
        self.published.clear();
        self.answered_at = None;
        self.is_done = false;
    }

    /// A new round of messages begins.
    pub(crate) fn begin(&mut self) {
        self.is_satisfied = false;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(crate) fn is_satisfied(&self) -> bool {
        self.is_satisfied
    }
}

/// Time limit for the arrival of retained messages.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for superfluous messages.
const PAUSE: Duration = Duration::from_millis(50);
