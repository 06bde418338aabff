//! The events of clients that wait to be published on `$SYS/clients/CLIENT/EVENT`, as JSON.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use crate::broker::operator::budget::Budget;
use crate::broker::report::ClientLabel;
use crate::codec::ReasonCode;
use crate::timestamp::Timestamp;
use crate::topic::{Filter, TopicName};

/// The events that wait to be published: at most [`BYTES_MAX`], of which [`PER_SECOND`] are added in a second. The others are counted.
#[derive(Debug)]
pub(in crate::broker) struct ClientEvents {
    waiting: VecDeque<(TopicName, String)>,
    bytes: usize,
    budget: Budget,
    left_out: u64,
    /// When the number that was left out was published last.
    told: Timestamp,
    /// Whether the timer is set.
    is_scheduled: bool,
}

impl Default for ClientEvents {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            budget: Budget::new(PER_SECOND),
            left_out: 0,
            told: Timestamp::default(),
            is_scheduled: false,
        }
    }
}

impl ClientEvents {
    /// Adds an event of a client that has sent CONNECT, or counts it. `fields` adds those that it has of its own.
    pub(in crate::broker) fn add(
        &mut self,
        client: &ClientLabel,
        event: &str,
        fields: impl FnOnce(&mut Object),
        now: Timestamp,
    ) {
        let client_id = client.client_id.as_ref().map_or("", |id| id.as_str());
        let topic = TopicName::new(format!("{PREFIX}{}/{event}", as_level(client_id)).into());
        match topic {
            Ok(topic) if self.bytes < BYTES_MAX && self.budget.take(now) => {
                let mut object = Object::of(client);
                fields(&mut object);
                let payload = object.end();
                self.bytes += topic.as_str().len() + payload.len();
                self.waiting.push_back((topic, payload));
            }
            Ok(_) | Err(_) => self.left_out += 1,
        }
    }

    /// Sets the flag of the timer. Returns whether it was not set before.
    pub(in crate::broker) const fn begin_wait(&mut self) -> bool {
        !std::mem::replace(&mut self.is_scheduled, true)
    }

    /// Takes all that wait, when the timer has run out.
    pub(in crate::broker) fn take(&mut self) -> VecDeque<(TopicName, String)> {
        self.is_scheduled = false;
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Takes the message about events that were left out, at most once a second: or when it may be taken, or `None` if there are none.
    pub(in crate::broker) fn take_left_out(
        &mut self,
        now: Timestamp,
    ) -> Option<Result<(TopicName, String), Timestamp>> {
        if self.left_out == 0 {
            return None;
        }
        let next = self.told + LEFT_OUT_INTERVAL;
        if now < next {
            return Some(Err(next));
        }
        self.told = now;
        let left_out = std::mem::take(&mut self.left_out);
        TopicName::try_from(LEFT_OUT).ok().map(|topic| Ok((topic, format!("{{\"left_out\":{left_out}}}"))))
    }
}

/// A Client Identifier as one level of a topic: what would be something else there is percent-encoded.
fn as_level(client_id: &str) -> String {
    let mut level = String::with_capacity(client_id.len());
    for char in client_id.chars() {
        if matches!(char, '/' | '+' | '#' | '%') || char.is_control() {
            let mut bytes = [0; 4];
            for byte in char.encode_utf8(&mut bytes).bytes() {
                let _ = write!(level, "%{byte:02X}"); // writing to a string can't fail
            }
        } else {
            level.push(char);
        }
    }
    level
}

/// A JSON object that is being written.
#[derive(Debug)]
pub(in crate::broker) struct Object(String);

impl Object {
    /// Without fields.
    pub(in crate::broker) fn new() -> Self {
        Self("{".to_owned())
    }

    fn of(client: &ClientLabel) -> Self {
        let mut object = Self::new();
        object.text("client_id", client.client_id.as_ref().map(|id| id.as_str()));
        object.text("user", client.user.as_deref());
        object.text("address", client.address.map(|address| address.to_string()).as_deref());
        object.text("listener", client.listener.as_deref());
        object.text("protocol_version", client.version);
        object
    }

