use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::{optional_duration, optional_size};
use super::{Durability, Mqtt, Problem};
use crate::topic::TopicFilter;

/// The messages of some topics, kept in order and numbered: one `[[streams]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name, by which it is subscribed to and found again after a restart.
    pub name: String,
    /// A Topic Filter: the topics whose messages it keeps.
    pub topic: String,
    /// Messages that were accepted longer ago are removed. `None`: never because of their age.
    #[serde(default, with = "optional_duration")]
    pub max_age: Option<Duration>,
    /// The oldest messages are removed if its files are larger. `None`: no bound.
    #[serde(default = "default_max_bytes", with = "optional_size")]
    pub max_bytes: Option<u64>,
    /// The oldest messages are removed if there are more. `None`: no bound.
    #[serde(default)]
    pub max_messages: Option<u64>,
    /// What the key of a message is: of each key, the last message is kept, and earlier ones are removed in the background. `None`: all are kept.
    #[serde(default)]
    pub key: Option<StreamKey>,
    /// What happens to a subscription that begins with a message that was removed.
    #[serde(default)]
    pub trimmed_offset: TrimmedOffset,
    /// Which member of a group of subscribers gets a message.
    #[serde(default)]
    pub group_dispatch: GroupDispatch,
    /// For `hash-key`: the User Property whose value is the key.
    #[serde(default)]
    pub group_key: Option<String>,
}

/// How the messages of a stream are distributed among the members of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupDispatch {
    /// To the members in turn.
    #[default] // as Shared Subscriptions
    RoundRobin,
    /// The messages of a topic to the same member.
    HashTopic,
    /// The messages with the same key to the same member.
    HashKey,
}

/// What the key of a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKey {
    /// `key = "topic"`: its topic.
    Topic,
    /// `key = { user_property = "NAME" }`: the value of its first User Property with this name. A message without one is kept.
    UserProperty(String),
}

/// What happens to a subscription that begins with a message that a stream does not keep any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrimmedOffset {
    /// It is refused.
    #[default] // the consumer learns that it has missed messages
    Refuse,
    /// It begins with the oldest message.
    Oldest,
}

#[expect(clippy::unnecessary_wraps, reason = "the type of the setting")]
const fn default_max_bytes() -> Option<u64> {
    Some(1 << 30) // it can't fill a disk unnoticed
}

impl Stream {
    /// Checks what the types do not express. `key` is the path of this stream, such as `streams[0]`.
    fn problems(&self, key: &str, mqtt: &Mqtt) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=NAME_MAX).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            problem("name", "must have 1 to 64 letters, digits, ., _ and -");
        }
        match TopicFilter::new(self.topic.as_str().into()) {
            Err(error) => problem("topic", &format!("is not a valid topic filter for a stream: {error}")),
            Ok(_) if self.topic.len() > TOPIC_BYTES_MAX => problem("topic", "must have at most 1,024 bytes"),
            Ok(_) => mqtt.why_no_message_has(&self.topic).into_iter().for_each(|text| problem("topic", text)),
        }
        if self.max_age.is_some_and(|age| age < MAX_AGE_MIN) {
            problem("max_age", "must be at least \"1s\"");
        }
        if self.max_bytes.is_some_and(|bytes| bytes < MAX_BYTES_MIN) {
            problem("max_bytes", "must be at least \"1MiB\"");
        }
        if let Some(StreamKey::UserProperty(name)) = &self.key
            && !(1..=PROPERTY_BYTES_MAX).contains(&name.len())
        {
            problem("key", "must name a User Property of 1 to 256 bytes");
        }
        if self.max_messages == Some(0) {
            problem("max_messages", "must be at least 1");
        }
        match (self.group_dispatch, &self.group_key) {
            (GroupDispatch::HashKey, None) => {
                problem("group_key", "names the User Property that is the key: group_dispatch is \"hash-key\"");
            }
            (GroupDispatch::RoundRobin | GroupDispatch::HashTopic, Some(_)) => {
                problem("group_key", "has no effect: group_dispatch is not \"hash-key\"");
            }
            (GroupDispatch::HashKey, Some(key)) if !(1..=KEY_BYTES_MAX).contains(&key.len()) => {
                problem("group_key", "must have 1 to 256 bytes");
            }
            _ => {}
        }
        problems
    }
}

