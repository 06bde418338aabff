//! Converts the configuration to the settings of the broker.

use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use super::authentication::PublisherRights;
use super::cells::CellTerms;
use super::own_client::Kind;
use crate::auth;
use crate::broker::{
    AnonymousSessions, AutoSubscription, Backoff, DeadLetterLimits, DelayedLimits, Durability, DurabilityRule,
    ListenerTerms, QueueHead, QueueOverflow, ReceiptLimits, Recovered, RedeliveryRule, RedeliveryRules, Settings,
    Shared, UserLimit, UserLimits,
};
use crate::codec::{ProtocolVersion, RetainHandling, SubscriptionOptions};
use crate::config::{self, AcceptedVersion, Config, MaximumQos, SharedSubscriptionStrategy};
use crate::rewrite::{RewriteRules, Template};
use crate::routing::{RetainedLimits, ShareStrategy};
use crate::topic::{TopicFilter, TopicName};

/// What all shards share in this run.
pub(super) fn new_shared(
    (config, cell): (&Config, Option<&CellTerms>),
    recovered: &Recovered,
    (memory_max, shards, run): (u64, usize, u64),
    authentication: &Arc<auth::Pool>,
) -> Arc<Shared> {
    let stored = recovered.retained.iter().map(|message| message.memory()).sum();
    let limits = retained_limits(config, memory_max, stored);
    let rights = Arc::new(PublisherRights(Arc::clone(authentication)));
    let shared = Shared::new(shards, limits).of_run(run).with_rights(rights);
    Arc::new(cell.map(CellTerms::of_broker).into_iter().fold(shared, Shared::of_cell))
}

/// The settings of every shard.
pub(super) fn broker_settings(config: &Config) -> Settings {
    let (mqtt, limits, telemetry) = (&config.mqtt, &config.limits, &config.telemetry);
    Settings {
        maximum_qos: mqtt.maximum_qos,
        retain_available: mqtt.retain_available,
        is_replicated: config.cluster.is_enabled(),
        check_retain_source: config.security.check_retain_source,
        receive_maximum: limits.receive_maximum,
        topic_alias_maximum: limits.topic_alias_maximum,
        topic_alias_maximum_outgoing: limits.topic_alias_maximum_outgoing,
        topic_length_max: usize::from(limits.topic_length_max.get()),
        topic_levels_max: usize::from(limits.topic_levels_max.get()),
        subscriptions_per_session_max: limits.subscriptions_per_session_max,
        queued_messages_max: limits.queued_messages_max,
        queued_bytes_max: limits.queued_bytes_max,
        queue_head: (durability(config.strongest_durability()) > Durability::None).then(QueueHead::default),
        queue_overflow: match limits.queue_overflow {
            config::QueueOverflow::DropOldest => QueueOverflow::DropOldest,
            config::QueueOverflow::DropNewest => QueueOverflow::DropNewest,
            config::QueueOverflow::Reject => QueueOverflow::Reject,
        },
        dead_letter_topic: mqtt.dead_letter_topic.as_deref().and_then(|topic| TopicName::try_from(topic).ok()),
        deduplication_window: mqtt.deduplication_window,
        deduplication_ids_max: limits.deduplication_ids_max,
        delayed_publish: mqtt.delayed_publish,
        batch_messages_max: mqtt.batch_messages_max,
        delayed_limits: DelayedLimits {
            messages_max: limits.delayed_messages_max,
            bytes_max: limits.delayed_bytes_max,
            messages_per_client_max: limits.delayed_messages_per_client_max,
            bytes_per_client_max: limits.delayed_bytes_per_client_max,
        },
        redelivery: RedeliveryRules::new(config.redelivery.iter().filter_map(redelivery_rule)),
        dead_letter_limits: dead_letter_limits(limits),
        receipts: receipt_limits(&config.receipts),
        inflight_messages_max: limits.inflight_messages_max,
        inflight_bytes_max: limits.inflight_bytes_max.and_then(bytes),
        outgoing_bytes_max: limits.outgoing_bytes_max,
        slow_receiver_grace: limits.slow_receiver_grace,
        client_messages_per_second_max: limits.client_messages_per_second_max,
        client_bytes_per_second_max: limits.client_bytes_per_second_max,
        keep_alive_max: limits.keep_alive_max.map(keep_alive),
        session_expiry_max: limits.session_expiry_max.map_or(u32::MAX, seconds),
        sessions_max: limits.sessions_max,
        connect_timeout: limits.connect_timeout,
        client_id_length_max: usize::from(limits.client_id_length_max),
        assigned_client_id_prefix: mqtt.assigned_client_id_prefix.as_str().into(),
        anonymous_sessions: anonymous_sessions(config.security.anonymous_sessions),
        validate_payload_format: mqtt.validate_payload_format,
        exclusive_subscriptions: mqtt.exclusive_subscriptions,
        share_strategy: match mqtt.shared_subscription_strategy {
            SharedSubscriptionStrategy::RoundRobin => ShareStrategy::RoundRobin,
            SharedSubscriptionStrategy::LeastInFlight => ShareStrategy::LeastInFlight,
            SharedSubscriptionStrategy::Sticky => ShareStrategy::Sticky,
            SharedSubscriptionStrategy::HashPublisher => ShareStrategy::HashPublisher,
            SharedSubscriptionStrategy::HashTopic => ShareStrategy::HashTopic,
        },
        response_information: mqtt.response_information.as_deref().map(Into::into),
        server_reference: mqtt.server_reference.as_deref().map(Into::into),
        is_standby: false,
        durability: durability(config.server.durability),
        durability_rules: config.durability_rules.iter().filter_map(durability_rule).collect(),
        rewrite_rules: RewriteRules::new(config.topic_rewrite.iter().filter_map(|rule| rule.compile().ok())),
        auto_subscriptions: config.auto_subscribe.iter().map(auto_subscription).collect(),
        sys_interval: mqtt.sys_interval,
        client_events: mqtt.client_events,
        journey_steps_max: config.admin.journey_steps_max,
        traced_per_million: telemetry.endpoint.as_ref().map(|_| telemetry.sampling_ratio.per_million()),
        listeners: config.listeners.iter().map(listener_terms).collect(),
        user_limits: UserLimits::new(config.user_limits.iter().map(user_limit).chain(of_sinks(config)).collect()),
    }
}

