//! What mosquitto's state consists of, as plain data. The payloads stay where they are until they are written.

use std::collections::HashMap;

use super::error::Fault;

/// The whole state but topics, payloads and properties of messages.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The format, for people.
    pub(super) format: String,
    /// The messages, in the order in which mosquitto accepted them once [`sort`](Self::sort) was called.
    pub(super) messages: Vec<MessagePlace>,
    pub(super) clients: Vec<Client>,
    /// The messages of clients, in mosquitto's order for each client.
    pub(super) client_messages: Vec<ClientMessage>,
    /// The Subscription Identifiers of messages of clients; the first element is that without any.
    pub(super) subscription_ids: Vec<Box<[u32]>>,
    pub(super) subscriptions: Vec<Subscription>,
    /// The store identifiers of retained messages.
    pub(super) retained: Vec<u64>,
    /// A number that differs between files: a checksum of what was read.
    pub(super) fingerprint: u32,
    /// Whether mosquitto went on after it saved this.
    pub(super) is_interim: bool,
    /// Will Messages, which are not taken over.
    pub(super) wills: u32,
    by_id: HashMap<Box<[u8]>, u32>,
    by_subscription_ids: HashMap<Box<[u32]>, u32>,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessagePlace {
    /// mosquitto's number of it.
    pub(super) store_id: u64,
    /// Where its chunk begins, or another number by which the source finds it.
    pub(super) place: u64,
    /// When it expires, in seconds since the Unix epoch; 0: never.
    pub(super) expiry_time: i64,
    /// The bytes of its chunk, including the header.
    pub(super) length: u32,
}

/// A message as it is in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) topic: Vec<u8>,
    pub(super) payload: Vec<u8>,
    /// In the wire format, without their length.
    pub(super) properties: Vec<u8>,
    /// The Client Identifier of the publisher; empty: none.
    pub(super) source_id: Vec<u8>,
    /// The user name of the publisher; empty: none.
    pub(super) source_user: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// A client with a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: Box<[u8]>,
    /// `None`: the file only has what belongs to it.
    pub(super) session: Option<Session>,
}

/// The session of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) user: Option<Box<str>>,
    /// Whether the file has a user name for it that is that of another client.
    pub(super) has_foreign_user: bool,
    /// The last Packet Identifier that mosquitto gave to a message for it.
    pub(super) last_packet_id: u16,
    /// When the session ends, in seconds since the Unix epoch; 0: not known, or never.
    pub(super) expiry_time: i64,
    /// When its connection ended, in seconds since the Unix epoch; 0: not known.
    pub(super) disconnected_at: i64,
    /// In seconds; `u32::MAX`: never.
    pub(super) expiry_interval: u32,
}

/// A message to or from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientMessage {
    pub(super) store_id: u64,
    /// The place of its client.
    pub(super) client: u32,
    /// The place of its Subscription Identifiers.
    pub(super) subscription_ids: u32,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) state: State,
    pub(super) flags: u8,
}

impl ClientMessage {
    /// It is a message from the client.
    pub(super) const INCOMING: u8 = 1;
    /// RETAIN.
    pub(super) const RETAIN: u8 = 2;
    /// It was sent at least once.
    pub(super) const DUP: u8 = 4;

    pub(super) const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// How far a message to a client has got. A message from a client always waits for PUBREL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It was not sent, or it is not known whether it was.
    Waiting,
    /// It was sent, and the client did not acknowledge it.
    Sent,
    /// PUBREC was received.
    Released,
}

impl State {
    /// From mosquitto's number: 3 and 5 wait for PUBACK and PUBREC, 6 and 9 send PUBREL again and wait for PUBCOMP.
    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            3 | 5 => Self::Sent,
            6 | 9 => Self::Released,
            _ => Self::Waiting,
        }
    }
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The place of its client.
    pub(super) client: u32,
    pub(super) filter: Box<[u8]>,
    /// The Subscription Options, as in SUBSCRIBE.
    pub(super) options: u8,
    /// 0: none.
    pub(super) identifier: u32,
}

impl Contents {
    pub(super) fn new(format: String) -> Self {
        let mut contents = Self { format, ..Self::default() };
        contents.subscription_ids.push(Box::default());
        contents.by_subscription_ids.insert(Box::default(), 0);
        contents
    }

    /// The place of the client with this Client Identifier.
    pub(super) fn client(&mut self, id: &[u8]) -> Result<u32, Fault> {
        if let Some(place) = self.by_id.get(id) {
            return Ok(*place);
        }
        let place = u32::try_from(self.clients.len()).map_err(|_| Fault::TooMany)?;
        self.clients.push(Client { id: id.into(), session: None });
        self.by_id.insert(id.into(), place);
        Ok(place)
    }

    /// Sets the session of a client.
    pub(super) fn set_session(&mut self, id: &[u8], session: Session) -> Result<(), Fault> {
        let place = self.client(id)?;
        if let Some(client) = self.clients.get_mut(place as usize) {
            client.session = Some(session);
        }
        Ok(())
    }

    /// The place of these Subscription Identifiers.
    pub(super) fn subscription_ids(&mut self, ids: &[u32]) -> Result<u32, Fault> {
        if let Some(place) = self.by_subscription_ids.get(ids) {
            return Ok(*place);
        }
        let place = u32::try_from(self.subscription_ids.len()).map_err(|_| Fault::TooMany)?;
        self.subscription_ids.push(ids.into());
        self.by_subscription_ids.insert(ids.into(), place);
        Ok(place)
    }

    /// Puts everything in the order in which it is written. Of several messages with one number, the last is left.
    pub(super) fn sort(&mut self) {
        self.messages.reverse();
        self.messages.sort_by_key(|message| message.store_id);
        self.messages.dedup_by_key(|message| message.store_id);
        self.client_messages.sort_by_key(|message| message.client);
        self.subscriptions.sort_by_key(|subscription| subscription.client);
        self.retained.sort_unstable();
        self.retained.dedup();
        self.by_id = HashMap::new();
        self.by_subscription_ids = HashMap::new();
    }

    /// The place of the message with this number, after [`sort`](Self::sort).
    pub(super) fn message(&self, store_id: u64) -> Option<usize> {
        self.messages.binary_search_by_key(&store_id, |message| message.store_id).ok()
    }
}