    pub(in crate::broker) fn text(&mut self, name: &str, value: Option<&str>) {
        self.name(name);
        match value {
            Some(value) => self.quoted(value),
            None => self.0.push_str("null"),
        }
    }

    pub(in crate::broker) fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.0.push_str(if value { "true" } else { "false" });
    }

    pub(in crate::broker) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        let _ = write!(self.0, "{value}");
    }

    pub(in crate::broker) fn optional_number(&mut self, name: &str, value: Option<u64>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.text(name, None),
        }
    }

    /// An object with the fields that `fields` adds.
    pub(in crate::broker) fn object(&mut self, name: &str, fields: impl FnOnce(&mut Self)) {
        self.name(name);
        self.0.push('{');
        fields(self);
        self.0.push('}');
    }

    /// The filters of a packet and their Reason Codes, as many as fit, and the number of the others.
    pub(in crate::broker) fn filters<'a>(&mut self, answers: impl Iterator<Item = (&'a Filter, ReasonCode)>) {
        self.name("filters");
        self.0.push('[');
        let (mut bytes, mut left_out) = (0, 0);
        for (filter, reason_code) in answers {
            let filter = filter.to_string();
            if bytes > 0 && bytes + filter.len() > FILTERS_BYTES_MAX {
                left_out += 1;
                continue;
            }
            self.0.push_str(if bytes > 0 { ",{" } else { "{" });
            bytes += filter.len();
            self.text("filter", Some(&filter));
            self.number("reason_code", reason_code.number().into());
            self.0.push('}');
        }
        self.0.push(']');
        self.number("filters_left_out", left_out);
    }

    /// The text.
    pub(in crate::broker) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.quoted(name);
        self.0.push(':');
    }

    fn quoted(&mut self, text: &str) {
        self.0.push('"');
        for char in text.chars() {
            match char {
                '"' | '\\' => self.0.extend(['\\', char]),
                '\0'..='\u{1F}' => _ = write!(self.0, "\\u{:04x}", u32::from(char)),
                _ => self.0.push(char),
            }
        }
        self.0.push('"');
    }
}

const PREFIX: &str = "$SYS/clients/";
/// A client has a level more.
const LEFT_OUT: &str = "$SYS/clients/left_out";
/// Of one shard, as for the lines of the log about connects.
const PER_SECOND: u32 = 1_000;
const BYTES_MAX: usize = 1_024 * 1_024;
const FILTERS_BYTES_MAX: usize = 16_384;
const LEFT_OUT_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;

    #[test]
    fn a_client_identifier_is_one_level() {
        for (client_id, level) in [
            ("pump-7", "pump-7"),
            ("a/b", "a%2Fb"),
            ("+", "%2B"),
            ("#%", "%23%25"),
            ("é\n", "é%0A"),
            ("\u{85}", "%C2%85"),
        ] {
            assert_eq!(as_level(client_id), level);
        }
    }

    #[test]
    fn texts_of_clients_can_not_end_their_field() {
        let client = ClientLabel { client_id: Some(ClientId("a\"\\\n".into())), ..ClientLabel::default() };
        let mut object = Object::of(&client);
        object.flag("f", true);
        let filter = |text: &str| Filter::try_from(text).unwrap();
        let filters = [filter("a/\"b"), filter(&"x".repeat(FILTERS_BYTES_MAX)), filter("c")];
        object.filters(filters.iter().map(|filter| (filter, ReasonCode::GrantedQos1)));
        let expected = r#"{"client_id":"a\"\\\u000a","user":null,"address":null,"listener":null,"protocol_version":null,"f":true,"filters":[{"filter":"a/\"b","reason_code":1},{"filter":"c","reason_code":1}],"filters_left_out":1}"#;
        assert_eq!(object.end(), expected);
    }
}
