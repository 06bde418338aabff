//! A record of all packets that the clients sent and received, in one order.

use std::collections::HashMap;
use std::fmt::Write as _;

use wire::Publish;

/// A violation of the guarantees.
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
    /// When it was first sent; for a Will Message, when its CONNECT was sent.
    pub(crate) sent_at: u64,
    /// When it was acknowledged; for a Will Message, when its connection ended without DISCONNECT.
    pub(crate) owed_since: Option<u64>,
    /// An empty retained message, which can't be distinguished from another one.
    pub(crate) clears: bool,
    /// A Will Message whose connection is open.
    pub(crate) withheld: bool,
    /// The first message of its batch.
    pub(crate) batch: Option<u64>,
}

/// An action or observation of a client.
#[derive(Debug)]
struct Entry {
    millis: u128,
    client: usize,
    what: &'static str,
    packet_id: u16,
    message: Option<u64>,
}

/// All messages and their deliveries since the last settled state.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The number of the first message.
    base: u64,
    messages: Vec<Message>,
    entries: Vec<Entry>,
    /// The number of copies of a message that a client received.
    received: HashMap<(usize, u64), u32>,
    /// The newest message that a client received, by publisher, topic and QoS.
    newest: HashMap<(usize, usize, String, u8), u64>,
    /// The retained message of a topic at the beginning.
    retained_before: HashMap<String, Retained>,
    /// Logical time: the number of entries since the start of the run.
    pub(crate) now: u64,
    pub(crate) millis: u128,
}

/// Whether first deliveries must arrive in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Kept,
    /// No order at QoS 1: a publisher's retransmission may reach a member of a group, or a subscription, that didn't
    /// get the message before.
    Loose,
    /// No order: the receiver refuses messages, and gets them later.
    Any,
}

/// The permitted retained messages of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retained {
    /// The newest acknowledged message. Older ones must not be observed.
    pub(crate) oldest: u64,
    /// Whether the topic may have no message.
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

    /// Adds a message that is sent for the first time, and returns its number.
    pub(crate) fn send(&mut self, publisher: usize, topic: &str, qos: u8, clears: bool) -> u64 {
        let number = self.base + self.messages.len() as u64;
        self.now += 1;
        let topic = topic.to_owned();
        let sent_at = self.now;
        let message =
            Message { publisher, topic, qos, sent_at, owed_since: None, clears, withheld: false, batch: None };
        self.messages.push(message);
        number
    }

    /// Adds the messages of a batch, and returns the number of the first one.
    pub(crate) fn send_batch(&mut self, publisher: usize, topics: &[String], qos: u8) -> u64 {
        let numbers: Vec<u64> = topics.iter().map(|topic| self.send(publisher, topic, qos, false)).collect();
        let first = numbers[0];
        for number in numbers {
            self.change(number, |message| message.batch = Some(first));
        }
        first
    }

    /// Records that a batch, or a single message, must be delivered from now on.
    pub(crate) fn owe_batch(&mut self, number: u64) {
        let batch = self.message(number).and_then(|message| message.batch);
        let same = |message: &Message| message.batch.is_some() && message.batch == batch;
        let others: Vec<u64> = self.messages().filter(|(_, message)| same(message)).map(|(other, _)| other).collect();
        others.into_iter().chain([number]).for_each(|number| self.owe(number));
    }

    /// Records that the message must be delivered from now on.
    pub(crate) fn owe(&mut self, number: u64) {
        self.now += 1;
        let now = self.now;
        self.change(number, |message| {
            message.owed_since.get_or_insert(now);
        });
    }

    /// Sets whether a Will Message's connection is open.
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

    /// Records a received message that isn't a known retransmission.
    pub(crate) fn receive(
        &mut self,
        client: usize,
        publish: &Publish,
        granted: u8,
        order: Order,
    ) -> Result<u64, Fault> {
        let fault = |message, text: String| Err(Fault { client, message, text });
        let Some(number) = number_in(&publish.payload) else {
            return fault(None, format!("a payload that was not sent: {publish:?}"));
        };
        let Some(message) = self.message(number) else {
            // A lost PUBACK may cause a retransmission after the settled state.
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
        if *count == 1 && (order == Order::Kept || order == Order::Loose && qos != 1) {
            let key = (client, publisher, publish.topic.clone(), qos);
            let newest = self.newest.entry(key).or_default();
            if number < *newest {
                let text =
                    format!("arrived for the first time after message {newest} of the same publisher, topic and QoS");
                return fault(Some(number), text);
            }
            *newest = number;
        }
        Ok(number)
    }

    /// The permitted retained messages of a topic.
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

    /// Removes all messages, after all have arrived. Numbers and time continue.
    pub(crate) fn forget(&mut self, retained_topics: &[String]) {
        let retained = retained_topics.iter().filter_map(|topic| Some((topic.clone(), self.retained(topic)?)));
        self.retained_before = retained.collect();
        self.base += self.messages.len() as u64;
        self.messages.clear();
        self.entries.clear();
        self.received.clear();
        self.newest.clear();
    }

    /// The events of a message, and the connections of the clients involved.
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

/// The payload of a message: its number, followed by padding.
pub(crate) fn payload(number: u64, ballast: usize) -> Vec<u8> {
    format!("{number} {}", "x".repeat(ballast)).into_bytes()
}

/// The number of the message with this payload.
pub(crate) fn number_in(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The number of the broker, for events that no client caused.
pub(crate) const BROKER: usize = usize::MAX;

/// A message to `t` at this QoS that is acknowledged, as it is delivered.
fn sent(ledger: &mut Ledger, qos: u8) -> Publish {
    let number = ledger.send(0, "t", qos, false);
    ledger.owe(number);
    Publish { topic: "t".to_owned(), payload: payload(number, 3), qos, retain: false, dup: false, packet_id: 1 }
}

#[test]
fn a_duplicate_is_a_fault_only_at_qos_2() {
    let mut ledger = Ledger::default();
    for qos in 0..=2 {
        let publish = sent(&mut ledger, qos);
        assert!(ledger.receive(1, &publish, 2, Order::Kept).is_ok());
        assert!(ledger.receive(2, &publish, 2, Order::Kept).is_ok());
        assert_eq!(ledger.receive(1, &publish, 2, Order::Kept).is_ok(), qos == 1, "QoS {qos}");
    }
}

#[test]
fn an_older_message_after_a_newer_one_is_a_fault_unless_it_is_a_duplicate() {
    let mut ledger = Ledger::default();
    let (first, second, third) = (sent(&mut ledger, 1), sent(&mut ledger, 1), sent(&mut ledger, 1));
    assert!(ledger.receive(1, &first, 1, Order::Kept).is_ok());
    assert!(ledger.receive(1, &third, 1, Order::Kept).is_ok());
    assert!(ledger.receive(1, &first, 1, Order::Kept).is_ok());
    assert!(ledger.receive(1, &second, 1, Order::Kept).is_err());
}

#[test]
fn a_message_from_before_the_settled_state_may_arrive_again_only_at_qos_1() {
    let mut ledger = Ledger::default();
    let (once, twice) = (sent(&mut ledger, 2), sent(&mut ledger, 1));
    ledger.forget(&[]);
    assert!(ledger.receive(1, &once, 2, Order::Kept).is_err());
    assert!(ledger.receive(1, &twice, 2, Order::Kept).is_ok());
}

#[test]
fn the_retained_message_is_the_last_acknowledged_one_or_newer() {
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