/// Checks all streams. `durability`: the level of the store.
pub(super) fn problems(streams: &[Stream], durability: Durability, mqtt: &Mqtt) -> Vec<Problem> {
    let mut problems = Vec::new();
    if streams.len() > STREAMS_MAX {
        problems.push(Problem::new("streams", "must be at most 256"));
    }
    if !streams.is_empty() && durability == Durability::None {
        let text = "need a store, and there is none: server.durability is \"none\"";
        problems.push(Problem::new("streams", text));
    }
    for (index, stream) in streams.iter().enumerate() {
        problems.extend(stream.problems(&format!("streams[{index}]"), mqtt));
    }
    problems
}

const NAME_MAX: usize = 64;
const PROPERTY_BYTES_MAX: usize = 256;
const TOPIC_BYTES_MAX: usize = 1_024;
const KEY_BYTES_MAX: usize = 256;
/// Retention is enforced once a second.
const MAX_AGE_MIN: Duration = Duration::from_secs(1);
/// A few files.
const MAX_BYTES_MIN: u64 = 1 << 20;
/// Each has open files, and a topic is compared with all of them.
const STREAMS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn problems(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn a_stream_that_cannot_be_used_is_a_problem_of_its_setting() {
        let one = |settings: &str| problems(&format!("[[streams]]\n{settings}\n"));
        assert_eq!(one("name = 'orders-1.a_B'\ntopic = 'orders/#'"), [""; 0]);
        assert_eq!(one("name = ''\ntopic = '#'"), ["streams[0].name"]);
        assert_eq!(one("name = 'a/b'\ntopic = '#'"), ["streams[0].name"]);
        assert_eq!(one(&format!("name = '{}'\ntopic = '#'", "a".repeat(65))), ["streams[0].name"]);
        assert_eq!(one("name = 'a'\ntopic = 'a/#/b'"), ["streams[0].topic"]);
        assert_eq!(one("name = 'a'\ntopic = '$share/g/a'"), ["streams[0].topic"]);
        for (topic, setting) in [("$batch", "batch_messages_max = 0"), ("$delayed/#", "delayed_publish = false")] {
            let stream = format!("[[streams]]\nname = 'a'\ntopic = '{topic}'\n");
            assert_eq!(problems(&stream), ["streams[0].topic"]);
            assert_eq!(problems(&format!("[mqtt]\n{setting}\n{stream}")), [""; 0]);
        }
        assert_eq!(one("name = 'a'\ntopic = 'a'\nmax_age = '10ms'"), ["streams[0].max_age"]);
        assert_eq!(one("name = 'a'\ntopic = 'a'\nmax_bytes = '1KiB'"), ["streams[0].max_bytes"]);
        assert_eq!(one("name = 'a'\ntopic = 'a'\nmax_messages = 0"), ["streams[0].max_messages"]);
        assert_eq!(one("name = 'a'\ntopic = 'a'\nkey = 'topic'"), [""; 0]);
        assert_eq!(one("name = 'a'\ntopic = 'a'\nkey = { user_property = 'device' }"), [""; 0]);
        assert_eq!(one("name = 'a'\ntopic = 'a'\nkey = { user_property = '' }"), ["streams[0].key"]);
        assert!(toml::from_str::<Config>("[[streams]]\nname = 'a'\ntopic = 'a'\nkey = 'payload'").is_err());
        let dispatch = |settings: &str| one(&format!("name = 'a'\ntopic = 'a'\n{settings}"));
        assert_eq!(dispatch("group_dispatch = 'hash-key'\ngroup_key = 'customer'"), [""; 0]);
        assert_eq!(dispatch("group_dispatch = 'hash-topic'"), [""; 0]);
        for wrong in ["group_dispatch = 'hash-key'", "group_key = 'x'", "group_dispatch = 'hash-key'\ngroup_key = ''"] {
            assert_eq!(dispatch(wrong), ["streams[0].group_key"]);
        }
        let twice = "[[streams]]\nname = 'a'\ntopic = 'a'\n[[streams]]\nname = 'a'\ntopic = 'b'\n";
        assert_eq!(problems(twice), ["streams[1].name"]);
    }

    #[test]
    fn streams_need_a_store() {
        let stream = "[[streams]]\nname = 'a'\ntopic = 'a'\n";
        assert_eq!(problems(&format!("[server]\ndurability = 'none'\n{stream}")), ["streams"]);
        let stored = "[[durability_rules]]\ntopic = 'a'\nlevel = 'crash'\n";
        assert_eq!(problems(&format!("[server]\ndurability = 'none'\n{stored}{stream}")), [""; 0]);
    }
}
