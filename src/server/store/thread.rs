use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io, thread};

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::broker::{
    Durability, Fetch, Fetched, Record, RecordBytes, RecordKey, Recovered, Recovery, StoreRoom, Ticket,
};
use crate::config::Config;
use crate::server::clock::Clock;
use crate::server::error::ServerError;
use crate::server::settings::durability;
use crate::server::shard::mailbox::{Mail, Mailbox};
use crate::store::{self, Entry, Hooks, Key, Level, OpenError, Options, Refused, Report, Room, Store, Urgency};
use crate::timestamp::Timestamp;

/// A shard's way to the store.
///
/// Without durability there is none: a record counts as stable as soon as it is given.
pub(in crate::server) struct StoreThread {
    /// The shard's number.
    source: usize,
    /// The level of what nothing waits for.
    unawaited: Level,
    log: Option<Arc<Store>>,
    /// Who is told that the store takes nothing any more.
    failures: mpsc::Sender<String>,
    stable: Option<Ticket>,
    /// Whether the store was given records in this turn, and somebody waits for them.
    unannounced: Option<Urgency>,
    /// Records of this turn that the store is yet to be given.
    pending: Option<Pending>,
    /// What the shard was told last.
    was_full: bool,
    was_congested: bool,
}

/// Records that are nothing but keys, joined: how safe the safest of them is to be, and the ticket of the last.
struct Pending {
    bytes: RecordBytes,
    level: Level,
    ticket: Ticket,
}

impl StoreThread {
    /// The way of the shard with this number.
    pub(in crate::server) fn new(source: usize, log: Option<Arc<Store>>, failures: mpsc::Sender<String>) -> Self {
        Self {
            source,
            unawaited: Level::PowerLoss,
            log,
            failures,
            stable: None,
            unannounced: None,
            pending: None,
            was_full: false,
            was_congested: false,
        }
    }

    /// The same, where the level is a matter of topics: what nothing waits for is written, and synced when something else is.
    pub(in crate::server) fn with_levels(self) -> Self {
        Self { unawaited: Level::Crash, ..self }
    }

    /// Takes a record. When it is stable, the shard gets [`Mail::Persisted`].
    pub(in crate::server) fn persist(&mut self, ticket: Ticket, record: &Record) {
        if self.log.is_none() {
            self.stable = self.stable.max(Some(ticket));
            return;
        }
        let bytes = record.to_bytes();
        let level = record.durability().map_or(self.unawaited, level);
        let urgency = if record.durability().is_some() { Urgency::Awaited } else { Urgency::Unawaited };
        self.unannounced = self.unannounced.max(Some(urgency));
        if let Some(pending) = &mut self.pending
            && pending.bytes.join(&bytes)
        {
            pending.level = if level == Level::PowerLoss { level } else { pending.level };
            pending.ticket = ticket;
            return;
        }
        self.gather_pending();
        if bytes.can_be_joined() {
            self.pending = Some(Pending { bytes, level, ticket });
        } else {
            self.gather(ticket, level, &bytes);
        }
    }

    /// Whether there is room was asked before the message was accepted: what comes here was promised.
    fn gather(&self, ticket: Ticket, level: Level, bytes: &RecordBytes) {
        let Some(log) = &self.log else { return };
        let (puts, deletes) = (keys(&bytes.puts), keys(&bytes.deletes));
        let (body, ends, room) = (&bytes.body, bytes.ends, Room::Reserve);
        match log.gather(self.source, ticket.0, &Entry { body, puts: &puts, deletes: &deletes, ends, level, room }) {
            Ok(()) | Err(Refused::Failed | Refused::Closed) => {}
            Err(refused @ (Refused::Full | Refused::TooLarge)) => {
                // A failure that is told already needs no second one.
                let _ = self.failures.try_send(refused.to_string());
            }
        }
    }

    fn gather_pending(&mut self) {
        if let Some(Pending { bytes, level, ticket }) = self.pending.take() {
            self.gather(ticket, level, &bytes);
        }
    }

    /// All records of a turn are given: what they are worth is one commit.
    pub(in crate::server) fn end_turn(&mut self) {
        self.gather_pending();
        if let (Some(log), Some(urgency)) = (&self.log, self.unannounced.take()) {
            log.announce(urgency);
        }
    }

    /// Whether [`take_stable`](Self::take_stable) has something to say.
    pub(in crate::server) const fn has_stable(&self) -> bool {
        self.stable.is_some()
    }

