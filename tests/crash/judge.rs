//! Checks of the settled state.

use crate::client::{Client, Role};
use crate::consumers::{Consumer, Kind};
use crate::ledger::{BROKER, Fault, Message};
use crate::reader::Reader;
use crate::subscriber::Subscriber;
use crate::world::World;
use wire::Version;

impl World {
    /// The first expected message that hasn't arrived.
    pub(crate) fn missing(&self) -> Option<Fault> {
        let ledger = &self.shared.ledger;
        let members: Vec<_> = self.subscribers().filter(|(_, subscriber)| subscriber.share.is_some()).collect();
        for (number, message) in ledger.messages() {
            for (client, subscriber) in self.subscribers() {
                let owed = subscriber.share.is_none() && subscriber.is_owed(message);
                if owed && ledger.received(client.number, number) == 0 {
                    let text = format!("was acknowledged and not delivered: {message:?}");
                    return Some(Fault { client: client.number, message: Some(number), text });
                }
            }
            let owed = members.iter().any(|(_, subscriber)| subscriber.is_owed(message));
            if owed && self.members_that_got(&members, number) == 0 {
                let text = format!("was acknowledged and delivered to no member of the group: {message:?}");
                return Some(Fault { client: members[0].0.number, message: Some(number), text });
            }
        }
        self.readers().next()?;
        let content = &self.shared.content;
        let end = content.end();
        for (client, reader) in self.readers() {
            let (filter, next) = reader.position();
            let missed = filter.and_then(|filter| content.missed(next, filter.trim_end_matches('#')));
            if missed.is_some() || !reader.has(end) {
                let text = format!("it is at {next}, and did not get {}", missed.unwrap_or(end - 1));
                return Some(Fault { client: client.number, message: None, text });
            }
        }
        content.missing(ledger).or_else(|| self.missing_of_consumers())
    }

    fn consumers(&self) -> impl Iterator<Item = (&Client, &Consumer)> {
        self.clients.iter().filter_map(|client| match &client.role {
            Role::Consumer(consumer) => Some((client, consumer)),
            Role::Publisher(_) | Role::Subscriber(_) | Role::Willed { .. } | Role::Probe(_) | Role::Reader(_) => None,
        })
    }

    /// What did not come to a group, a consumer with a durable position, a reader of keys, or who gets the receipts.
    fn missing_of_consumers(&self) -> Option<Fault> {
        self.consumers().next()?;
        let (ledger, consumed) = (&self.shared.ledger, &self.shared.consumed);
        let fault = |client: usize, message, text: String| Some(Fault { client, message: Some(message), text });
        let queued = |number| ledger.message(number).filter(|message| message.qos > 0);
        for (sequence, number) in self.shared.content.recent() {
            let Some(message) = queued(number) else { continue };
            if !consumed.by_group.contains(&number) {
                return fault(BROKER, number, format!("{sequence} came to no member: {message:?}"));
            }
            for (client, consumer) in self.consumers() {
                let Kind::Kept(kept) = &consumer.kind else { continue };
                let has_come = match client.link.version {
                    Version::V5 => kept.received.contains_key(&sequence),
                    Version::V311 => kept.numbers.contains(&number),
                };
                if !has_come {
                    return fault(client.number, number, format!("{sequence} did not come: {message:?}"));
                }
            }
        }
        for (client, consumer) in self.consumers() {
            let Kind::Keyed(keyed) = &consumer.kind else { continue };
            if let Some((sequence, number)) = keyed.missing(consumed) {
                return fault(client.number, number, format!("{sequence}, the newest of its key, did not come"));
            }
        }
        for (number, message) in ledger.messages().filter(|(_, message)| message.owed_since.is_some()) {
            if consumed.asked.contains(&number) && !consumed.told.contains_key(&number) {
                return fault(BROKER, number, format!("was acknowledged, and has no receipt: {message:?}"));
            }
            let mut states = consumed.states.values().rev();
            let newest = states.find(|(_, topic)| *topic == message.topic).map_or(0, |(newest, _)| *newest);
            if message.topic.starts_with("s/") && newest < number {
                return fault(BROKER, number, format!("is lost, the newest of its key is {newest}: {message:?}"));
            }
        }
        None
    }

    /// Each receipt tells of the receivers that the message had.
    fn judge_receipts(&self) -> Result<(), Fault> {
        for (number, told) in
            self.shared.consumed.told.iter().flat_map(|(number, all)| all.values().map(move |told| (*number, told)))
        {
            let Some(message) = self.shared.ledger.message(number) else { continue };
            let receivers = self.subscribers().filter(|(_, subscriber)| subscriber.is_receiver_of(message)).count();
            if told.receivers != receivers as u64 {
                let text = format!("it has {receivers} receivers, and its receipt tells {told:?}");
                return Err(Fault { client: BROKER, message: Some(number), text });
            }
        }
        Ok(())
    }

    fn readers(&self) -> impl Iterator<Item = (&Client, &Reader)> {
        self.clients.iter().filter_map(|client| match &client.role {
            Role::Reader(reader) => Some((client, reader)),
            Role::Publisher(_) | Role::Subscriber(_) | Role::Willed { .. } | Role::Probe(_) | Role::Consumer(_) => None,
        })
    }

    /// Checks for duplicates and other faults.
    pub(crate) fn judge(&self) -> Result<(), Fault> {
        let members: Vec<_> = self.subscribers().filter(|(_, subscriber)| subscriber.share.is_some()).collect();
        let is_once = |message: &Message| message.qos != 1;
        for (number, _) in self.shared.ledger.messages().filter(|(_, message)| is_once(message)) {
            let count = self.members_that_got(&members, number);
            if count > 1 {
                let text = format!("{count} members of the group got it");
                return Err(Fault { client: members[0].0.number, message: Some(number), text });
            }
        }
        self.shared.content.judge(&self.shared.ledger)?;
        self.judge_receipts()?;
        self.missing().map_or(Ok(()), Err)
    }

    /// A client whose exchange isn't complete.
    pub(crate) fn unsettled(&self) -> Fault {
        let client = self.clients.iter().find(|client| !client.is_settled() || !client.is_ready());
        let text = client.map_or("nothing is missing".to_owned(), |client| format!("{client:?}"));
        Fault { client: client.map_or(0, |client| client.number), message: None, text }
    }

    fn members_that_got(&self, members: &[(&Client, &Subscriber)], number: u64) -> u32 {
        members.iter().map(|(client, _)| self.shared.ledger.received(client.number, number).min(1)).sum()
    }

    fn subscribers(&self) -> impl Iterator<Item = (&Client, &Subscriber)> {
        self.clients.iter().filter_map(|client| match &client.role {
            Role::Subscriber(subscriber) => Some((client, subscriber)),
            Role::Publisher(_) | Role::Willed { .. } | Role::Probe(_) | Role::Reader(_) | Role::Consumer(_) => None,
        })
    }
}
