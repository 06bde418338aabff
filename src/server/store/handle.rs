mod log_room;
mod together;

use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log_room::log_room;
use smallvec::SmallVec;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::broker::{
    DelayedBatch, Fetch, MessageCache, Record, RecordBytes, RecordKey, Recovered, Recovery, StoreRoom, Ticket,
    upgrade_record,
};
use crate::config::Config;
use crate::server::clock::Clock;
use crate::server::error::ServerError;
use crate::server::log::log_line;
use crate::server::settings::durability;
use crate::server::shard::mailbox::{Mail, Mailbox};
use crate::server::store::append::{TurnTime, append};
use crate::server::store::fetch::keys;
use crate::server::store::marks::LoggedMarks;
use crate::server::store::options::{level, store_directory, store_options};
use crate::server::store::progress::Progress;
use crate::server::store::stream_progress::StreamProgress;
use crate::server::store::stream_readers::Readers;
use crate::server::store::{delayed, fetch};
use crate::server::systemd::notify;
use crate::store::{
    self, Entry, Hooks, Key, Level, OpenError, Options, Refused, Replication, Report, Room, Shortage, Store, Upgraded,
    Urgency,
};
use crate::timestamp::Timestamp;

/// A shard's handle to the store.
///
/// Without durability there is no store, and each record counts as stable at once.
pub(in crate::server) struct StoreHandle {
    /// The shard's number.
    source: usize,
    /// The level of records that no packet waits for.
    unawaited: Level,
    store: Option<Arc<Store>>,
    /// The stored messages in memory, which all shards share.
    cache: Arc<MessageCache>,
    /// Where the reads of streams go on.
    stream_readers: Arc<Readers>,
    /// Reports to the main thread that the store refused a record.
    failures: mpsc::Sender<String>,
    /// The last record, if there is no store.
    stable: Option<Ticket>,
    /// The highest urgency of the records of this turn; `None` without records.
    unannounced: Option<Urgency>,
    /// Whether a subscriber waits for the next message of a stream.
    hurries: bool,
    accepted: TurnTime,
    /// Records of this turn that were not passed to the store yet.
    pending: Option<Pending>,
    /// The states that the shard knows.
    shortage: Option<Shortage>,
    was_congested: bool,
}

/// Consecutive records without a body, joined into one.
struct Pending {
    bytes: RecordBytes,
    /// The strongest level of the records.
    level: Level,
    /// The highest urgency of the records.
    urgency: Urgency,
    /// The ticket of the last record.
    ticket: Ticket,
}

impl StoreHandle {
    /// The handle of the shard with the number `source`. Records that no packet waits for have the level `power-loss`.
    pub(in crate::server) fn new(
        source: usize,
        store: Option<Arc<Store>>,
        cache: Arc<MessageCache>,
        failures: mpsc::Sender<String>,
    ) -> Self {
        Self {
            source,
            unawaited: Level::PowerLoss,
            store,
            cache,
            stream_readers: Arc::default(),
            failures,
            stable: None,
            unannounced: None,
            hurries: false,
            accepted: TurnTime::default(),
            pending: None,
            shortage: None,
            was_congested: false,
        }
    }

    /// Uses the level `crash` for records without a durability of their own: they are synced with the next one that needs it. For durability rules.
    pub(in crate::server) fn with_levels(self) -> Self {
        Self { unawaited: Level::Crash, ..self }
    }

    /// Queues a record for the store. When it is stable, the shard gets [`Mail::Persisted`].
    pub(in crate::server) fn persist(&mut self, ticket: Ticket, record: &Record) {
        if self.store.is_none() {
            self.stable = self.stable.max(Some(ticket));
            return;
        }
        let bytes = record.to_bytes();
        let level = record.stored_durability().map_or(self.unawaited, level);
        let urgency = if record.is_urgent() { Urgency::Awaited } else { Urgency::Unawaited };
        self.unannounced = self.unannounced.max(Some(urgency));
        if let Some(pending) = &mut self.pending
            && pending.bytes.join(&bytes)
        {
            pending.level = if level == Level::PowerLoss { level } else { pending.level };
            pending.urgency = pending.urgency.max(urgency);
            pending.ticket = ticket;
            return;
        }
        self.gather_pending();
        if bytes.can_be_joined() {
            self.pending = Some(Pending { bytes, level, urgency, ticket });
        } else {
            let given = self.gather((ticket, urgency), level, &bytes);
            if !given.is_empty() {
                record.appended(&given, self.accepted.get());
            }
        }
    }

