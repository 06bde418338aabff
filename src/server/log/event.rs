use tracing::Level;

/// What a line of the log is about. `docs/EVENTS.md` describes each; a test compares both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "docs/EVENTS.md describes them")]
pub enum LogEvent {
    ClientConnected,
    ClientDisconnected,
    ClientRefused,
    PacketDenied,
    MessagesDropped,
    MessageUnreadable,
    MessagePublished,
    FilterSubscribed,
    FilterUnsubscribed,
    SessionCreated,
    SessionResumed,
    SessionTakenOver,
    SessionMoved,
    SessionExpired,
    SessionEnded,
    WillPublished,
    WillDiscarded,
    PacketReceived,
    PacketSent,
    ConnectionClosed,
    AcceptFailed,
    HandshakeFailed,
    ListenerOpen,
    Listening,
    FilesReloaded,
    ReloadFailed,
    LogReloaded,
    RestartNeeded,
    RetainedDiscarded,
    DurabilityChosen,
    StoreProgress,
    StoreRecovered,
    StoreDamaged,
    RecordsIgnored,
    StoreFailed,
    DiskFull,
    DiskFree,
    AdminStarted,
    AdminUnavailable,
    AdminFailed,
    BackupCompleted,
    BackupFailed,
    SystemdNotNotified,
    LinesSuppressed,
    LinesLost,
    Stopping,
    Stopped,
    DrainTimedOut,
    Failed,
    Panicked,
}

/// The fields of a client. A client that has not sent CONNECT, or no user name, has fewer.
const CLIENT: &[&str] = &["client_id", "user", "address", "listener", "protocol_version"];

impl LogEvent {
    /// All events, in the order of their numbers.
    pub const ALL: [Self; 50] = [
        Self::ClientConnected,
        Self::ClientDisconnected,
        Self::ClientRefused,
        Self::PacketDenied,
        Self::MessagesDropped,
        Self::MessageUnreadable,
        Self::MessagePublished,
        Self::FilterSubscribed,
        Self::FilterUnsubscribed,
        Self::SessionCreated,
        Self::SessionResumed,
        Self::SessionTakenOver,
        Self::SessionMoved,
        Self::SessionExpired,
        Self::SessionEnded,
        Self::WillPublished,
        Self::WillDiscarded,
        Self::PacketReceived,
        Self::PacketSent,
        Self::ConnectionClosed,
        Self::AcceptFailed,
        Self::HandshakeFailed,
        Self::ListenerOpen,
        Self::Listening,
        Self::FilesReloaded,
        Self::ReloadFailed,
        Self::LogReloaded,
        Self::RestartNeeded,
        Self::RetainedDiscarded,
        Self::DurabilityChosen,
        Self::StoreProgress,
        Self::StoreRecovered,
        Self::StoreDamaged,
        Self::RecordsIgnored,
        Self::StoreFailed,
        Self::DiskFull,
        Self::DiskFree,
        Self::AdminStarted,
        Self::AdminUnavailable,
        Self::AdminFailed,
        Self::BackupCompleted,
        Self::BackupFailed,
        Self::SystemdNotNotified,
        Self::LinesSuppressed,
        Self::LinesLost,
        Self::Stopping,
        Self::Stopped,
        Self::DrainTimedOut,
        Self::Failed,
        Self::Panicked,
    ];

