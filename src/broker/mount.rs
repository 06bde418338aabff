//! Puts the mount point of a client in front of the topics that it sends. The rest of the broker knows full topics only; a Session takes the
//! mount point away from what it sends to its client (`session/delivery.rs`).

use std::borrow::Cow;
use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::delayed::prefix::target_of;
use crate::broker::publish::refusal::Refusal;
use crate::codec::{Message, MessageProperties, ReasonCode, Subscription, Will};
use crate::session::Application;
use crate::topic::{Filter, MountPoint, TopicFilter, TopicName, Unmountable};

/// Mounts the topics of a PUBLISH. If messages can be delayed, the mount point is put behind `$delayed/SECONDS/`.
pub(in crate::broker) fn mount_application(
    mount_point: &MountPoint,
    application: &mut Application,
    can_delay: bool,
) -> Result<(), Unmountable> {
    let Message { topic, properties, .. } = &*application.message;
    let (topic, properties) = mount(mount_point, topic, properties, can_delay)?;
    let message: &mut Message = Arc::make_mut(&mut application.message);
    message.topic = topic;
    if let Some(properties) = properties {
        message.properties = properties;
    }
    // If the message is kept, it shares the topic of its route.
    application.is_topic_copied = false;
    Ok(())
}

/// Mounts the topics of a Will, as those of a PUBLISH.
pub(in crate::broker) fn mount_will(
    mount_point: &MountPoint,
    will: &mut Will,
    can_delay: bool,
) -> Result<(), Unmountable> {
    let (topic, properties) = mount(mount_point, &will.topic, &will.properties, can_delay)?;
    will.topic = topic;
    if let Some(properties) = properties {
        will.properties = properties;
    }
    Ok(())
}

/// The full topic, and the properties if they have a Response Topic.
fn mount(
    mount_point: &MountPoint,
    topic: &TopicName,
    properties: &MessageProperties,
    can_delay: bool,
) -> Result<(TopicName, Option<MessageProperties>), Unmountable> {
    let topic = match target_of(topic.as_str()).filter(|_| can_delay) {
        None => mount_point.topic(topic)?,
        Some((prefix, target)) => {
            let target = TopicName::try_from(target).map_err(|_| Unmountable::Reserved)?;
            let full = mount_point.topic(&target)?;
            TopicName::new(format!("{prefix}{full}").into()).map_err(|_| Unmountable::TooLong)?
        }
    };
    let response = properties.response_topic().map(|response| mount_point.text(&response)).transpose()?;
    Ok((topic, response.map(|response| properties.with_response_topic(Some(response)))))
}

/// The subscriptions with full Topic Filters. Those that can't be mounted are unchanged, and have the reason at the same place in the second
/// list, which is empty without a mount point.
pub(in crate::broker) fn mount_subscriptions<'a>(
    mount_point: Option<&MountPoint>,
    subscriptions: &'a [Subscription],
) -> (Cow<'a, [Subscription]>, Vec<Option<Unmountable>>) {
    let Some(mount_point) = mount_point else { return (Cow::Borrowed(subscriptions), Vec::new()) };
    let mounted = subscriptions.iter().map(|subscription| match mount_point.filter(&subscription.filter) {
        Ok(filter) => (Subscription { filter, ..*subscription }, None),
        Err(fault) => (subscription.clone(), Some(fault)),
    });
    let (mounted, faults): (Vec<_>, _) = mounted.unzip();
    (Cow::Owned(mounted), faults)
}

/// The full Topic Filters of an UNSUBSCRIBE. One that can't be mounted becomes one that no Session with a mount point has.
pub(in crate::broker) fn mount_filters<'a>(
    mount_point: Option<&MountPoint>,
    filters: &'a [Filter],
) -> Cow<'a, [Filter]> {
    let Some(mount_point) = mount_point else { return Cow::Borrowed(filters) };
    let mounted = filters.iter().map(|filter| match mount_point.filter(filter) {
        Ok(filter) => filter,
        Err(Unmountable::Reserved) => filter.clone(),
        Err(Unmountable::TooLong) => Filter::from(TopicFilter::reserved()),
    });
    Cow::Owned(mounted.collect())
}

impl Refusal {
    /// There is no such topic below the mount point of the client.
    pub(in crate::broker) fn unmountable(fault: Unmountable) -> Self {
        let rule = ByteString::from(fault.to_string());
        let (reason_code, is_limit) = (ReasonCode::TopicNameInvalid, fault == Unmountable::TooLong);
        Self { reason_code, rule: rule.clone(), sentence: rule, is_limit, source: None }
    }
}
