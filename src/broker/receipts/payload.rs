//! The message that a receipt is.

use std::sync::Arc;

use crate::broker::client_events::Object;
use crate::broker::receipts::receipt::Receipt;
use crate::codec::{Message, MessageProperties, MessageProperty, Qos};
use crate::session::Application;

/// The receipt as it is published.
pub(in crate::broker) fn application(receipt: &Receipt) -> Application {
    let correlation = receipt.correlation.clone().map(MessageProperty::CorrelationData);
    let of_payload = [
        MessageProperty::PayloadFormatIndicator(true),
        MessageProperty::ContentType(bytestring::ByteString::from_static(CONTENT_TYPE)),
    ];
    let properties = MessageProperties::from_properties(of_payload.into_iter().chain(correlation));
    let message = Message { properties, ..Message::new(receipt.to.clone(), payload(receipt)) };
    Application {
        message: Arc::new(message),
        is_topic_copied: true,
        qos: Qos::AtLeastOnce,
        retain: false,
        packet_id: None,
        message_expiry_interval: None,
    }
}

/// Whether a message is a receipt: it is not sent again if its receiver refuses it, and does not become a dead letter.
pub(in crate::broker) fn is_receipt(message: &Message) -> bool {
    message.properties.content_type() == Some(CONTENT_TYPE)
}

fn payload(receipt: &Receipt) -> String {
    let mut object = Object::new();
    object.text("message_id", receipt.message_id.map(|id| id.to_string()).as_deref());
    object.text("topic", Some(&receipt.topic));
    object.number("receivers", receipt.receivers.into());
    let mut outcomes = receipt.outcomes.clone();
    outcomes.sort_unstable_by_key(|(outcome, _)| *outcome);
    let mut by_name: Vec<(&str, u64)> = Vec::new();
    for (outcome, count) in &outcomes {
        match by_name.last_mut() {
            Some((name, before)) if *name == outcome.name() => *before += u64::from(*count),
            _ => by_name.push((outcome.name(), u64::from(*count))),
        }
    }
    object.object("outcomes", |object| {
        by_name.iter().for_each(|(name, count)| object.number(name, *count));
    });
    object.number("outstanding", receipt.unknown().into());
    let mut by_code: std::collections::BTreeMap<u8, u64> = std::collections::BTreeMap::new();
    for (outcome, count) in &outcomes {
        if let Some(code) = outcome.reason_code() {
            *by_code.entry(code).or_default() += u64::from(*count);
        }
    }
    object.object("reason_codes", |object| {
        by_code.iter().for_each(|(code, count)| object.number(&format!("0x{code:02x}"), *count));
    });
    object.number("accepted_at", receipt.at.0);
    object.optional_number("first_outcome_at", receipt.times.map(|(first, _)| first.0));
    object.optional_number("last_outcome_at", receipt.times.map(|(_, last)| last.0));
    object.end()
}

/// The Content Type of receipts.
const CONTENT_TYPE: &str = "application/vnd.oncemq.receipt+json";