    /// How far it got since it was asked last, if there is no durability.
    pub(in crate::server) fn take_stable(&mut self) -> Option<Ticket> {
        self.stable.take()
    }

    /// Reads messages on a thread that may wait for the disk. The shard gets [`Mail::Fetched`].
    pub(in crate::server) fn fetch(&self, fetch: Fetch, mailboxes: &Arc<[Mailbox]>) {
        let Some(log) = self.log.clone() else { return };
        let (mailboxes, source) = (Arc::clone(mailboxes), self.source);
        spawn_blocking(move || {
            let fetched = Box::new(read(&log, fetch));
            if let Some(mailbox) = mailboxes.get(source) {
                mailbox.put(Mail::Fetched(fetched));
            }
        });
    }

    /// Whether so much waits for the disk that publishers are to be paused, if that has changed.
    pub(in crate::server) fn take_congestion(&mut self) -> Option<bool> {
        let congested = self.log.as_ref().is_some_and(|log| log.is_congested());
        (std::mem::replace(&mut self.was_congested, congested) != congested).then_some(congested)
    }

    /// Whether the shard is yet to be told of a change.
    pub(in crate::server) fn has_news(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.is_congested() != self.was_congested || log.is_full() != self.was_full)
    }

    /// Whether the disk has room for new messages, if that has changed. The first shard tells the operator.
    ///
    /// To be asked in every turn: what is taken before it is known uses the reserve up.
    pub(in crate::server) fn take_room(&mut self) -> Option<StoreRoom> {
        let is_full = self.log.as_ref().is_some_and(|log| log.is_full());
        if std::mem::replace(&mut self.was_full, is_full) == is_full {
            return None;
        }
        match (self.source, is_full) {
            (0, true) => error!("the disk is full: new messages for durable sessions are refused until there is room"),
            (0, false) => info!("the disk has room again: new messages for durable sessions are accepted"),
            (_, _) => {}
        }
        Some(if is_full { StoreRoom::None } else { StoreRoom::Some })
    }
}

impl fmt::Debug for StoreThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreThread").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Opens the store in the data directory, and reads what the last run left. `None` without durability for any message.
pub(in crate::server) fn open(
    config: &Config,
    mailboxes: &Arc<[Mailbox]>,
    failures: mpsc::Sender<String>,
) -> Result<(Option<Arc<Store>>, Recovered), ServerError> {
    let level = level(durability(config.strongest_durability()));
    tell_levels(config);
    if level == Level::None {
        return Ok((None, Recovered::default()));
    }
    let directory = store_directory(&config.server.data);
    let mailboxes = Arc::clone(mailboxes);
    let all = Arc::clone(&mailboxes);
    let (clock, progress, place) = (Clock::start(Timestamp::default()), Progress::default(), directory.clone());
    let hooks = Hooks {
        on_read: Box::new(move |read, segments| {
            if progress.is_due(clock.read().elapsed) {
                info!("store {}: {read} of {segments} segments are read", place.display());
            }
        }),
        on_stable: Box::new(move |source, ticket| {
            if let Some(mailbox) = mailboxes.get(source) {
                mailbox.put(Mail::Persisted(Ticket(ticket)));
            }
        }),
        // Every shard may have publishers that wait for it, whether it has a record in this commit or not.
        on_pressure: Box::new(move || all.iter().for_each(Mailbox::notify)),
        on_failure: Box::new(move |cause| {
            error!("the store failed, and nothing is acknowledged any more: {cause}");
            let _ = failures.try_send(cause.to_owned());
        }),
    };
    let mut recovery = Recovery::default();
    let mut visit = |recovered: store::Recovered<'_>| apply(&mut recovery, &recovered);
    let options = Options { level, strict: config.server.strict_recovery, ..Options::default() };
    let (store, report) = Store::open(&directory, &options, hooks, &mut visit)
        .map_err(|source| ServerError::Store { directory: directory.clone(), source })?;
    let recovered = recovery.finish();
    tell(&directory, &report, &recovered);
    Ok((Some(Arc::new(store)), recovered))
}

/// What messages survive, for the operator.
fn tell_levels(config: &Config) {
    let rules = config.durability_rules.len();
    let default = durability(config.server.durability).name();
    if rules == 0 {
        info!("durability: what is acknowledged has the level {default}");
    } else {
        info!(
            "durability: what is acknowledged has the level {default} where none of {rules} rules for topics matches"
        );
    }
}

