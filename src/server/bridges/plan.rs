//! What the configuration says about a bridge, in the words of the relay.

use std::fs;
use std::io::{self, Read};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::error::BridgeError;
use crate::bridge::{BRIDGE_ID, Rule, Rules};
use crate::codec::{Connect, ProtocolVersion, Qos, RetainHandling, Subscription, SubscriptionOptions, Will};
use crate::config::{self, BridgeDirection, BridgeProtocol, BridgeRetain, BridgeTopic};
use crate::topic::{Filter, TopicFilter, TopicName};

/// The rules of both directions: to the other broker, and from it.
pub(super) fn rules(settings: &config::Bridge) -> (Rules, Rules) {
    let topics = settings.topics.iter();
    let out = topics.clone().filter(|topic| topic.direction != BridgeDirection::In).filter_map(|topic| {
        let (filter, from, to) = (topic.local_filter(), &topic.local_prefix, &topic.remote_prefix);
        rule(topic, (filter, from, to))
    });
    let inward = topics.filter(|topic| topic.direction != BridgeDirection::Out).filter_map(|topic| {
        let (filter, from, to) = (topic.remote_filter(), &topic.remote_prefix, &topic.local_prefix);
        rule(topic, (filter, from, to))
    });
    (Rules(out.collect()), Rules(inward.collect()))
}

fn rule(topic: &BridgeTopic, (filter, from, to): (String, &str, &str)) -> Option<Rule> {
    Some(Rule {
        filter: TopicFilter::new(filter.into()).ok()?,
        from_prefix: from.to_owned(),
        to_prefix: to.to_owned(),
        qos: topic.qos.0,
        keeps_retain: topic.retain == BridgeRetain::Keep,
    })
}

/// The subscriptions of a bridge for the rules of one direction. Of equal filters, the highest QoS counts: a later SUBSCRIBE would replace the
/// earlier one. `retained` says what is sent of the retained messages that are there.
pub(super) fn subscriptions(rules: &Rules, retained: RetainHandling) -> Vec<Subscription> {
    let mut found: Vec<Subscription> = Vec::new();
    for rule in &rules.0 {
        let Ok(filter) = Filter::new(rule.filter.as_str().to_owned().into()) else { continue };
        if let Some(same) = found.iter_mut().find(|subscription| subscription.filter == filter) {
            same.options.qos = same.options.qos.max(rule.qos);
            continue;
        }
        let options = SubscriptionOptions {
            // Its own messages don't come back.
            no_local: true,
            retain_as_published: true,
            retain_handling: retained,
            ..SubscriptionOptions::new(rule.qos)
        };
        found.push(Subscription { filter, options });
    }
    found
}

/// The filters of a bridge here.
pub(super) fn local_filters(settings: &config::Bridge) -> impl Iterator<Item = String> {
    let subscriptions = subscriptions(&rules(settings).0, RetainHandling::SendIfNew);
    subscriptions.into_iter().map(|one| one.filter.to_string())
}

/// What is to be subscribed here before the other broker is there, and the filters whose retained messages it has not been sent: those of
/// which there is no subscription yet, or only one that was made in this way. The others have been sent, so they are asked for only if they are new.
pub(super) fn lacking(subscribed: &[Subscription], rules: &Rules) -> (Vec<Subscription>, Vec<Filter>) {
    let (mut lacking, mut owed) = (Vec::new(), Vec::new());
    for mut wanted in subscriptions(rules, RetainHandling::DoNotSend) {
        let found = subscribed.iter().find(|one| one.filter == wanted.filter).map(|one| one.options);
        match found.map(|options| options.retain_handling) {
            None | Some(RetainHandling::DoNotSend) => owed.push(wanted.filter.clone()),
            Some(_) => wanted.options.retain_handling = RetainHandling::SendIfNew,
        }
        if found.is_none_or(|options| options.qos != wanted.options.qos) {
            lacking.push(wanted);
        }
    }
    (lacking, owed)
}

/// Whether messages of QoS 2 may pass in this direction.
pub(super) fn has_qos_2(rules: &Rules) -> bool {
    rules.0.iter().any(|rule| rule.qos == Qos::ExactlyOnce)
}

/// The version that the bridge speaks to the other broker.
pub(super) const fn version(settings: &config::Bridge) -> ProtocolVersion {
    match settings.protocol_version {
        BridgeProtocol::V3_1_1 => ProtocolVersion::V3_1_1,
        BridgeProtocol::V5 => ProtocolVersion::V5,
    }
}