fn listener_terms(listener: &config::Listener) -> ListenerTerms {
    let version = |version: &AcceptedVersion| match version {
        AcceptedVersion::V3_1 => ProtocolVersion::V3_1,
        AcceptedVersion::V3_1_1 => ProtocolVersion::V3_1_1,
        AcceptedVersion::V5 => ProtocolVersion::V5,
    };
    ListenerTerms {
        name: (*listener.label()).into(),
        protocol_versions: listener.protocol_versions.as_ref().map(|versions| versions.iter().map(version).collect()),
        assigns_client_ids: listener.allow_empty_client_id,
        assigned_client_id_prefix: listener.assigned_client_id_prefix.as_deref().map(Into::into),
        maximum_qos: listener.maximum_qos.map(|MaximumQos(qos)| qos),
        retain_available: listener.retain_available,
        topic_alias_maximum: listener.topic_alias_maximum,
        topic_alias_maximum_outgoing: listener.topic_alias_maximum_outgoing,
        keep_alive_max: listener.keep_alive_max.map(keep_alive),
    }
}

fn user_limit(limit: &config::UserLimit) -> UserLimit {
    UserLimit {
        users: limit.users.clone(),
        provider: limit.provider.as_deref().map(Into::into),
        connections_max: limit.connections_max,
        messages_per_second_max: limit.client_messages_per_second_max,
        bytes_per_second_max: limit.client_bytes_per_second_max,
        receive_maximum: limit.receive_maximum,
        inflight_messages_max: limit.inflight_messages_max,
        inflight_bytes_max: limit.inflight_bytes_max.and_then(bytes),
        subscriptions_per_session_max: limit.subscriptions_per_session_max,
        queued_messages_max: limit.queued_messages_max,
        queued_bytes_max: limit.queued_bytes_max.and_then(|bytes| bytes.try_into().ok()),
    }
}

/// What sinks have in memory while their services don't take it. An entry of the configuration for the user of a sink precedes it.
fn of_sinks(config: &Config) -> Option<UserLimit> {
    let of_all = config.limits.inflight_bytes_max.and_then(bytes);
    (!config.sinks.is_empty()).then(|| UserLimit {
        users: vec!["*".to_owned()],
        provider: Some(Kind::Sink.provider().into()),
        inflight_bytes_max: Some(of_all.map_or(SINK_BYTES_MAX, |bytes| bytes.min(SINK_BYTES_MAX))),
        ..UserLimit::default()
    })
}

