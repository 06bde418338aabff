//! What the shard reports, as entries of traces.

use crate::broker::{
    ClientLabel, FilterAnswer, LostMessages, OwnerChange, PublishedMessage, Report, SessionChange, WillOutcome,
};
use crate::codec::ReasonCode;
use crate::server::shard::trace::TraceEntry;
use crate::timestamp::Timestamp;

/// The entries of a report: one, or one for each filter.
pub(super) fn entries(report: &Report, at: Timestamp) -> Box<dyn Iterator<Item = TraceEntry> + '_> {
    let entry = |client: &ClientLabel, event| TraceEntry { at, client: client.clone(), event, ..TraceEntry::default() };
    let one = |entry| Box::new(std::iter::once(entry));
    let code = |reason_code: &ReasonCode| Some(reason_code.number());
    let because = |cause: &str| Some(cause.to_owned());
    match report {
        Report::Connected { client, version, clean_start, session_present, keep_alive, .. } => {
            let session = name_of_session(*clean_start, *session_present);
            let details = Some(format!("MQTT {version}, {session} session, Keep Alive {keep_alive} s"));
            one(TraceEntry { details, ..entry(client, "connected") })
        }
        Report::Silent { client, cause } => one(TraceEntry { reason: because(cause), ..entry(client, "probe") }),
        Report::Disconnected { client, reason_code, cause, .. } => {
            let (reason_code, reason) = (code(reason_code), because(cause));
            one(TraceEntry { reason_code, reason, ..entry(client, "disconnected") })
        }
        Report::Refused { client, reason_code, cause } => {
            let (reason_code, reason) = (code(reason_code), because(cause));
            one(TraceEntry { reason_code, reason, ..entry(client, "refused") })
        }
        Report::Denied { client, packet, topic, reason_code, rule } => {
            let (packet, topic) = (Some(*packet), because(topic));
            let (reason_code, rule) = (code(reason_code), because(rule));
            one(TraceEntry { packet, topic, reason_code, rule, ..entry(client, "denied") })
        }
        Report::OwnerChanged { client, owner, change, .. } => {
            let what = match change {
                OwnerChange::Adopted => "the session becomes the user's",
                OwnerChange::Ended => "the session ends",
                OwnerChange::Given => "an operator gave the session",
            };
            let reason = Some(format!("{what}; it belongs to {owner}"));
            one(TraceEntry { reason, ..entry(client, "owner-changed") })
        }
        Report::Unreadable { client, cause, .. } => {
            one(TraceEntry { reason: because(cause), ..entry(client, "unreadable") })
        }
        Report::Dropping { client, reason } => {
            one(TraceEntry { reason: because(reason.name()), ..entry(client, "dropping") })
        }
        Report::Lost { client, messages } => one(of_lost(entry(client, "dropped"), messages)),
        Report::Published { message, reason_code, duplicate, receivers } => {
            let PublishedMessage { client, topic, qos, retain, bytes } = &**message;
            one(TraceEntry {
                topic: because(topic),
                qos: Some(qos.level()),
                retain: Some(*retain),
                bytes: Some(*bytes),
                reason_code: code(reason_code),
                reason: duplicate.then(|| "a repeat by its dedup-id".to_owned()),
                receivers: Some(*receivers),
                ..entry(client, "published")
            })
        }
        Report::Subscribed { client, answers } => Box::new(of_filters(entry(client, "subscribed"), answers)),
        Report::Unsubscribed { client, answers } => Box::new(of_filters(entry(client, "unsubscribed"), answers)),
        Report::Session { client, change } => {
            let (event, reason) = of_session(*change);
            one(TraceEntry { reason, ..entry(client, event) })
        }
        Report::Will { client, topic, outcome } => {
            let (event, receivers, reason) = match outcome {
                WillOutcome::Published { receivers } => ("will-published", Some(*receivers), None),
                WillOutcome::Discarded { cause } => ("will-discarded", None, because(cause)),
            };
            one(TraceEntry { topic: because(topic), receivers, reason, ..entry(client, event) })
        }
    }
}

/// What the Session of a client that has connected was before.
const fn name_of_session(clean_start: bool, session_present: bool) -> &'static str {
    match (clean_start, session_present) {
        (true, _) => "clean",
        (false, true) => "stored",
        (false, false) => "new",
    }
}

fn of_filters(entry: TraceEntry, answers: &[FilterAnswer]) -> impl Iterator<Item = TraceEntry> {
    answers.iter().map(move |FilterAnswer { filter, reason_code }| TraceEntry {
        topic: Some(filter.clone()),
        reason_code: Some(reason_code.number()),
        ..entry.clone()
    })
}

fn of_lost(entry: TraceEntry, messages: &LostMessages) -> TraceEntry {
    let LostMessages { topic, qos, reason, count, message_id } = messages;
    TraceEntry {
        topic: topic.as_deref().map(str::to_owned),
        qos: qos.map(|qos| qos.level()),
        reason: Some(reason.name().to_owned()),
        message_id: message_id.map(|id| id.to_string()),
        details: (*count > 1).then(|| format!("{count} messages")),
        ..entry
    }
}

fn of_session(change: SessionChange) -> (&'static str, Option<String>) {
    match change {
        SessionChange::Created => ("session-created", None),
        SessionChange::Resumed { queued } => ("session-resumed", Some(format!("queued messages: {queued}"))),
        SessionChange::TakenOver => ("session-taken-over", None),
        SessionChange::Moved { to } => ("session-moved", Some(format!("to shard {}", to.0))),
        SessionChange::Expired => ("session-expired", None),
        SessionChange::Ended { cause } => ("session-ended", Some(cause.to_owned())),
    }
}