/// The CONNECT for the other broker. `receive_maximum` and `maximum_packet_size` are what this broker takes.
pub(super) fn connect_there(
    settings: &config::Bridge,
    has_bridge_bit: bool,
    (receive_maximum, maximum_packet_size): (NonZeroU16, u32),
) -> Result<Connect, BridgeError> {
    let mut connect = Connect::new(version(settings), settings.remote_client_id(), settings.clean_start);
    connect.is_bridge = has_bridge_bit;
    connect.keep_alive = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
    connect.user_name = settings.user_name.as_deref().map(Into::into);
    connect.password = settings.password_file.as_deref().map(password).transpose()?;
    if !settings.notifications_local_only {
        connect.will = settings.state_topic().and_then(|topic| will(&topic));
    }
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let properties = &mut connect.properties;
    if settings.protocol_version == BridgeProtocol::V5 {
        properties.session_expiry_interval = settings.session_expiry.map_or(u32::MAX, seconds);
        properties.receive_maximum = receive_maximum;
        properties.maximum_packet_size = NonZeroU32::new(maximum_packet_size);
        properties.user_properties = [(BRIDGE_ID, "ask")].into_iter().collect();
    }
    Ok(connect)
}

/// The state that the other broker publishes when the connection is lost.
fn will(topic: &str) -> Option<Will> {
    Some(Will {
        topic: TopicName::new(topic.to_owned().into()).ok()?,
        payload: Bytes::from_static(b"0"),
        qos: Qos::AtLeastOnce,
        retain: true,
        will_delay_interval: 0,
        message_expiry_interval: None,
        properties: Default::default(),
    })
}

/// The first line of the file.
fn password(path: &Path) -> Result<Bytes, BridgeError> {
    let fail = |source: io::Error| BridgeError::File { path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(fail)?;
    file.take(PASSWORD_MAX).read_to_end(&mut text).map_err(fail)?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// In bytes, as many as a password may have.
const PASSWORD_MAX: u64 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(text: &str) -> config::Bridge {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_direction_has_its_rules_and_equal_filters_one_subscription() {
        let bridge = bridge(
            "topics = [{ filter = \"a/#\", direction = \"both\", qos = 1, local_prefix = \"l/\", remote_prefix = \"r/\" },
             { filter = \"b\", direction = \"out\" }, { filter = \"b\", direction = \"out\", qos = 0, retain = \"clear\" },
             { filter = \"c\", direction = \"in\", qos = 0 }]",
        );
        let (out, inward) = rules(&bridge);
        let filters = |rules: &Rules| {
            let texts = subscriptions(rules, RetainHandling::SendIfNew)
                .into_iter()
                .map(|one| (one.filter.to_string(), one.options.qos.level()));
            texts.collect::<Vec<_>>()
        };
        assert_eq!(filters(&out), [("l/a/#".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(filters(&inward), [("r/a/#".to_owned(), 1), ("c".to_owned(), 0)]);
        assert_eq!((out.0.len(), has_qos_2(&out), has_qos_2(&inward)), (3, true, false));
    }

    #[test]
    fn filters_that_are_new_or_have_another_qos_are_subscribed_before_the_other_broker_is_there() {
        let (out, _) = rules(&bridge("topics = [{ filter = \"a\" }, { filter = \"b\" }, { filter = \"c\" }]"));
        let texts = |(lacking, owed): (Vec<Subscription>, Vec<Filter>)| {
            let lacking = lacking.iter().map(|one| (one.filter.to_string(), one.options.retain_handling));
            (lacking.collect::<Vec<_>>(), owed.iter().map(Filter::to_string).collect::<Vec<_>>())
        };
        let mut stored = subscriptions(&out, RetainHandling::SendIfNew);
        assert_eq!(texts(lacking(&stored, &out)), (vec![], vec![]));
        stored[1].options.retain_handling = RetainHandling::DoNotSend;
        stored[2].options.qos = Qos::AtMostOnce;
        let again = ("c".to_owned(), RetainHandling::SendIfNew);
        assert_eq!(texts(lacking(&stored, &out)), (vec![again.clone()], vec!["b".to_owned()]));
        stored.remove(0);
        let new = ("a".to_owned(), RetainHandling::DoNotSend);
        assert_eq!(texts(lacking(&stored, &out)), (vec![new, again], vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn the_connect_for_the_other_broker_says_what_this_one_takes() {
        let limits = (NonZeroU16::new(7).unwrap(), 1_000);
        let five = connect_there(&bridge("name = \"b\""), false, limits).unwrap();
        assert_eq!(
            (five.client_id.as_ref(), five.clean_start, five.properties.receive_maximum.get()),
            ("oncemq-b", false, 7)
        );
        assert_eq!(five.properties.session_expiry_interval, u32::MAX);
        assert_eq!(five.will.unwrap().topic.as_str(), "$SYS/broker/connection/oncemq-b/state");
        let three = "name = \"b\"\nprotocol_version = \"3.1.1\"\nnotifications = false";
        let three = connect_there(&bridge(three), true, limits).unwrap();
        assert!(three.is_bridge && three.will.is_none() && !three.clean_start);
    }

    #[test]
    fn the_first_line_of_the_file_is_the_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        for (written, expected) in [("secret\n", "secret"), ("secret\r\nmore\n", "secret"), ("", "")] {
            fs::write(&path, written).unwrap();
            assert_eq!(password(&path).unwrap(), expected, "{written:?}");
        }
        assert!(password(&directory.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
