//! What went over the wire, as the clients saw it, in one order.

use std::collections::HashMap;
use std::fmt::Write as _;

use wire::Publish;

/// Something that must not be.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) client: usize,
    pub(crate) message: Option<u64>,
    pub(crate) text: String,
}

/// A message that was sent at least once.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) publisher: usize,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    /// When it was first sent; for a Will Message: when its CONNECT was.
    pub(crate) sent_at: u64,
    /// When its acknowledgement came; for a Will Message: when its connection ended without DISCONNECT.
    pub(crate) owed_since: Option<u64>,
    /// An empty retained message. Nobody can tell it from another.
    pub(crate) clears: bool,
    /// A Will Message whose connection is open.
    pub(crate) withheld: bool,
}

/// One thing that a client did or saw.
#[derive(Debug)]
struct Entry {
    millis: u128,
    client: usize,
    what: &'static str,
    packet_id: u16,
    message: Option<u64>,
}

/// All messages and what became of them since the last time everything had arrived.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The number of the first message.
    base: u64,
    messages: Vec<Message>,
    entries: Vec<Entry>,
    /// How often a client got a message.
    received: HashMap<(usize, u64), u32>,
    /// The newest message that a client got of those from one publisher to one topic at one QoS.
    newest: HashMap<(usize, usize, String, u8), u64>,
    /// What was retained under a topic in the beginning.
    retained_before: HashMap<String, Retained>,
    /// What the time is counted in: entries, from the very beginning.
    pub(crate) now: u64,
    pub(crate) millis: u128,
}

/// Whether first deliveries come in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Kept,
    /// Not at QoS 1: a publisher's repeat of a message may come to a member of a group, or to a subscription, that didn't get the
    /// message itself.
    Loose,
}

/// What may be retained under a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retained {
    /// The newest message that was acknowledged. An older one may not be seen any more.
    pub(crate) oldest: u64,
    /// Whether the topic may be without a message.
    pub(crate) may_be_none: bool,
}

impl Ledger {
    pub(crate) fn message(&self, number: u64) -> Option<&Message> {
        self.messages.get(usize::try_from(number.checked_sub(self.base)?).unwrap())
    }

    /// All messages with their numbers.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, &Message)> {
        (self.base..).zip(&self.messages)
    }

    pub(crate) fn note(&mut self, client: usize, what: &'static str, packet_id: u16, message: Option<u64>) {
        self.now += 1;
        self.entries.push(Entry { millis: self.millis, client, what, packet_id, message });
    }

    /// Numbers a message that is sent for the first time, and returns the number.
    pub(crate) fn send(&mut self, publisher: usize, topic: &str, qos: u8, clears: bool) -> u64 {
        let number = self.base + self.messages.len() as u64;
        self.now += 1;
        let topic = topic.to_owned();
        let sent_at = self.now;
        let message = Message { publisher, topic, qos, sent_at, owed_since: None, clears, withheld: false };
        self.messages.push(message);
        number
    }

    /// From here on the message must arrive.
    pub(crate) fn owe(&mut self, number: u64) {
        self.now += 1;
        let now = self.now;
        self.change(number, |message| {
            message.owed_since.get_or_insert(now);
        });
    }

    /// Whether a Will Message's connection is open.
    pub(crate) fn withhold(&mut self, number: u64, withheld: bool) {
        self.change(number, |message| message.withheld = withheld);
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Message)) {
        let place = number.checked_sub(self.base).and_then(|place| usize::try_from(place).ok());
        if let Some(message) = place.and_then(|place| self.messages.get_mut(place)) {
            change(message);
        }
    }

    pub(crate) fn received(&self, client: usize, number: u64) -> u32 {
        self.received.get(&(client, number)).copied().unwrap_or(0)
    }

    /// Takes a message that came, and isn't known to the receiver as a repeat.
    pub(crate) fn receive(
        &mut self,
        client: usize,
        publish: &Publish,
        granted: u8,
        order: Order,
    ) -> Result<u64, Fault> {
        let fault = |message, text: String| Err(Fault { client, message, text });
        let Some(number) = number_in(&publish.payload) else {
            return fault(None, format!("a payload that nobody sent: {publish:?}"));
        };
        let Some(message) = self.message(number) else {
            // The PUBACK may have been lost when everything else was there.
            let text = format!("{publish:?} had arrived long ago, or was never sent");
            return if number < self.base && publish.qos == 1 { Ok(number) } else { fault(Some(number), text) };
        };
        let (publisher, qos) = (message.publisher, message.qos);
        if message.topic != publish.topic || publish.qos != qos.min(granted) {
            return fault(Some(number), format!("came as {publish:?}, sent as {message:?}, granted QoS {granted}"));
        }
        if message.withheld {
            return fault(Some(number), "the Will Message of an open connection was published".to_owned());
        }
        let count = self.received.entry((client, number)).or_default();
        *count += 1;
        if *count > 1 && publish.qos != 1 {
            return fault(Some(number), format!("delivered {count} times at QoS {}", publish.qos));
        }
        if *count == 1 && (order == Order::Kept || qos != 1) {
            let key = (client, publisher, publish.topic.clone(), qos);
            let newest = self.newest.entry(key).or_default();
            if number < *newest {
                let text =
                    format!("came for the first time after message {newest} of the same publisher, topic and QoS");
                return fault(Some(number), text);
            }
            *newest = number;
        }
        Ok(number)
    }

    /// What may be retained under a topic.
    pub(crate) fn retained(&self, topic: &str) -> Option<Retained> {
        let mut retained = self.retained_before.get(topic).copied();
        for (number, message) in self.messages().filter(|(_, message)| message.topic == topic) {
            let may_be_none = retained.is_none_or(|before| before.may_be_none);
            retained = match (message.owed_since, retained) {
                (Some(_), _) => Some(Retained { oldest: number, may_be_none: message.clears }),
                (None, Some(before)) => Some(Retained { may_be_none: may_be_none || message.clears, ..before }),
                (None, None) => Some(Retained { oldest: 0, may_be_none: true }),
            };
        }
        retained
    }

    /// Forgets everything: it has arrived. Numbers and time go on.
    pub(crate) fn forget(&mut self, retained_topics: &[String]) {
        let retained = retained_topics.iter().filter_map(|topic| Some((topic.clone(), self.retained(topic)?)));
        self.retained_before = retained.collect();
        self.base += self.messages.len() as u64;
        self.messages.clear();
        self.entries.clear();
        self.received.clear();
        self.newest.clear();
    }

    /// What concerns a message, and the connections of those who had to do with it.
    pub(crate) fn history(&self, fault: &Fault, names: &[String]) -> String {
        let about = |entry: &&Entry| entry.message.is_some() && entry.message == fault.message;
        let publisher = fault.message.and_then(|number| self.message(number)).map(|message| message.publisher);
        let mut text = String::new();
        let first = self.entries.iter().position(|entry| about(&entry)).unwrap_or(0);
        for (place, entry) in self.entries.iter().enumerate() {
            let concerned = entry.client == fault.client || Some(entry.client) == publisher;
            let connection = place >= first && entry.message.is_none() && (concerned || entry.client == BROKER);
            if about(&entry) || connection {
                let name = names.get(entry.client).map_or("broker", String::as_str);
                let Entry { millis, what, packet_id, .. } = entry;
                let id = if *packet_id > 0 { format!(" {packet_id}") } else { String::new() };
                let number = entry.message.map(|number| format!(" message {number}")).unwrap_or_default();
                writeln!(text, "{millis:>8} ms  {name:<24} {what}{id}{number}").unwrap();
            }
        }
        text
    }
}

