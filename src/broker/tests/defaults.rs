use std::num::NonZeroU16;
use std::time::Duration;

use crate::broker::{
    AnonymousSessions, DeadLetterLimits, DelayedLimits, Durability, QueueOverflow, ReceiptLimits, RedeliveryRules,
    Settings,
};
use crate::codec::Qos;
use crate::rewrite::RewriteRules;
use crate::routing::ShareStrategy;

/// Settings with small bounds, which tests can reach.
pub(in crate::broker) fn settings() -> Settings {
    Settings {
        maximum_qos: Qos::ExactlyOnce,
        retain_available: true,
        receive_maximum: NonZeroU16::new(10).unwrap(),
        topic_alias_maximum: 4,
        topic_alias_maximum_outgoing: 4,
        topic_length_max: 200,
        topic_levels_max: 8,
        subscriptions_per_session_max: 10,
        queued_messages_max: 100,
        queued_bytes_max: 1_000_000,
        queue_head: None,
        queue_overflow: QueueOverflow::DropOldest,
        dead_letter_topic: None,
        redelivery: RedeliveryRules::default(),
        dead_letter_limits: DeadLetterLimits {
            messages_max: 100,
            bytes_max: 100_000,
            age_max: Duration::from_secs(1_000),
        },
        receipts: ReceiptLimits { open_max: 100, per_client_max: 10, age_max: Duration::from_secs(100_000) },
        deduplication_window: Duration::from_secs(60),
        deduplication_ids_max: 3,
        check_retain_source: true,
        is_replicated: false,
        delayed_publish: true,
        batch_messages_max: 5,
        delayed_limits: DelayedLimits {
            messages_max: 1_000,
            bytes_max: 1_000_000,
            messages_per_client_max: 100,
            bytes_per_client_max: 100_000,
        },
        inflight_messages_max: NonZeroU16::new(20).unwrap(),
        inflight_bytes_max: None,
        outgoing_bytes_max: 100_000,
        slow_receiver_grace: Duration::from_secs(2),
        client_messages_per_second_max: None,
        client_bytes_per_second_max: None,
        keep_alive_max: None,
        session_expiry_max: u32::MAX,
        sessions_max: 1_000,
        connect_timeout: Duration::from_secs(10),
        client_id_length_max: 64,
        assigned_client_id_prefix: "auto-".into(),
        anonymous_sessions: AnonymousSessions::End,
        validate_payload_format: true,
        share_strategy: ShareStrategy::RoundRobin,
        response_information: None,
        server_reference: None,
        is_standby: false,
        durability: Durability::None,
        durability_rules: Vec::new(),
        exclusive_subscriptions: true,
        rewrite_rules: RewriteRules::default(),
        auto_subscriptions: Vec::new(),
        sys_interval: Duration::ZERO,
        client_events: false,
        listeners: Vec::new(),
        user_limits: crate::broker::UserLimits::default(),
        traced_per_million: None,
        journey_steps_max: 1_000,
    }
}