    /// The value of the field `event`.
    pub const fn name(self) -> &'static str {
        self.description().0
    }

    /// The level of its lines.
    pub const fn level(self) -> Level {
        self.description().1
    }

    /// Whether its lines are about one client, and have the fields of a client.
    pub const fn is_about_a_client(self) -> bool {
        self.description().2
    }

    /// The fields that its lines may have besides `timestamp`, `level`, `event` and `message`.
    pub fn fields(self) -> Vec<&'static str> {
        let of_client: &[&str] = if self.is_about_a_client() { CLIENT } else { &[] };
        of_client.iter().chain(self.own_fields()).copied().collect()
    }

    /// The place of the event in tables by event.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Name, level, and whether it is about one client.
    const fn description(self) -> (&'static str, Level, bool) {
        match self {
            Self::ClientConnected => ("client_connected", Level::INFO, true),
            Self::ClientDisconnected => ("client_disconnected", Level::INFO, true),
            Self::ClientRefused => ("client_refused", Level::WARN, true),
            Self::PacketDenied => ("packet_denied", Level::WARN, true),
            Self::MessagesDropped => ("messages_dropped", Level::WARN, true),
            Self::MessageUnreadable => ("message_unreadable", Level::ERROR, true),
            Self::MessagePublished => ("message_published", Level::DEBUG, true),
            Self::FilterSubscribed => ("filter_subscribed", Level::DEBUG, true),
            Self::FilterUnsubscribed => ("filter_unsubscribed", Level::DEBUG, true),
            Self::SessionCreated => ("session_created", Level::DEBUG, true),
            Self::SessionResumed => ("session_resumed", Level::DEBUG, true),
            Self::SessionTakenOver => ("session_taken_over", Level::DEBUG, true),
            Self::SessionMoved => ("session_moved", Level::DEBUG, true),
            Self::SessionExpired => ("session_expired", Level::DEBUG, true),
            Self::SessionEnded => ("session_ended", Level::DEBUG, true),
            Self::WillPublished => ("will_published", Level::DEBUG, true),
            Self::WillDiscarded => ("will_discarded", Level::DEBUG, true),
            Self::PacketReceived => ("packet_received", Level::TRACE, true),
            Self::PacketSent => ("packet_sent", Level::TRACE, true),
            Self::ConnectionClosed => ("connection_closed", Level::WARN, false),
            Self::AcceptFailed => ("accept_failed", Level::ERROR, false),
            Self::HandshakeFailed => ("handshake_failed", Level::INFO, false),
            Self::ListenerOpen => ("listener_open", Level::INFO, false),
            Self::Listening => ("listening", Level::INFO, false),
            Self::FilesReloaded => ("files_reloaded", Level::INFO, false),
            Self::ReloadFailed => ("reload_failed", Level::ERROR, false),
            Self::LogReloaded => ("log_reloaded", Level::INFO, false),
            Self::RestartNeeded => ("restart_needed", Level::WARN, false),
            Self::RetainedDiscarded => ("retained_discarded", Level::WARN, false),
            Self::DurabilityChosen => ("durability_chosen", Level::INFO, false),
            Self::StoreProgress => ("store_progress", Level::INFO, false),
            Self::StoreRecovered => ("store_recovered", Level::INFO, false),
            Self::StoreDamaged => ("store_damaged", Level::ERROR, false),
            Self::RecordsIgnored => ("records_ignored", Level::WARN, false),
            Self::StoreFailed => ("store_failed", Level::ERROR, false),
            Self::DiskFull => ("disk_full", Level::ERROR, false),
            Self::DiskFree => ("disk_free", Level::INFO, false),
            Self::AdminStarted => ("admin_started", Level::INFO, false),
            Self::AdminUnavailable => ("admin_unavailable", Level::WARN, false),
            Self::AdminFailed => ("admin_failed", Level::ERROR, false),
            Self::BackupCompleted => ("backup_completed", Level::INFO, false),
            Self::BackupFailed => ("backup_failed", Level::ERROR, false),
            Self::SystemdNotNotified => ("systemd_not_notified", Level::WARN, false),
            Self::LinesSuppressed => ("lines_suppressed", Level::WARN, false),
            Self::LinesLost => ("lines_lost", Level::WARN, false),
            Self::Stopping => ("stopping", Level::INFO, false),
            Self::Stopped => ("stopped", Level::INFO, false),
            Self::DrainTimedOut => ("drain_timed_out", Level::WARN, false),
            Self::Failed => ("failed", Level::ERROR, false),
            Self::Panicked => ("panicked", Level::ERROR, false),
        }
    }

    /// The fields that only this event has, or few have.
    const fn own_fields(self) -> &'static [&'static str] {
        match self {
            Self::ClientConnected => &["clean_start", "session_present", "keep_alive"],
            Self::ClientDisconnected | Self::ClientRefused => &["reason_code", "reason"],
            Self::PacketDenied => &["packet", "topic", "reason_code", "rule"],
            Self::MessagesDropped | Self::SessionEnded => &["reason"],
            Self::MessageUnreadable => &["sequence", "reason"],
            Self::MessagePublished => &["topic", "qos", "retain", "bytes", "receivers", "reason_code", "duplicate"],
            Self::FilterSubscribed | Self::FilterUnsubscribed => &["topic", "reason_code"],
            Self::SessionResumed => &["queued"],
            Self::SessionMoved => &["shard"],
            Self::WillPublished => &["topic", "receivers"],
            Self::WillDiscarded => &["topic", "reason"],
            Self::PacketReceived | Self::PacketSent => {
                &["packet", "bytes", "packet_id", "topic", "qos", "retain", "dup", "reason_code"]
            }
            Self::ConnectionClosed | Self::HandshakeFailed => &["address", "listener", "reason"],
            Self::AcceptFailed => &["listener", "reason"],
            Self::ListenerOpen => &["listener"],
            Self::Listening => &["listener", "url"],
            Self::FilesReloaded => &["files", "listener"],
            Self::ReloadFailed => &["files", "listener", "reason"],
            Self::LogReloaded => &["log_level", "log_clients"],
            Self::RestartNeeded => &["settings"],
            Self::RetainedDiscarded | Self::RecordsIgnored => &["count"],
            Self::DurabilityChosen => &["durability", "rules"],
            Self::StoreProgress => &["read", "segments"],
            Self::StoreRecovered => &["sessions", "queued", "retained", "segments"],
            Self::StoreDamaged
            | Self::StoreFailed
            | Self::AdminFailed
            | Self::BackupFailed
            | Self::SystemdNotNotified => &["reason"],
            Self::AdminStarted => &["url"],
            Self::AdminUnavailable => &["address", "reason"],
            Self::BackupCompleted => &["directory"],
            Self::LinesSuppressed => &["suppressed", "lines", "clients", "addresses"],
            Self::LinesLost => &["lines"],
            Self::Failed => &["exit_code"],
            Self::Panicked => &["thread", "place", "backtrace"],
            Self::SessionCreated
            | Self::SessionTakenOver
            | Self::SessionExpired
            | Self::DiskFull
            | Self::DiskFree
            | Self::Stopping
            | Self::Stopped
            | Self::DrainTimedOut => &[],
        }
    }
}

