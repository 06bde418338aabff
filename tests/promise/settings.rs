use std::num::NonZeroU16;
use std::time::Duration;

use oncemq::broker::{
    AnonymousSessions, Backoff, DeadLetterLimits, DelayedLimits, Durability, QueueHead, QueueOverflow, ReceiptLimits,
    RedeliveryRule, RedeliveryRules, Settings,
};
use oncemq::codec::Qos;
use oncemq::rewrite::RewriteRules;
use oncemq::routing::ShareStrategy;
use oncemq::topic::{TopicFilter, TopicName};

/// Two attempts, the second after five seconds.
fn rule(filter: &'static str, keeps_order: bool) -> RedeliveryRule {
    RedeliveryRule {
        topic_filter: TopicFilter::new(filter.into()).unwrap(),
        attempts: 2,
        backoff: Backoff { first: Duration::from_secs(5), factor: 1, most: Duration::from_secs(5), jitter: 0 },
        dead_letter_topic: None,
        keeps_order,
    }
}

fn dead_letters() -> TopicName {
    TopicName::try_from("dead").unwrap()
}

/// Settings without effective limits.
pub(crate) fn settings() -> Settings {
    Settings {
        maximum_qos: Qos::ExactlyOnce,
        retain_available: true,
        receive_maximum: NonZeroU16::new(20).unwrap(),
        topic_alias_maximum: 0,
        topic_alias_maximum_outgoing: 0,
        topic_length_max: 100,
        topic_levels_max: 10,
        subscriptions_per_session_max: 20,
        queued_messages_max: 100_000,
        queued_bytes_max: 100_000_000,
        queue_head: Some(QueueHead { messages_max: 2, bytes_max: 1_000, away_share: 2 }),
        queue_overflow: QueueOverflow::DropOldest,
        dead_letter_topic: None,
        redelivery: RedeliveryRules::new([
            rule("refused/#", false),
            rule("ordered/#", true),
            RedeliveryRule { dead_letter_topic: Some(dead_letters()), ..rule("group/#", false) },
        ]),
        dead_letter_limits: DeadLetterLimits {
            messages_max: 100,
            bytes_max: 100_000,
            age_max: Duration::from_secs(1_000),
        },
        receipts: ReceiptLimits { open_max: 100, per_client_max: 10, age_max: Duration::from_secs(1_000) },
        deduplication_window: Duration::from_secs(60),
        deduplication_ids_max: 10,
        check_retain_source: true,
        is_replicated: false,
        delayed_publish: true,
        batch_messages_max: 5,
        delayed_limits: DelayedLimits {
            messages_max: 100,
            bytes_max: 100_000,
            messages_per_client_max: 100,
            bytes_per_client_max: 100_000,
        },
        inflight_messages_max: NonZeroU16::new(100).unwrap(),
        inflight_bytes_max: None,
        outgoing_bytes_max: 1_000_000,
        slow_receiver_grace: Duration::from_secs(1),
        client_messages_per_second_max: None,
        client_bytes_per_second_max: None,
        keep_alive_max: None,
        session_expiry_max: u32::MAX,
        sessions_max: 1_000,
        connect_timeout: Duration::from_secs(20),
        client_id_length_max: 100,
        assigned_client_id_prefix: "auto-".into(),
        anonymous_sessions: AnonymousSessions::End,
        validate_payload_format: true,
        share_strategy: ShareStrategy::RoundRobin,
        response_information: None,
        server_reference: None,
        is_standby: false,
        durability: Durability::PowerLoss,
        durability_rules: Vec::new(),
        exclusive_subscriptions: true,
        rewrite_rules: RewriteRules::default(),
        auto_subscriptions: Vec::new(),
        sys_interval: Duration::ZERO,
        client_events: false,
        listeners: Vec::new(),
        user_limits: oncemq::broker::UserLimits::default(),
        traced_per_million: None,
        journey_steps_max: 100,
    }
}
