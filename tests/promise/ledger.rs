//! What went over the wire, and what was promised by it.

use oncemq::codec::Qos;

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
    /// PUBACK came, or PUBREC.
    pub(crate) acknowledged: bool,
    /// What each client believed to be subscribed to then.
    pub(crate) receivers: Vec<(usize, Belief)>,
}

/// What a client believes of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It is there: SUBACK came.
    There(Qos),
    /// It is not: UNSUBACK came, or it was never asked for.
    Gone,
    /// It was asked for, or taken back, and nothing was answered.
    Open,
}

/// A message as the application of a client got it.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) client: usize,
    /// Which of the client's Sessions it was.
    pub(crate) session: u32,
    pub(crate) payload: String,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
}

impl Lab {
    /// How often an application got a message, apart from retained ones at subscribing.
    pub(crate) fn count(&self, client: usize, payload: &str) -> usize {
        self.deliveries(client).filter(|delivered| delivered.payload == payload && !delivered.retain).count()
    }

    /// What it got in its present Session.
    pub(crate) fn deliveries(&self, client: usize) -> impl Iterator<Item = &Delivered> {
        let session = self.clients[client].session;
        self.ledger.deliveries.iter().filter(move |got| got.client == client && got.session == session)
    }

    /// All is well again, and everybody is there: what was promised has happened.
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
                self.fail(&format!("{} waits for an answer for ever", client.name));
            }
        }
        for message in &self.ledger.messages {
            for (client, belief) in &message.receivers {
                self.check(message, *client, *belief);
            }
        }
        for client in 0..self.clients.len() {
            self.check_order(client);
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

    /// Of each publisher, topic and QoS, the first copies come in the order they were sent.
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