    /// Passes a record to the store. It may use the reserve, because the shard checked for room before it accepted the message.
    /// Returns the sequences in its streams.
    fn gather(&self, (ticket, urgency): (Ticket, Urgency), level: Level, bytes: &RecordBytes) -> SmallVec<[u64; 2]> {
        let Some(store) = &self.store else { return SmallVec::new() };
        let (puts, deletes) = (keys(&bytes.puts), keys(&bytes.deletes));
        let (body, ends, room) = (&bytes.body, bytes.ends, Room::Reserve);
        let parts = bytes.parts.list();
        let entry = Entry { body, puts: &puts, parts: &parts, deletes: &deletes, ends, level, room };
        match append(store, (self.source, ticket.0, urgency), &entry, &bytes.streams, &self.accepted) {
            Ok(sequences) => return sequences,
            Err(Refused::Failed | Refused::Closed) => {}
            Err(refused @ (Refused::Full | Refused::TooLarge | Refused::NoStream)) => {
                let _ = self.failures.try_send(refused.to_string()); // full: a failure was reported already
            }
        }
        SmallVec::new()
    }

    fn gather_pending(&mut self) {
        if let Some(Pending { bytes, level, urgency, ticket }) = self.pending.take() {
            self.gather((ticket, urgency), level, &bytes);
        }
    }

    /// Passes the rest of the turn's records to the store, and requests a commit of all of them.
    pub(in crate::server) fn end_turn(&mut self) {
        self.gather_pending();
        self.accepted.end_turn();
        if let (Some(store), Some(urgency)) = (&self.store, self.unannounced.take()) {
            store.announce(urgency);
        }
        if let (Some(store), true) = (&self.store, mem::take(&mut self.hurries)) {
            store.hurry_streams();
        }
    }

    /// Whether [`take_stable`](Self::take_stable) returns a ticket.
    pub(in crate::server) const fn has_stable(&self) -> bool {
        self.stable.is_some()
    }

    /// Without a store: the last ticket since the previous call.
    pub(in crate::server) fn take_stable(&mut self) -> Option<Ticket> {
        self.stable.take()
    }

    /// Reads messages from the store on a blocking thread. The shard gets [`Mail::Fetched`].
    pub(in crate::server) fn fetch(&self, fetch: Fetch, mailboxes: &Arc<[Mailbox]>) {
        let Some(store) = self.store.clone() else { return };
        self.read(mailboxes, move |cache| Mail::Fetched(Box::new(fetch::read(&store, cache, fetch))));
    }

    /// Reads delayed messages that are not in memory in the same way. The shard gets [`Mail::DelayedRead`].
    pub(in crate::server) fn read_delayed(&self, batch: Box<DelayedBatch>, mailboxes: &Arc<[Mailbox]>) {
        let store = self.store.clone();
        self.read(mailboxes, move |_| Mail::DelayedRead(delayed::read(store.as_deref(), batch)));
    }