const fn level(durability: Durability) -> Level {
    match durability {
        Durability::PowerLoss => Level::PowerLoss,
        Durability::Crash => Level::Crash,
        Durability::None => Level::None,
    }
}

/// How far a long start has come: told once a second, and not at all if it takes less.
#[derive(Debug, Default)]
struct Progress {
    /// How long the start had taken then.
    told: Cell<Duration>,
}

impl Progress {
    fn is_due(&self, elapsed: Duration) -> bool {
        let is_due = elapsed.saturating_sub(self.told.get()) >= PROGRESS_INTERVAL;
        if is_due {
            self.told.set(elapsed);
        }
        is_due
    }
}

/// Where a broker with this data directory keeps its store.
pub fn store_directory(data: &Path) -> PathBuf {
    data.join("log")
}

/// Reads what a broker left in the store in this directory, which nobody may have open, and changes nothing.
pub fn inspect_store(directory: &Path) -> Result<(Report, Recovered), OpenError> {
    let mut recovery = Recovery::default();
    let report = store::check(directory, &mut |recovered| apply(&mut recovery, &recovered))?;
    Ok((report, recovery.finish()))
}

fn apply(recovery: &mut Recovery, recovered: &store::Recovered<'_>) {
    recovery.apply(recovered.body, &record_keys(recovered.puts), &record_keys(recovered.deletes), recovered.ends);
}

/// What was found, for the operator.
fn tell(directory: &Path, report: &Report, recovered: &Recovered) {
    let queued: usize = recovered.sessions.iter().map(|session| session.queue.len()).sum();
    info!(
        "store {}: {} sessions with {queued} messages, {} retained messages, in {} segments",
        directory.display(),
        recovered.sessions.len(),
        recovered.retained.len(),
        report.segments,
    );
    for damage in &report.damages {
        error!("store {}: damaged, and set aside: {damage}", directory.display());
    }
    if recovered.unreadable > 0 {
        warn!("store {}: {} records make no sense to this version", directory.display(), recovered.unreadable);
    }
}

/// Reads what is wanted.
fn read(log: &Store, fetch: Fetch) -> Fetched {
    let wanted: Vec<Key> = fetch.keys().map(key).collect();
    let (mut fetched, mut attempts) = (fetch.answer(), 0);
    log.read_each(&wanted, |key, body| match body {
        Ok(body) => fetched.add(body.ok_or_else(not_there)),
        Err(error) => match read_again(log, key, error, &mut attempts) {
            Ok(body) => fetched.add(body.as_deref().ok_or_else(not_there)),
            Err(error) => fetched.add(Err(error.to_string().into())),
        },
    });
    fetched
}

fn not_there() -> ByteString {
    ByteString::from_static("the store doesn't have it")
}

/// Tries again what failed for a reason that may pass, as a want of file descriptors does: so often in one fetch.
fn read_again(log: &Store, key: Key, mut error: io::Error, attempts: &mut u32) -> io::Result<Option<Bytes>> {
    while error.kind() != io::ErrorKind::InvalidData && *attempts < READ_ATTEMPTS_MAX {
        *attempts += 1;
        thread::sleep(READ_PAUSE);
        match log.read(key) {
            Ok(body) => return Ok(body),
            Err(again) => error = again,
        }
    }
    Err(error)
}

fn key(key: RecordKey) -> Key {
    Key { group: key.group, kind: key.kind, id: key.id }
}

fn keys(keys: &[RecordKey]) -> SmallVec<[Key; 8]> {
    keys.iter().copied().map(key).collect()
}

fn record_keys(keys: &[Key]) -> SmallVec<[RecordKey; 8]> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}

/// Two seconds: clients that come and go have given a file descriptor back by then.
const READ_ATTEMPTS_MAX: u32 = 20;
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Longer than most starts take, shorter than anybody's patience.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_once_a_second_when_a_start_takes_longer() {
        let progress = Progress::default();
        let told = [100, 900, 1_100, 1_900, 2_050, 2_200, 7_000, 7_500].map(Duration::from_millis);
        let due: Vec<_> = told.into_iter().filter(|elapsed| progress.is_due(*elapsed)).collect();
        assert_eq!(due, [1_100, 2_200, 7_000].map(Duration::from_millis));
    }
}
