//! Decides which messages of clients below `$SYS` are accepted: the states of bridges, in the topics that mosquitto uses.

use crate::broker::publish::refusal::Refusal;
use crate::codec::{ClientId, ReasonCode};
use crate::routing::Access;
use crate::topic::TopicName;

/// What a client's right to publish below `$SYS` depends on.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct SysPublisher<'a> {
    pub(in crate::broker) client_id: Option<&'a ClientId>,
    pub(in crate::broker) access: &'a Access,
    /// Whether its CONNECT has the bridge bit.
    pub(in crate::broker) is_bridge: bool,
}

/// Whether a topic is `$SYS` or below it.
#[inline]
pub(in crate::broker) fn is_sys(topic: &TopicName) -> bool {
    topic.as_str().strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks a PUBLISH or Will to a topic for which [`is_sys`] is true.
///
/// The only topics that clients may publish to are `$SYS/broker/connection/+/state`. With access rules, the rules decide. Without rules, a
/// bridge may publish any of them, and another client the one that has its own Client Identifier. The payload is limited to
/// [`STATE_BYTES_MAX`].
pub(in crate::broker) fn check_sys(
    publisher: SysPublisher<'_>,
    topic: &TopicName,
    payload_bytes: usize,
) -> Result<(), Refusal> {
    let Some(name) = bridge_name(topic) else {
        return Err(Refusal::below_sys(ReasonCode::TopicNameInvalid, "topics below $SYS are the broker's own"));
    };
    if let Err(denied) = publisher.access.publish(topic) {
        return Err(Refusal::by_access(denied));
    }
    let is_own = publisher.client_id.is_some_and(|client_id| client_id.as_str() == name);
    let is_by_rule = publisher.access.has_rules() || publisher.access.is_superuser();
    if !(is_by_rule || publisher.is_bridge || is_own) {
        let rule = "without an ACL file, only a bridge or the client with this Client Identifier may publish it";
        return Err(Refusal::below_sys(ReasonCode::NotAuthorized, rule));
    }
    if payload_bytes > STATE_BYTES_MAX {
        return Err(Refusal::below_sys(ReasonCode::QuotaExceeded, "the state of a bridge is limited to 64 bytes"));
    }
    Ok(())
}

/// Whether no client may publish to a topic, whatever it may do otherwise.
pub fn is_reserved(topic: &TopicName) -> bool {
    is_sys(topic) && bridge_name(topic).is_none()
}

/// The name of the bridge in `$SYS/broker/connection/NAME/state`.
fn bridge_name(topic: &TopicName) -> Option<&str> {
    let name = topic.as_str().strip_prefix("$SYS/broker/connection/")?.strip_suffix("/state")?;
    (!name.contains('/')).then_some(name)
}

/// The greatest payload of the state of a bridge. mosquitto publishes `0` and `1`.
const STATE_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_the_broker_begin_with_the_level_sys() {
        let is_sys = |name: &str| is_sys(&TopicName::try_from(name).unwrap());
        assert!(["$SYS", "$SYS/", "$SYS/broker/uptime", "$SYS/broker/connection/b/state"].into_iter().all(is_sys));
        assert!(!["$SYSTEM", "$SYSTEM/a", "$sys/a", "a/$SYS", "SYS/a", "$"].into_iter().any(is_sys));
    }

    #[test]
    fn state_topics_have_one_level_for_the_bridge() {
        let name = |name: &str| bridge_name(&TopicName::try_from(name).unwrap()).map(str::to_owned);
        assert_eq!(name("$SYS/broker/connection/host.b/state").as_deref(), Some("host.b"));
        assert_eq!(name("$SYS/broker/connection//state").as_deref(), Some(""));
        let is_reserved = |name: &str| is_reserved(&TopicName::try_from(name).unwrap());
        assert!(is_reserved("$SYS/broker/uptime") && is_reserved("$SYS"));
        assert!(!is_reserved("$SYS/broker/connection/b/state") && !is_reserved("a"));
        for other in [
            "$SYS/broker/connection/state",
            "$SYS/broker/connection/a/b/state",
            "$SYS/broker/connection/b/state/",
            "$SYS/broker/connection/b/states",
            "$SYS/broker/connection/b",
            "x/$SYS/broker/connection/b/state",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
