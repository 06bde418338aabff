use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use tracing::Level;
use tracing::field::{DisplayValue, display};

use crate::broker::{
    ClientLabel, FilterAnswer, LostMessages, MemoryLevel, Owner, OwnerChange, PublishedMessage, Report, SessionChange,
    WillOutcome,
};
use crate::codec::ReasonCode;
use crate::server::LogEvent;
use crate::server::log::{Whom, allows, cut, cut_text, log_line};
use crate::server::memory::MemoryBudget;
use crate::timestamp::Timestamp;

/// Writes a line about one client, with its fields: `client_line!(EventName, client, { field = value }, "sentence")`.
macro_rules! client_line {
    ($event:ident, $client:expr, { $($fields:tt)* }, $($sentence:tt)+) => {{
        let names = $crate::server::report::Names::of($client);
        $crate::server::log::log_line!(
            $event {
                client_id = names.client_id.as_deref(),
                user = names.user.as_deref(),
                address = names.address,
                listener = names.listener,
                protocol_version = names.version,
                $($fields)*
            },
            $($sentence)+
        );
    }};
}
pub(in crate::server) use client_line;

/// Writes a report of the broker to the log.
///
/// Lines that any client can cause (refusals, denials, drops) are limited, each event by itself. Details are not: they are written by
/// request.
pub(super) fn write(report: &Report, now: Timestamp) {
    let may_write = |event, client| is_written(event) && allows(event, Whom::from(client), now);
    match report {
        Report::Connected { client, version, clean_start, session_present, keep_alive, .. } => {
            if may_write(LogEvent::ClientConnected, client) {
                write_connected(client, version, (*clean_start, *session_present), *keep_alive);
            }
        }
        Report::Silent { client, cause } => write_probed(client, cause),
        Report::Disconnected { client, reason_code, cause, .. } => {
            if may_write(LogEvent::ClientDisconnected, client) {
                write_disconnected(client, *reason_code, cause);
            }
        }
        Report::Refused { client, reason_code, cause } => {
            if may_write(LogEvent::ClientRefused, client) {
                let (code, cause) = (reason_code.number(), cut_text(cause));
                client_line!(
                    ClientRefused,
                    client,
                    { reason_code = code, reason = &*cause },
                    "{} refused: {cause} (0x{code:02X})",
                    Label(client)
                );
            }
        }
        Report::Denied { client, packet, topic, reason_code, rule } => {
            if may_write(LogEvent::PacketDenied, client) {
                write_denied(client, packet, (topic, rule), *reason_code);
            }
        }
        Report::OwnerChanged { client, owner, previous, change } => {
            if may_write(LogEvent::SessionOwnerChanged, client) {
                write_owner_changed(client, (owner, previous), *change);
            }
        }
        Report::Unreadable { client, sequence, cause } => {
            if may_write(LogEvent::MessageUnreadable, client) {
                write_unreadable(client, *sequence, cause);
            }
        }
        Report::Dropping { client, reason } => {
            if may_write(LogEvent::MessagesDropped, client) {
                let reason = reason.name();
                client_line!(MessagesDropped, client, { reason }, "{}: dropping messages: {reason}", Label(client));
            }
        }
        Report::Lost { client, messages } => write_lost(client, messages),
        Report::Published { message, reason_code, duplicate, receivers } => {
            write_published(message, *reason_code, *duplicate, *receivers);
        }
        Report::Subscribed { client, answers } => write_subscribed(client, answers),
        Report::Unsubscribed { client, answers } => write_unsubscribed(client, answers),
        Report::Session { client, change } => write_session(client, *change),
        Report::Will { client, topic, outcome } => write_will(client, topic, *outcome),
    }
}

fn write_probed(client: &ClientLabel, cause: &str) {
    let ClientLabel { address, listener, .. } = client;
    let reason = cut_text(cause);
    log_line!(
        Probed { address = address.map(display), listener = listener.as_deref(), reason = &*reason },
        "{}: probe: {reason} before it sent anything",
        Label(client)
    );
}

/// Whether the level of the log includes an event. Otherwise its lines count for no budget.
fn is_written(event: LogEvent) -> bool {
    event.level() != Level::INFO || tracing::enabled!(target: "oncemq", Level::INFO)
}

fn write_disconnected(client: &ClientLabel, reason_code: ReasonCode, cause: &str) {
    let (code, cause) = (reason_code.number(), cut_text(cause));
    client_line!(
        ClientDisconnected,
        client,
        { reason_code = code, reason = &*cause },
        "{} disconnected: {cause} (0x{code:02X})",
        Label(client)
    );
}

