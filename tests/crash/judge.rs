//! Checks of the settled state.

use crate::client::{Client, Role};
use crate::ledger::{Fault, Message};
use crate::reader::Reader;
use crate::subscriber::Subscriber;
use crate::world::World;

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
        content.missing(ledger)
    }

    fn readers(&self) -> impl Iterator<Item = (&Client, &Reader)> {
        self.clients.iter().filter_map(|client| match &client.role {
            Role::Reader(reader) => Some((client, reader)),
            Role::Publisher(_) | Role::Subscriber(_) | Role::Willed { .. } | Role::Probe(_) => None,
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
            Role::Publisher(_) | Role::Willed { .. } | Role::Probe(_) | Role::Reader(_) => None,
        })
    }
}
