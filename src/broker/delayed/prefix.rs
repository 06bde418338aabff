//! The prefix `$delayed/SECONDS/` of a Topic Name.

use crate::broker::publish::refusal::Refusal;
use crate::broker::publish::sys::is_sys;
use crate::topic::TopicName;

/// Whether a Topic Name has the prefix.
#[inline]
pub(in crate::broker) fn is_delayed(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}

/// Divides a Topic Name with the prefix behind it; `None`: it has none, or nothing behind it.
pub(in crate::broker) fn target_of(topic: &str) -> Option<(&str, &str)> {
    let (_, target) = topic.strip_prefix(PREFIX)?.split_once('/')?;
    topic.split_at_checked(topic.len() - target.len())
}

/// The delay in seconds and the topic behind the prefix of a Topic Name for which [`is_delayed`] is true.
pub(in crate::broker) fn parse(topic: &str) -> Result<(u32, TopicName), Refusal> {
    let Some((seconds, target)) = topic.strip_prefix(PREFIX).unwrap_or_default().split_once('/') else {
        return Err(Refusal::by_limit("the topic of a delayed message must be $delayed/SECONDS/TOPIC"));
    };
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = seconds.parse().ok().filter(|seconds| is_number && *seconds <= SECONDS_MAX);
    let Some(seconds) = seconds else {
        return Err(Refusal::by_limit(format!(
            "the delay of $delayed/SECONDS/TOPIC must be a number from 0 to {SECONDS_MAX}"
        )));
    };
    let Ok(target) = TopicName::try_from(target) else {
        return Err(Refusal::by_limit("there is no topic behind $delayed/SECONDS/"));
    };
    if is_delayed(target.as_str()) {
        return Err(Refusal::by_limit("a delayed message can't be delayed again: $delayed/SECONDS/$delayed/…"));
    }
    if is_sys(&target) {
        return Err(Refusal::by_limit("a delayed message can't be published below $SYS"));
    }
    Ok((seconds, target))
}

const PREFIX: &str = "$delayed/";

/// The longest delay, about 497 days: the maximum of EMQX.
const SECONDS_MAX: u32 = 42_949_670;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_has_a_number_of_seconds_and_a_topic() {
        let parsed = |topic: &str| parse(topic).map(|(seconds, topic)| (seconds, topic.to_string())).ok();
        for (topic, seconds, target) in [
            ("$delayed/5/t", 5, "t"),
            ("$delayed/0/a/b", 0, "a/b"),
            ("$delayed/007/t", 7, "t"),
            ("$delayed/42949670//", 42_949_670, "/"),
            ("$delayed/1/$exclusive/t", 1, "$exclusive/t"),
        ] {
            assert_eq!(parsed(topic), Some((seconds, target.to_owned())), "{topic}");
        }
        for topic in [
            "$delayed/",
            "$delayed/5",
            "$delayed/5/",
            "$delayed//t",
            "$delayed/-1/t",
            "$delayed/+1/t",
            "$delayed/1.5/t",
            "$delayed/1e3/t",
            "$delayed/ 5/t",
            "$delayed/five/t",
            "$delayed/42949671/t",
            "$delayed/99999999999999999999999999/t",
            "$delayed/٣/t",
            "$delayed/5/$SYS/x",
            "$delayed/5/$SYS",
            "$delayed/0/$SYS/broker/connection/b/state",
            "$delayed/5/$delayed/5/x",
        ] {
            assert_eq!(parsed(topic), None, "{topic}");
        }
    }
}