fn write_connected(client: &ClientLabel, version: &str, (clean_start, session_present): (bool, bool), keep_alive: u16) {
    let session = match (clean_start, session_present) {
        (true, _) => "clean",
        (false, true) => "stored",
        (false, false) => "new",
    };
    client_line!(
        ClientConnected,
        client,
        { clean_start, session_present, keep_alive },
        "{} connected: MQTT {version}, {session} session, keep alive {keep_alive} s",
        Label(client),
    );
}

fn write_denied(client: &ClientLabel, packet: &str, (topic, rule): (&str, &str), reason_code: ReasonCode) {
    let (code, topic, rule) = (reason_code.number(), cut(topic), cut_text(rule));
    client_line!(
        PacketDenied,
        client,
        { packet, topic = &*topic, reason_code = code, rule = &*rule },
        "{} denied: {packet} {topic:?}: {rule} (0x{code:02X})",
        Label(client)
    );
}

fn write_unreadable(client: &ClientLabel, sequence: u64, cause: &str) {
    let cause = cut_text(cause);
    client_line!(
        MessageUnreadable,
        client,
        { sequence, reason = &*cause },
        "{}: dropped message {sequence}, which can't be read from the store: {cause}",
        Label(client)
    );
}

fn write_owner_changed(client: &ClientLabel, (owner, previous): (&Owner, &Owner), change: OwnerChange) {
    let (owner, previous_owner) = (owner.to_string(), previous.to_string());
    let (owner, previous_owner) = (cut(&owner), cut(&previous_owner));
    let reason = match change {
        OwnerChange::Adopted => "the session becomes the user's",
        OwnerChange::Ended => "the session ends",
        OwnerChange::Given => "an operator gave the session",
    };
    client_line!(
        SessionOwnerChanged,
        client,
        { owner = &*owner, previous_owner = &*previous_owner, reason },
        "{}: {reason}: it belonged to {previous_owner}, and the Client Identifier belongs to {owner} now",
        Label(client)
    );
}

fn write_lost(client: &ClientLabel, messages: &LostMessages) {
    let LostMessages { topic, qos, reason, count, message_id } = messages;
    let (topic, reason) = (topic.as_deref().map(cut), reason.name());
    let (qos, of_topic) = (qos.map(|qos| qos.level()), topic.as_deref().unwrap_or_default());
    client_line!(
        MessageDropped,
        client,
        { topic = topic.as_deref(), qos, reason, count, message_id = message_id.map(display) },
        "{}: {count} dropped {of_topic:?}: {reason}",
        Label(client)
    );
}

fn write_published(message: &PublishedMessage, reason_code: ReasonCode, duplicate: bool, receivers: usize) {
    let PublishedMessage { client, topic, qos, retain, bytes } = message;
    let (topic, qos, code) = (cut(topic), qos.level(), reason_code.number());
    client_line!(
        MessagePublished,
        client,
        { topic = &*topic, qos, retain, bytes, receivers, reason_code = code, duplicate },
        "{} published {topic:?}: QoS {qos}{}, {bytes} bytes, receivers: {receivers}{} (0x{code:02X})",
        Label(client),
        if *retain { ", RETAIN" } else { "" },
        if duplicate { ", a repeat by its dedup-id" } else { "" },
    );
}

fn write_subscribed(client: &ClientLabel, answers: &[FilterAnswer]) {
    for FilterAnswer { filter, reason_code } in answers {
        let (topic, code) = (cut(filter), reason_code.number());
        let granted = match reason_code.is_error() {
            true => "refused".to_owned(),
            false => format!("granted QoS {code}"),
        };
        client_line!(
            FilterSubscribed,
            client,
            { topic = &*topic, reason_code = code },
            "{} SUBSCRIBE {topic:?}: {granted} (0x{code:02X})",
            Label(client)
        );
    }
}

fn write_unsubscribed(client: &ClientLabel, answers: &[FilterAnswer]) {
    for FilterAnswer { filter, reason_code } in answers {
        let (topic, code) = (cut(filter), reason_code.number());
        client_line!(
            FilterUnsubscribed,
            client,
            { topic = &*topic, reason_code = code },
            "{} UNSUBSCRIBE {topic:?}: {} (0x{code:02X})",
            Label(client),
            reason_code.name()
        );
    }
}

fn write_session(client: &ClientLabel, change: SessionChange) {
    let label = Label(client);
    match change {
        SessionChange::Created => client_line!(SessionCreated, client, {}, "{label}: new Session"),
        SessionChange::Resumed { queued } => {
            client_line!(SessionResumed, client, { queued }, "{label}: Session resumed, queued messages: {queued}");
        }
        SessionChange::TakenOver => {
            client_line!(SessionTakenOver, client, {}, "{label}: Session taken over by another connection");
        }
        SessionChange::Moved { to } => {
            client_line!(SessionMoved, client, { shard = to.0 }, "{label}: Session moved to shard {}", to.0);
        }
        SessionChange::Expired => {
            client_line!(SessionExpired, client, {}, "{label}: Session ended: its Session Expiry Interval has passed");
        }
        SessionChange::Ended { cause } => {
            client_line!(SessionEnded, client, { reason = cause }, "{label}: Session ended: {cause}");
        }
    }
}