/// `None` for an invalid topic filter, which the configuration rejects.
fn durability_rule(rule: &config::DurabilityRule) -> Option<DurabilityRule> {
    let topic_filter = TopicFilter::new(rule.topic.as_str().into()).ok()?;
    Some(DurabilityRule { topic_filter, level: durability(rule.level) })
}

const fn anonymous_sessions(sessions: config::AnonymousSessions) -> AnonymousSessions {
    match sessions {
        config::AnonymousSessions::End => AnonymousSessions::End,
        config::AnonymousSessions::Adopt => AnonymousSessions::Adopt,
    }
}

const fn receipt_limits(receipts: &config::Receipts) -> ReceiptLimits {
    ReceiptLimits {
        open_max: receipts.open_max,
        per_client_max: receipts.open_per_client_max,
        age_max: receipts.max_age,
    }
}

const fn dead_letter_limits(limits: &config::Limits) -> DeadLetterLimits {
    DeadLetterLimits {
        messages_max: limits.dead_letters_max,
        bytes_max: limits.dead_letters_bytes_max,
        age_max: limits.dead_letters_age_max,
    }
}

/// `None` for an invalid topic filter, which the configuration rejects.
fn redelivery_rule(rule: &config::Redelivery) -> Option<RedeliveryRule> {
    Some(RedeliveryRule {
        topic_filter: TopicFilter::new(rule.topic.as_str().into()).ok()?,
        attempts: rule.attempts,
        backoff: Backoff {
            first: rule.backoff_first,
            factor: rule.backoff_factor,
            most: rule.backoff_most,
            jitter: rule.backoff_jitter,
        },
        dead_letter_topic: rule.dead_letter_topic.as_deref().and_then(|topic| TopicName::try_from(topic).ok()),
        keeps_order: rule.keep_order,
    })
}

/// `None` for an invalid one, which the configuration rejects.
fn auto_subscription(one: &config::AutoSubscribe) -> AutoSubscription {
    AutoSubscription {
        topic: Template::new(&one.topic),
        options: SubscriptionOptions {
            qos: one.qos,
            no_local: one.no_local,
            retain_as_published: one.retain_as_published,
            retain_handling: match one.retain_handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        },
        users: one.users.iter().map(|user| Arc::from(user.as_str())).collect(),
        listeners: one.listeners.iter().map(|name| Arc::from(name.as_str())).collect(),
    }
}

/// Converts a durability level.
pub(super) const fn durability(level: config::Durability) -> Durability {
    match level {
        config::Durability::PowerLoss => Durability::PowerLoss,
        config::Durability::Crash => Durability::Crash,
        config::Durability::None => Durability::None,
    }
}

/// The limits for the retained messages of all shards together. `stored`: the bytes of those that there are, in the store at the start.
pub(super) fn retained_limits(config: &Config, memory_max: u64, stored: usize) -> RetainedLimits {
    // They stay in memory for ever, so the rest must be for others. A smaller budget than before discards none.
    let memory_share = usize::try_from(memory_max / 2).unwrap_or(usize::MAX).max(stored);
    RetainedLimits {
        retained_messages_max: config.limits.retained_messages_max,
        retained_bytes_max: config.limits.retained_bytes_max.min(memory_share),
    }
}

/// Rounds up to the whole seconds of MQTT; at most `u32::MAX`.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// `None` for 0, which the configuration rejects.
fn bytes(bytes: u32) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn keep_alive(duration: Duration) -> NonZeroU16 {
    let seconds = u16::try_from(seconds(duration)).unwrap_or(u16::MAX);
    NonZeroU16::new(seconds).unwrap_or(NonZeroU16::MIN)
}

/// The bytes of the messages that a sink has taken and not acknowledged, from which on it gets no further one.
const SINK_BYTES_MAX: NonZeroUsize = NonZeroUsize::new(16 << 20).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_whole_seconds_in_the_range_of_the_protocol() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(90)), 90);
        assert_eq!(seconds(Duration::MAX), u32::MAX);
        assert_eq!(keep_alive(Duration::ZERO), NonZeroU16::MIN);
        assert_eq!(keep_alive(Duration::from_secs(60)).get(), 60);
        assert_eq!(keep_alive(Duration::from_secs(100_000)), NonZeroU16::MAX);
    }

    #[test]
    fn a_limit_that_is_not_set_becomes_the_maximum() {
        let mut config = Config::default();
        config.limits.session_expiry_max = None;
        config.limits.keep_alive_max = None;
        let settings = broker_settings(&config);
        assert_eq!(settings.session_expiry_max, u32::MAX);
        assert_eq!(settings.keep_alive_max, None);
    }
}
