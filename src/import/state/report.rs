//! What was taken over and what was not.

use std::fmt;

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The format of the file, for people.
    pub format: String,
    /// Sessions.
    pub sessions: u64,
    /// Sessions that belong to the user whose name mosquitto has stored.
    pub sessions_of_users: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Messages in the queues of sessions, each as often as it is queued; those in flight too.
    pub queued: u64,
    /// Of these: messages that were sent, and keep their Packet Identifier.
    pub in_flight: u64,
    /// Of these: QoS 2 messages that the client has received, so that only PUBREL is sent.
    pub released: u64,
    /// QoS 2 messages from clients that mosquitto had not published yet: the broker publishes them when it starts.
    pub incoming: u64,
    /// What is not taken over, and what is noteworthy.
    pub remarks: Vec<Remark>,
}

/// Several of something that is not taken over, or is taken over in another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// What it is.
    pub kind: RemarkKind,
    /// How many there are.
    pub count: u64,
    /// The names of some of them, at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

/// What a [`Remark`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemarkKind {
    /// mosquitto went on after it saved the file.
    Interim,
    /// The Session Expiry Interval had passed.
    SessionExpired,
    /// The Session ended with its connection.
    SessionEnded,
    /// The caller left it out.
    SessionLeftOut,
    /// The Client Identifier is not a text.
    SessionUnnamed,
    /// Messages and subscriptions of no session.
    Stray,
    /// Messages of the sessions above.
    MessageOfSession,
    /// The filter is not valid.
    SubscriptionInvalid,
    /// A queued message at QoS 0.
    QueuedQos0,
    /// A queued message that had expired.
    QueuedExpired,
    /// A message of a client that is not in the file, because mosquitto dropped it.
    MessageMissing,
    /// A message from a client that waits for no PUBREL: the client sends it again.
    IncomingIncomplete,
    /// A retained message that had expired.
    RetainedExpired,
    /// A Will Message, which only the SQLite store has.
    Will,
    /// A message whose topic is not valid.
    TopicInvalid,
    /// A message in flight without a Packet Identifier of its own: it is sent as a new one.
    IdentifierTaken,
    /// The session has no owner because its user name is that of another client.
    UserForeign,
    /// The session looks as if it were that of a bridge.
    BridgeLike,
}

impl RemarkKind {
    /// What happened to them.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Interim => "file that was saved while mosquitto ran: what happened since then is not in it",
            Self::SessionExpired => "sessions not taken over: their expiry had passed",
            Self::SessionEnded => "sessions not taken over: they ended with their connection",
            Self::SessionLeftOut => "sessions not taken over: left out by name",
            Self::SessionUnnamed => "sessions not taken over: the client identifier is not a text that MQTT allows",
            Self::Stray => "messages and subscriptions not taken over: their session is not in the file",
            Self::MessageOfSession => "messages not taken over with their sessions",
            Self::SubscriptionInvalid => "subscriptions not taken over: the filter is not valid",
            Self::QueuedQos0 => "queued messages not taken over: QoS 0 is not stored",
            Self::QueuedExpired => "queued messages not taken over: they had expired",
            Self::MessageMissing => "messages not taken over: they are not in the file",
            Self::IncomingIncomplete => "messages from clients not taken over: their clients send them again",
            Self::RetainedExpired => "retained messages not taken over: they had expired",
            Self::Will => "Will Messages not taken over: their connections ended with mosquitto",
            Self::TopicInvalid => "messages not taken over: the topic is not a text that MQTT allows",
            Self::IdentifierTaken => {
                "messages in flight sent as new ones: they had no packet identifier, or that of another message"
            }
            Self::UserForeign => {
                "sessions without an owner: mosquitto before 2.0.16 stored a user name that may be another client's"
            }
            Self::BridgeLike => "sessions that look like those of bridges; leave them out if no bridge uses them here",
        }
    }

    /// Whether something is lost.
    pub const fn is_loss(self) -> bool {
        !matches!(self, Self::IdentifierTaken | Self::UserForeign | Self::BridgeLike | Self::IncomingIncomplete)
    }
}

impl Report {
    /// Whether there was nothing to take over.
    pub const fn is_empty(&self) -> bool {
        self.sessions == 0 && self.retained == 0
    }

    /// Adds one to a remark, with its name.
    pub(super) fn remark(&mut self, kind: RemarkKind, name: &[u8]) {
        self.remark_several(kind, 1, name);
    }

    /// Adds several, of which this is the name of one; empty: none is named.
    pub(super) fn remark_several(&mut self, kind: RemarkKind, count: u64, name: &[u8]) {
        if count == 0 {
            return;
        }
        let place = self.remarks.binary_search_by_key(&kind, |remark| remark.kind).unwrap_or_else(|place| {
            self.remarks.insert(place, Remark { kind, count: 0, examples: Vec::new() });
            place
        });
        let Some(remark) = self.remarks.get_mut(place) else { return };
        remark.count += count;
        if remark.examples.len() < EXAMPLES_MAX && !name.is_empty() {
            let name = String::from_utf8_lossy(name);
            if remark.examples.last().is_none_or(|last| *last != name) {
                remark.examples.push(name.into_owned());
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}:", self.format)?;
        for (count, text) in [
            (self.retained, "retained messages"),
            (self.sessions, "sessions"),
            (self.sessions_of_users, "  of these, of a user whose name mosquitto has stored"),
            (self.subscriptions, "subscriptions"),
            (self.queued, "queued messages"),
            (self.in_flight, "  of these, in flight: sent again with the same packet identifier"),
            (self.released, "  of these, received by the client: only PUBREL is sent again"),
            (self.incoming, "QoS 2 messages from clients, published when the broker starts"),
        ] {
            writeln!(formatter, "{count:>12} {text}")?;
        }
        for Remark { kind, count, examples } in &self.remarks {
            write!(formatter, "{count:>12} {}", kind.text())?;
            if !examples.is_empty() {
                let more = if examples.len() == EXAMPLES_MAX { ", …" } else { "" };
                write!(formatter, ": {}{more}", quoted(examples))?;
            }
            writeln!(formatter)?;
        }
        if self.is_empty() {
            writeln!(formatter, "The file has neither sessions nor retained messages.")?;
        }
        Ok(())
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// The most names of a [`Remark`].
pub const EXAMPLES_MAX: usize = 10;