fn write_will(client: &ClientLabel, topic: &str, outcome: WillOutcome) {
    let topic = cut(topic);
    match outcome {
        WillOutcome::Published { receivers } => client_line!(
            WillPublished,
            client,
            { topic = &*topic, receivers },
            "{}: Will published to {topic:?}, receivers: {receivers}",
            Label(client)
        ),
        WillOutcome::Discarded { cause } => client_line!(
            WillDiscarded,
            client,
            { topic = &*topic, reason = cause },
            "{}: Will for {topic:?} discarded: {cause}",
            Label(client)
        ),
    }
}

/// Writes what an operator should know about the password file and the ACL file.
pub(super) fn write_notes(notes: &[String]) {
    for note in notes {
        log_line!(FileNoted { reason = &**note }, "{note}");
    }
}

/// The names of a client, as fields of a line.
#[derive(Debug)]
pub(in crate::server) struct Names<'a> {
    pub(in crate::server) client_id: Option<Cow<'a, str>>,
    pub(in crate::server) user: Option<Cow<'a, str>>,
    pub(in crate::server) address: Option<DisplayValue<SocketAddr>>,
    pub(in crate::server) listener: Option<&'a str>,
    pub(in crate::server) version: Option<&'static str>,
}

impl<'a> Names<'a> {
    pub(in crate::server) fn of(label: &'a ClientLabel) -> Self {
        Self {
            client_id: label.client_id.as_ref().map(|client_id| cut(client_id.as_str())),
            user: label.user.as_deref().map(cut),
            address: label.address.map(display),
            listener: label.listener.as_deref(),
            version: label.version,
        }
    }
}

/// Formats a client for the log. Strings that the client chose are cut, quoted and escaped, so that they can't forge a line.
pub(in crate::server) struct Label<'a>(pub(in crate::server) &'a ClientLabel);

impl fmt::Display for Label<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientLabel { client_id, user, address, listener, version: _, mount_point: _ } = self.0;
        match client_id {
            Some(client_id) => write!(formatter, "client {:?}", cut(client_id.as_str()))?,
            None => write!(formatter, "client without Client Identifier")?,
        }
        if let Some(user) = user {
            write!(formatter, " user {:?}", cut(user))?;
        }
        if let Some(address) = address {
            write!(formatter, " from {address}")?;
        }
        match listener {
            Some(listener) => write!(formatter, " at {listener}"),
            None => Ok(()),
        }
    }
}

/// Writes a line if the level of memory differs from the one that was reported before. Returns the level that is reported now.
pub(super) fn write_memory(memory: &MemoryBudget, before: MemoryLevel) -> MemoryLevel {
    let (level, resident) = memory.take_report();
    let (memory_max, name) = (memory.max(), level.name());
    if level == before {
        return level;
    }
    if level == MemoryLevel::Normal {
        log_line!(
            MemoryNormal { resident, memory_max },
            "there is enough memory again: {} MiB of {} MiB are used",
            resident >> 20,
            memory_max >> 20
        );
    } else {
        log_line!(
            MemoryShort { memory_level = name, resident, memory_max },
            "memory is short ({name}): {} MiB of the {} MiB of limits.memory_max are used", resident >> 20, memory_max >> 20
        );
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;

    #[test]
    fn a_client_identifier_cannot_forge_a_line() {
        let label = ClientLabel {
            client_id: Some(ClientId("a\nb".into())),
            user: Some("u".into()),
            address: Some("192.0.2.1:5".parse().unwrap()),
            listener: Some("tcp".into()),
            version: Some("5.0"),
            ..ClientLabel::default()
        };
        assert_eq!(Label(&label).to_string(), r#"client "a\nb" user "u" from 192.0.2.1:5 at tcp"#);
    }

    #[test]
    fn a_long_client_identifier_and_user_are_cut() {
        let label = ClientLabel {
            client_id: Some(ClientId("c".repeat(65_535).into())),
            user: Some("u".repeat(300).into()),
            ..ClientLabel::default()
        };
        let (c, u) = ("c".repeat(256), "u".repeat(256));
        let expected = format!("client \"{c}… (65535 bytes)\" user \"{u}… (300 bytes)\"");
        assert_eq!(Label(&label).to_string(), expected);
    }
}