    pub(super) const fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
    }

    pub(super) const fn stream_readers(&self) -> &Arc<Readers> {
        &self.stream_readers
    }

    pub(super) fn read(&self, mailboxes: &Arc<[Mailbox]>, read: impl FnOnce(&MessageCache) -> Mail + Send + 'static) {
        let (mailboxes, cache, source) = (Arc::clone(mailboxes), Arc::clone(&self.cache), self.source);
        spawn_blocking(move || {
            let mail = read(&cache);
            if let Some(mailbox) = mailboxes.get(source) {
                mailbox.put(mail);
            }
        });
    }

    /// Whether the store is congested, if that changed since the last call: the shard pauses its publishers meanwhile.
    pub(in crate::server) fn take_congestion(&mut self) -> Option<bool> {
        let congested = self.store.as_ref().is_some_and(|store| store.is_congested());
        (std::mem::replace(&mut self.was_congested, congested) != congested).then_some(congested)
    }

    /// Whether [`take_congestion`](Self::take_congestion) or [`take_room`](Self::take_room) returns a change.
    pub(in crate::server) fn has_changed(&self) -> bool {
        self.store.as_ref().is_some_and(|store| {
            store.is_congested() != self.was_congested || store.is_full() != self.shortage.is_some()
        })
    }

    /// Whether the disk has room for new messages, if that changed since the last call. The first shard logs it.
    ///
    /// Called in every turn, because messages that are accepted on a full disk use up the reserve.
    pub(in crate::server) fn take_room(&mut self) -> Option<StoreRoom> {
        let shortage = self.store.as_ref().and_then(|store| store.shortage());
        let before = std::mem::replace(&mut self.shortage, shortage);
        let room = match (before, shortage) {
            (None, Some(_)) => StoreRoom::None,
            (Some(_), None) => StoreRoom::Some,
            (None, None) | (Some(_), Some(_)) => return None,
        };
        if self.source == 0 {
            log_room(before, shortage);
        }
        Some(room)
    }
}

impl fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreHandle").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Opens the store in the data directory and recovers its contents. The store is `None` if no message is durable.
pub(in crate::server) fn open(
    config: &Config,
    mailboxes: &Arc<[Mailbox]>,
    failures: mpsc::Sender<String>,
    (lock_patience, replication, marks): (Duration, Option<Replication>, &Arc<LoggedMarks>),
    streams: Arc<StreamProgress>,
) -> Result<(Option<Arc<Store>>, Recovered), ServerError> {
    let level = level(durability(config.strongest_durability()));
    log_durability(config);
    if level == Level::None {
        return Ok((None, Recovered::default()));
    }
    let directory = store_directory(&config.server.data);
    let mailboxes = Arc::clone(mailboxes);
    let (all, followed) = (Arc::clone(&mailboxes), Arc::clone(&mailboxes));
    // Anchors and streams have the sources behind the shards.
    let (of_marks, persisted, is_replicated) = (mailboxes.len() + 2, Arc::clone(marks), replication.is_some());
    let (clock, progress, place) = (Clock::start(Timestamp::default()), Progress::default(), directory.clone());
    let hooks = Hooks {
        on_read: Box::new(move |read, segments| {
            notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(SEGMENT_MICROSECONDS_MAX)]);
            if progress.is_due(clock.read().elapsed) {
                let place = place.display();
                log_line!(StoreProgress { read, segments }, "store {place}: read {read} of {segments} segments");
            }
        }),
        on_stable: Box::new(move |source, ticket| match mailboxes.get(source) {
            Some(mailbox) => mailbox.put(Mail::Persisted(Ticket(ticket))),
            None if source == of_marks => persisted.persisted(ticket),
            None => {}
        }),
        // Every shard may have paused publishers, whether or not this commit has a record of it.
        on_pressure: Arc::new(move || all.iter().for_each(Mailbox::notify)),
        on_failure: Arc::new(move |cause| {
            log_line!(
                StoreFailed { reason = cause },
                "the store failed: the broker stops, and acknowledges nothing more: {cause}"
            );
            let _ = failures.try_send(cause.to_owned());
        }),
        upgrade: Box::new(upgrade),
        on_advance: Arc::new(move |group, end| streams.advance(group, end, &followed)),
        replication,
        ..Hooks::default()
    };
    let mut recovery = Recovery::default();
    let mut visit = |recovered: store::Recovered<'_>| apply(&mut recovery, &recovered);
    let options = Options { lock_patience, ..store_options(config) };
    let (store, report) = Store::open(&directory, &options, hooks, &mut visit)
        .map_err(|source| ServerError::Store { directory: directory.clone(), source })?;
    let mut recovered = recovery.finish();
    if !recovered.unknown_kinds.is_empty() {
        let kinds: Vec<String> = recovered.unknown_kinds.iter().map(u8::to_string).collect();
        return Err(ServerError::UnknownRecords { directory, kinds: kinds.join(", ") });
    }
    log_recovery(&directory, &report, &recovered);
    let store = Arc::new(store);
    if is_replicated {
        marks.begin(&store, of_marks, mem::take(&mut recovered.bridge_marks));
    }
    Ok((Some(store), recovered))
}

