use tracing::Level;

/// Defines [`LogEvent`]: its name in the field `event`, the level, what it is about, and the fields of its lines beside those of a client.
macro_rules! events {
    ($($event:ident $name:literal $level:ident $about:ident [$($field:literal)*])+) => {
        /// What a line of the log is about. `docs/EVENTS.md` describes each; a test compares both.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum LogEvent {
            $(#[doc = $name] $event,)+
        }

        impl LogEvent {
            /// All events, in the order of the documentation.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$event),+];

            /// The value of the field `event`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$event => $name,)+ }
            }

            /// The level of its lines.
            pub const fn level(self) -> Level {
                match self { $(Self::$event => Level::$level,)+ }
            }

            const fn about(self) -> About {
                match self { $(Self::$event => About::$about,)+ }
            }

            const fn own_fields(self) -> &'static [&'static str] {
                match self { $(Self::$event => &[$($field),*],)+ }
            }
        }
    };
}

events! {
    ClientConnected "client_connected" INFO Client ["clean_start" "session_present" "keep_alive"]
    ClientDisconnected "client_disconnected" INFO Client ["reason_code" "reason"]
    ClientRefused "client_refused" WARN Client ["reason_code" "reason"]
    SessionOwnerChanged "session_owner_changed" INFO Client ["owner" "previous_owner" "reason"]
    PacketDenied "packet_denied" WARN Client ["packet" "topic" "reason_code" "rule"]
    MessagesDropped "messages_dropped" WARN Client ["reason"]
    MessageUnreadable "message_unreadable" ERROR Client ["sequence" "reason"]
    MessageDropped "message_dropped" DEBUG Client ["topic" "qos" "reason" "count" "message_id"]
    MessagePublished "message_published" DEBUG Client ["topic" "qos" "retain" "bytes" "receivers" "reason_code" "duplicate"]
    FilterSubscribed "filter_subscribed" DEBUG Client ["topic" "reason_code"]
    FilterUnsubscribed "filter_unsubscribed" DEBUG Client ["topic" "reason_code"]
    SessionCreated "session_created" DEBUG Client []
    SessionResumed "session_resumed" DEBUG Client ["queued"]
    SessionTakenOver "session_taken_over" DEBUG Client []
    SessionMoved "session_moved" DEBUG Client ["shard"]
    SessionExpired "session_expired" DEBUG Client []
    SessionEnded "session_ended" DEBUG Client ["reason"]
    WillPublished "will_published" DEBUG Client ["topic" "receivers"]
    WillDiscarded "will_discarded" DEBUG Client ["topic" "reason"]
    PacketReceived "packet_received" TRACE Client ["packet" "bytes" "packet_id" "topic" "qos" "retain" "dup" "reason_code"]
    PacketSent "packet_sent" TRACE Client ["packet" "bytes" "packet_id" "topic" "qos" "retain" "dup" "reason_code"]
    ConnectionClosed "connection_closed" WARN Broker ["address" "listener" "reason"]
    ClusterChanged "cluster_changed" INFO Broker []
    ClusterTroubled "cluster_troubled" WARN Broker ["reason"]
    BanAdded "ban_added" WARN Broker ["subject" "seconds" "reason"]
    BanRemoved "ban_removed" INFO Broker ["subject"]
    AcceptFailed "accept_failed" ERROR Broker ["listener" "reason"]
    HandshakeFailed "handshake_failed" INFO Broker ["address" "listener" "reason"]
    Probed "probed" DEBUG Broker ["address" "listener" "reason"]
    WebSocketOpened "websocket_opened" DEBUG Broker ["address" "listener" "path" "subprotocol"]
    AddressSkipped "address_skipped" WARN Broker ["address" "reason"]
    AddressIpv6Only "address_ipv6_only" INFO Broker ["address"]
    ListenerOpen "listener_open" INFO Broker ["listener"]
    ListenerChanged "listener_changed" INFO Broker ["listener"]
    ListenerClosed "listener_closed" INFO Broker ["listener"]
    Listening "listening" INFO Broker ["listener" "url"]
    FilesReloaded "files_reloaded" INFO Broker ["files" "listener"]
    ReloadFailed "reload_failed" ERROR Broker ["files" "listener" "reason"]
    LogReloaded "log_reloaded" INFO Broker ["log_level" "log_clients"]
    SettingsReloaded "settings_reloaded" INFO Broker ["settings"]
    RestartNeeded "restart_needed" WARN Broker ["settings"]
    RetainedDiscarded "retained_discarded" WARN Broker ["count"]
    LimitLowered "limit_lowered" INFO Broker ["setting" "configured" "effective" "reason"]
    DurabilityChosen "durability_chosen" INFO Broker ["durability" "rules"]
    StoreProgress "store_progress" INFO Broker ["read" "segments"]
    StoreRecovered "store_recovered" INFO Broker ["sessions" "queued" "retained" "segments"]
    TimeResumed "time_resumed" INFO Broker ["rule" "passed_ms" "synchronized"]
    StoreDamaged "store_damaged" ERROR Broker ["reason"]
    StreamUnreadable "stream_unreadable" ERROR Broker ["stream" "reason"]
    StreamRemoved "stream_removed" INFO Broker ["name"]
    RecordsIgnored "records_ignored" WARN Broker ["count"]
    StoreFailed "store_failed" ERROR Broker ["reason"]
    DiskFull "disk_full" ERROR Broker ["reason"]
    DiskFree "disk_free" INFO Broker ["reason"]
    MemoryShort "memory_short" WARN Broker ["memory_level" "resident" "memory_max"]
    MemoryNormal "memory_normal" INFO Broker ["resident" "memory_max"]
    ProbeStarted "probe_started" INFO Broker ["listener" "topic"]
    ProbeFailed "probe_failed" WARN Broker ["listener" "reason"]
    ProbeDown "probe_down" ERROR Broker ["listener" "reason"]
    ProbeWell "probe_well" INFO Broker ["listener"]
    SinkStarted "sink_started" INFO Broker ["sink" "endpoint"]
    SinkFailed "sink_failed" WARN Broker ["sink" "endpoint" "reason"]
    SinkWell "sink_well" INFO Broker ["sink" "endpoint"]
    SinkGaveUp "sink_gave_up" WARN Broker ["sink" "topic" "reason" "count"]
    SinkUnavailable "sink_unavailable" ERROR Broker ["sink" "reason"]
    SinkRetired "sink_retired" INFO Broker ["sink"]
    BridgeConnected "bridge_connected" INFO Broker ["bridge" "address" "session_present"]
    BridgeDisconnected "bridge_disconnected" WARN Broker ["bridge" "address" "reason"]
    BridgeFailed "bridge_failed" WARN Broker ["bridge" "address" "reason"]
    BridgeRefused "bridge_refused" WARN Broker ["bridge" "topic" "reason"]
    BridgeSessionLost "bridge_session_lost" WARN Broker ["bridge" "reason"]
    BridgeMarkDamaged "bridge_mark_damaged" WARN Broker ["bridge" "reason"]
    BridgeSessionLeft "bridge_session_left" WARN Broker ["bridge"]
    TelemetryStarted "telemetry_started" INFO Broker ["endpoint"]
    TelemetryFailed "telemetry_failed" WARN Broker ["endpoint" "reason"]
    TelemetryWell "telemetry_well" INFO Broker ["endpoint"]
    AuthServiceFailed "auth_service_failed" WARN Broker ["provider" "reason" "requests"]
    AuthServiceWell "auth_service_well" INFO Broker ["provider"]
    AdminStarted "admin_started" INFO Broker ["url"]
    AdminUnavailable "admin_unavailable" WARN Broker ["address" "reason"]
    AdminFailed "admin_failed" ERROR Broker ["reason"]
    AdminRefused "admin_refused" WARN Broker ["address" "reason"]
    AuditFailed "audit_failed" ERROR Broker ["reason"]
    BackupCompleted "backup_completed" INFO Broker ["directory"]
    BackupFailed "backup_failed" ERROR Broker ["reason"]
    FileNoted "file_noted" WARN Broker ["reason"]
    Exposed "exposed" WARN Broker ["setting" "reason"]
    OptionNotHonoured "option_not_honoured" WARN Broker ["reason"]
    WatchdogStarted "watchdog_started" INFO Broker []
    WatchdogShort "watchdog_short" WARN Broker []
    WatchdogSilent "watchdog_silent" WARN Broker []
    SystemdNotNotified "systemd_not_notified" WARN Broker ["reason"]
    LinesSuppressed "lines_suppressed" WARN Broker ["suppressed" "lines" "clients" "addresses"]
    LinesLost "lines_lost" WARN Broker ["lines"]
    Stopping "stopping" INFO Broker []
    Stopped "stopped" INFO Broker []
    DrainTimedOut "drain_timed_out" WARN Broker []
    NotReplicated "not_replicated" WARN Broker []
    SocketPassed "socket_passed" INFO Broker ["listener" "address" "from"]
    SocketUnused "socket_unused" WARN Broker ["listener" "address"]
    TakeOverBegun "take_over_begun" INFO Broker ["process" "sockets"]
    TakeOverSkipped "take_over_skipped" INFO Broker []
    TakeOverCompleted "take_over_completed" INFO Broker ["process"]
    HandoverUnavailable "handover_unavailable" WARN Broker ["reason"]
    HandoverBegun "handover_begun" INFO Broker ["process"]
    HandoverCompleted "handover_completed" INFO Broker ["process"]
    HandoverFailed "handover_failed" WARN Broker ["reason"]
    RoleChanged "role_changed" INFO Broker ["role"]
    Fenced "fenced" WARN Broker ["reason"]
    Failed "failed" ERROR Broker ["exit_code"]
    Panicked "panicked" ERROR Broker ["thread" "place" "backtrace"]
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// One client: its lines have [`CLIENT`] too.
    Client,
    /// Something else.
    Broker,
}

/// The fields of a client. One that has not sent CONNECT, or no User Name, has fewer.
const CLIENT: &[&str] = &["client_id", "user", "address", "listener", "protocol_version"];

impl LogEvent {
    /// The fields that its lines may have besides `timestamp`, `level`, `event` and `message`.
    pub fn fields(self) -> Vec<&'static str> {
        let of_client = match self.about() {
            About::Client => CLIENT,
            About::Broker => &[],
        };
        of_client.iter().chain(self.own_fields()).copied().collect()
    }

    /// The place of the event in tables by event.
    pub(super) const fn index(self) -> usize {
        self as usize
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
                let client = (event.about() == About::Client).then(|| "the client".to_owned());
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