/// The value of `event` in a line of a library.
pub(super) const LIBRARY: &str = "library";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn every_event_is_in_its_place_and_has_its_own_name() {
        for (place, event) in LogEvent::ALL.iter().enumerate() {
            assert_eq!(event.index(), place, "{event:?}");
        }
        let mut names: Vec<_> = LogEvent::ALL.iter().map(|event| event.name()).chain([LIBRARY]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LogEvent::ALL.len() + 1);
    }

    #[test]
    fn the_documentation_lists_every_event_with_its_level_and_its_fields() {
        let documentation = include_str!("../../../docs/EVENTS.md");
        let (_, documentation) = documentation.split_once("\n## Events\n").unwrap();
        let rows = documentation.lines().filter(|line| line.starts_with("| `"));
        let documented: Vec<String> = rows.map(|row| row.rsplit_once(" | ").unwrap().0.to_owned()).collect();
        let expected: Vec<String> = LogEvent::ALL
            .iter()
            .map(|event| {
                let fields = event.own_fields().iter().map(|field| format!("`{field}`")).collect::<Vec<_>>();
                let client = event.is_about_a_client().then(|| "the client".to_owned());
                let fields = client.into_iter().chain(fields).collect::<Vec<_>>().join(", ");
                format!("| `{}` | {} | {fields}", event.name(), event.level().as_str().to_lowercase())
            })
            .chain([format!("| `{LIBRARY}` | error, warn | `target`")])
            .collect();
        assert_eq!(documented, expected);
    }

    /// The sources under a folder.
    fn sources(folder: PathBuf) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => found.extend(sources(path)),
                false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
                false => {}
            }
        }
        found
    }

    #[test]
    fn every_line_of_the_log_is_written_by_log_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for path in sources(root) {
            let text = fs::read_to_string(&path).unwrap();
            for name in ["error", "warn", "info", "debug", "trace"] {
                let call = format!("{name}!(");
                let is_call = |line: &&str| line.trim_start().trim_start_matches("tracing::").starts_with(&call);
                let found = text.lines().find(|line| is_call(line) && !line.contains("target: \"rustls"));
                assert_eq!(found, None, "{}: use log_line! with an event", path.display());
            }
        }
    }
}
