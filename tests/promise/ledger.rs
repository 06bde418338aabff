//! Packets on the wire, and the guarantees that follow from them.

use oncemq::codec::{OutgoingPublish, Qos};

use crate::client::Lifetime;
use crate::lab::Lab;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) messages: Vec<Sent>,
    pub(crate) deliveries: Vec<Delivered>,
}

/// A message that a client published.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) publisher: usize,
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: Qos,
    /// PUBACK or PUBREC was received.
    pub(crate) acknowledged: bool,
    /// What each client knew about its subscription at that time.
    pub(crate) receivers: Vec<(usize, Belief)>,
    /// The messages of a batch: acknowledged with it, and there with each other or not at all.
    pub(crate) members: Vec<usize>,
}

/// What a client knows about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It exists: SUBACK was received.
    There(Qos),
    /// It doesn't exist: UNSUBACK was received, or it was never requested.
    Gone,
    /// It was requested or cancelled, without a response yet.
    Open,
}

/// A message delivered to a client's application.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) client: usize,
    /// The client's Session at that time.
    pub(crate) session: u32,
    pub(crate) payload: String,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    /// Its sequence in the stream, if it says that.
    pub(crate) sequence: Option<u64>,
}

impl Lab {
    /// How often an application received a message, without retained ones at subscribing.
    pub(crate) fn count(&self, client: usize, payload: &str) -> usize {
        self.deliveries(client).filter(|delivered| delivered.payload == payload && !delivered.retain).count()
    }

    /// The messages received in the current Session.
    pub(crate) fn deliveries(&self, client: usize) -> impl Iterator<Item = &Delivered> {
        let session = self.clients[client].session;
        self.ledger.deliveries.iter().filter(move |got| got.client == client && got.session == session)
    }

    /// Checks all guarantees when all clients are connected and no step is pending.
    pub(crate) fn finish(&mut self) {
        self.thaw();
        self.run();
        for client in 0..self.clients.len() {
            if self.clients[client].connection().is_none() {
                self.connect(client);
            }
        }
        self.run();
        for client in &self.clients {
            if !client.outgoing.is_empty() || !client.requests.is_empty() {
                self.fail(&format!("{} still waits for a response", client.name));
            }
        }
        for message in &self.ledger.messages {
            for (client, belief) in &message.receivers {
                self.check(message, *client, *belief);
            }
        }
        for client in 0..self.clients.len() {
            self.check_order(client);
            self.check_batches(client);
        }
    }

    /// Until a member of a group acknowledges a message, no member receives this message again, and no other member receives a later message of its topic.
    pub(crate) fn check_withheld(&self, client: usize, publish: &OutgoingPublish) {
        let place = |publish: &OutgoingPublish| {
            let is_it = |sent: &Sent| sent.payload.as_bytes() == &publish.message.payload[..];
            (publish.message.topic.clone(), self.ledger.messages.iter().position(is_it))
        };
        let (topic, number) = place(publish);
        for (holder, other) in self.clients.iter().enumerate() {
            let is_open = |before: Option<usize>| before == number || before < number && holder != client;
            if let Some((_, before)) = other.withheld.iter().map(place).find(|it| it.0 == topic && is_open(it.1)) {
                let [before, now] = [before, number].map(|number| &self.ledger.messages[number.unwrap()].payload);
                self.fail(&format!("{} gets {now:?}, and {} has {before:?}", self.clients[client].name, other.name));
            }
        }
    }

    /// A durable Session that is subscribed to all messages of a batch has got all of them or none.
    fn check_batches(&self, client: usize) {
        let is_there = |message: &Sent| matches!(message.receivers.get(client), Some((_, Belief::There(_))));
        for batch in self.ledger.messages.iter().filter(|message| !message.members.is_empty()) {
            let members = batch.members.iter().map(|member| &self.ledger.messages[*member]);
            let counts: Vec<_> =
                members.filter(|member| is_there(member)).map(|member| self.count(client, &member.payload)).collect();
            let is_durable = self.clients[client].lifetime == Lifetime::Durable;
            if is_durable && counts.contains(&0) && counts.iter().any(|count| *count > 0) {
                self.fail(&format!("{} got a part of a batch: {counts:?}", self.clients[client].name));
            }
        }
    }

    fn check(&self, message: &Sent, client: usize, belief: Belief) {
        let count = self.count(client, &message.payload);
        let (name, what) = (self.clients[client].name, format!("{:?} ({:?})", message.payload, message.qos));
        let is_durable = self.clients[client].lifetime == Lifetime::Durable;
        match belief {
            Belief::There(granted) => {
                let qos = message.qos.min(granted);
                if qos != Qos::AtLeastOnce && count > 1 {
                    self.fail(&format!("{what} was delivered {count} times to {name}"));
                }
                if is_durable && qos > Qos::AtMostOnce && message.acknowledged && count == 0 {
                    self.fail(&format!("{what} was acknowledged and is lost for {name}"));
                }
            }
            Belief::Gone if count > 0 => {
                self.fail(&format!("{what} came to {name}, who is not subscribed to {}", message.topic));
            }
            Belief::Gone | Belief::Open => {}
        }
    }

    /// For each publisher, topic and QoS, first copies arrive in the order they were sent.
    fn check_order(&self, client: usize) {
        let place = |payload: &str| self.deliveries(client).position(|got| got.payload == payload && !got.retain);
        for (number, message) in self.ledger.messages.iter().enumerate() {
            for later in &self.ledger.messages[number + 1..] {
                let alike =
                    (message.publisher, &message.topic, message.qos) == (later.publisher, &later.topic, later.qos);
                let (Some(first), Some(second)) = (place(&message.payload), place(&later.payload)) else { continue };
                if alike && first > second {
                    self.fail(&format!("{:?} came before {:?}", later.payload, message.payload));
                }
            }
        }
    }
}