/// Logs the configured durability levels.
fn log_durability(config: &Config) {
    let rules = config.durability_rules.len();
    let default = durability(config.server.durability).name();
    if rules == 0 {
        log_line!(
            DurabilityChosen { durability = default, rules },
            "durability: acknowledged messages have the level {default}"
        );
    } else {
        log_line!(
            DurabilityChosen { durability = default, rules },
            "durability: acknowledged messages have the level {default}, except for topics that match one of {rules} rules"
        );
    }
}

/// Reads the store in this directory without changing it.
///
/// # Errors
/// The store can't be read, or is in use by a process.
pub fn inspect_store(directory: &Path) -> Result<(Report, Recovered), OpenError> {
    let mut recovery = Recovery::default();
    let report = store::check(directory, &mut |recovered| apply(&mut recovery, &recovered))?;
    Ok((report, recovery.finish()))
}

/// Rewrites the segments of older format versions of a store that no process has open. `on_rewritten` gets the name of each.
///
/// # Errors
/// See [`store::upgrade`].
pub fn upgrade_store(directory: &Path, on_rewritten: &mut dyn FnMut(&str)) -> Result<Report, OpenError> {
    store::upgrade(directory, &upgrade, on_rewritten)
}

pub(super) fn apply(recovery: &mut Recovery, recovered: &store::Recovered<'_>) {
    let store::Recovered { body, puts, parts, deletes, ends } = *recovered;
    recovery.apply(body, (&record_keys(puts), parts), &record_keys(deletes), ends);
}

/// Divides a record of format version 1 whose space is reclaimed.
fn upgrade(body: &[u8], puts: &[Key]) -> Option<Upgraded> {
    let (body, parts) = upgrade_record(body, &record_keys(puts))?;
    Some(Upgraded { body, parts })
}

/// Logs what was recovered, and what was damaged.
fn log_recovery(directory: &Path, report: &Report, recovered: &Recovered) {
    let queued: usize = recovered.sessions.iter().map(|session| session.queue.len()).sum();
    let (sessions, retained, segments) = (recovered.sessions.len(), recovered.retained.len(), report.segments);
    let place = directory.display();
    log_line!(
        StoreRecovered { sessions, queued, retained, segments },
        "store {place}: {sessions} sessions with {queued} messages, {retained} retained messages, in {segments} segments"
    );
    for damage in &report.damages {
        log_line!(StoreDamaged { reason = %damage }, "store {place}: set a damaged part aside: {damage}");
    }
    if recovered.unreadable > 0 {
        let count = recovered.unreadable;
        log_line!(RecordsIgnored { count }, "store {place}: ignored {count} records that this version can't decode");
    }
}

pub(in crate::server) fn record_keys(keys: &[Key]) -> SmallVec<[RecordKey; 8]> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}

/// How long systemd waits for the next segment, beyond `TimeoutStartSec=`: reading a large store may take minutes.
pub(super) const SEGMENT_MICROSECONDS_MAX: u32 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_later_version_prevents_the_start() {
        let data = tempfile::tempdir().unwrap();
        let change = |puts: &[Key], deletes: &[Key]| {
            let (level, room) = (Level::PowerLoss, Room::Ordinary);
            let directory = store_directory(data.path());
            let (store, _) = Store::open(&directory, &Options::default(), Hooks::default(), &mut |_| ()).unwrap();
            store.append(0, 1, &Entry { body: b"later", puts, parts: &[], deletes, ends: None, level, room }).unwrap();
            store.close();
        };
        let mut config = Config::default();
        config.server.data = data.path().to_owned();
        let marks = Arc::default();
        let start =
            || open(&config, &Arc::from([]), mpsc::channel(1).0, (Duration::ZERO, None, &marks), Arc::default());
        let outbox = [Key { group: 1 << 63, kind: 11, id: 1 }];
        change(&outbox, &[]);
        let error = start().unwrap_err();
        assert!(error.to_string().ends_with("records of a later version (kinds: 11), which this version would lose"));
        assert_eq!(error.exit_code(), 5);
        change(&[], &outbox);
        start().unwrap();
    }
}