/// The payload of a message: its number, and some ballast.
pub(crate) fn payload(number: u64, ballast: usize) -> Vec<u8> {
    format!("{number} {}", "x".repeat(ballast)).into_bytes()
}

/// The number of the message with this payload.
pub(crate) fn number_in(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Who did something, if it was no client.
pub(crate) const BROKER: usize = usize::MAX;

/// A message to `t` at this QoS, acknowledged, and the same as it arrives.
fn sent(ledger: &mut Ledger, qos: u8) -> Publish {
    let number = ledger.send(0, "t", qos, false);
    ledger.owe(number);
    Publish { topic: "t".to_owned(), payload: payload(number, 3), qos, retain: false, dup: false, packet_id: 1 }
}

#[test]
fn twice_is_a_fault_at_qos_2_alone() {
    let mut ledger = Ledger::default();
    for qos in 0..=2 {
        let publish = sent(&mut ledger, qos);
        assert!(ledger.receive(1, &publish, 2, Order::Kept).is_ok());
        assert!(ledger.receive(2, &publish, 2, Order::Kept).is_ok());
        assert_eq!(ledger.receive(1, &publish, 2, Order::Kept).is_ok(), qos == 1, "QoS {qos}");
    }
}

#[test]
fn an_older_message_after_a_newer_one_is_a_fault_unless_it_is_a_repeat() {
    let mut ledger = Ledger::default();
    let (first, second, third) = (sent(&mut ledger, 1), sent(&mut ledger, 1), sent(&mut ledger, 1));
    assert!(ledger.receive(1, &first, 1, Order::Kept).is_ok());
    assert!(ledger.receive(1, &third, 1, Order::Kept).is_ok());
    assert!(ledger.receive(1, &first, 1, Order::Kept).is_ok());
    assert!(ledger.receive(1, &second, 1, Order::Kept).is_err());
}

#[test]
fn a_message_of_before_the_rest_may_come_again_at_qos_1_alone() {
    let mut ledger = Ledger::default();
    let (once, twice) = (sent(&mut ledger, 2), sent(&mut ledger, 1));
    ledger.forget(&[]);
    assert!(ledger.receive(1, &once, 2, Order::Kept).is_err());
    assert!(ledger.receive(1, &twice, 2, Order::Kept).is_ok());
}

#[test]
fn what_is_retained_is_what_was_acknowledged_last_or_is_newer() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.retained("t"), None);
    let first = ledger.send(0, "t", 1, false);
    assert_eq!(ledger.retained("t"), Some(Retained { oldest: 0, may_be_none: true }));
    ledger.owe(first);
    assert_eq!(ledger.retained("t"), Some(Retained { oldest: first, may_be_none: false }));
    let cleared = ledger.send(0, "t", 1, true);
    assert_eq!(ledger.retained("t"), Some(Retained { oldest: first, may_be_none: true }));
    ledger.owe(cleared);
    ledger.forget(&["t".to_owned()]);
    assert_eq!(ledger.retained("t"), Some(Retained { oldest: cleared, may_be_none: true }));
}
