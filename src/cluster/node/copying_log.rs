use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::attending::{Commands, Ended, Followed, attending};
use super::clock::now;
use super::heartbeat::beat_once;
use super::texts::describe;
use super::view::View;
use crate::cluster::assembly::{Assembly, Batch, ENTRY_BYTES_MAX};
use crate::cluster::engine::{Engine, EngineError};
use crate::cluster::members::Cause;
use crate::cluster::place::Place;
use crate::cluster::{Commit, Found, Reader, Reply, Request, Role, Step, Trouble};
use crate::store::{Follower, Home, OpenError, Options};

/// A copy of the log that is open.
pub(super) struct Copy {
    /// `None` while another thread works on it.
    pub(super) follower: Option<Follower>,
    pub(super) cluster: u128,
    pub(super) reader: Reader,
    /// The last place at which every batch was whole, and the log sequence there.
    pub(super) whole: (Reader, u64),
    pub(super) assembly: Assembly,
    synced: Instant,
    /// What was synced last.
    pub(super) synced_reader: Option<Reader>,
    /// When to take over, if nothing changes.
    pub(super) take_over: Option<(Instant, Cause)>,
    /// It is the log of a broker that ran alone. No other node has a copy, and a cluster can begin with it.
    pub(super) is_own: bool,
    /// Whether the last read came near the end of the stream.
    is_near: bool,
    /// When the state of the stream was looked at.
    looked: Instant,
    /// How often another replica was asked for what was missing.
    moves: u32,
}

impl Copy {
    pub(super) async fn open(engine: &dyn Engine, view: &View, commands: &mut Commands) -> Result<Self, Ended> {
        if engine.entry_bytes_max() < ENTRY_BYTES_MAX {
            let (most, needed) = (engine.entry_bytes_max(), ENTRY_BYTES_MAX);
            return Err(Ended::Stuck(format!(
                "the server of NATS takes entries of {most} bytes, and must take {needed}: max_payload must be 1 MiB or more"
            )));
        }
        let home = view.identity.home.clone();
        // A broker that was fenced may have a write under way.
        let options = Options { lock_patience: LOCK_PATIENCE, ..view.identity.options.clone() };
        let terms = view.identity.streams;
        let opening = spawn_blocking(move || home.follow(&options, terms));
        let follower = match attending(view, commands, opening).await? {
            Ok(Ok(follower)) => follower,
            // A copy that has lost something is of no use. A log that was never replicated has no other copy.
            Ok(Err(error @ (OpenError::Damaged { .. } | OpenError::OffMark { .. })))
                if view.identity.home.is_copy() =>
            {
                return Err(Ended::Damaged(format!("the copy is damaged: {error}")));
            }
            Ok(Err(error)) => return Err(Ended::Stuck(format!("the store cannot be opened: {error}"))),
            Err(error) => return Err(Ended::Stuck(format!("the store cannot be opened: {error}"))),
        };
        let latest = loop {
            match attending(view, commands, engine.perform(Request::ReadEpoch)).await? {
                Reply::Epoch(latest) => break latest,
                Reply::Appended(_) | Reply::Refused | Reply::Unknown | Reply::Entries { .. } => {
                    attending(view, commands, sleep(PAUSE)).await?;
                }
            }
        };
        let cluster = engine.cluster_id();
        let begun = begin(&follower, (cluster, latest.as_ref()), &view.identity.home);
        view.says(|beat| beat.has_other_log = begun.is_err());
        let reader = begun?;
        let sequence = follower.sequence();
        let is_own = follower.mark().is_none() && !follower.is_empty();
        let mut copy = Self { is_own, ..Self::of(follower, cluster, reader) };
        if is_own {
            // Of nodes that begin together, the one with the most goes first.
            view.says(|beat| beat.sequence = sequence);
        } else {
            // A copy has its mark before it has anything else.
            copy.sync(view).await?;
        }
        Ok(copy)
    }

    /// A copy that stands at this place of the stream.
    pub(super) fn of(follower: Follower, cluster: u128, reader: Reader) -> Self {
        Self {
            cluster,
            reader,
            whole: (reader, follower.sequence()),
            follower: Some(follower),
            assembly: Assembly::default(),
            synced: now(),
            synced_reader: None,
            take_over: None,
            is_own: false,
            looked: now(),
            is_near: false,
            moves: 0,
        }
    }

    pub(super) async fn run(
        &mut self,
        engine: &dyn Engine,
        view: &View,
        commands: &mut Commands,
    ) -> Result<Followed, Ended> {
        let mut following = None;
        loop {
            let next = following.get_or_insert_with(|| engine.follow(self.reader.position));
            let read = async {
                tokio::select! {
                    biased;
                    read = next => Some(read),
                    () = sleep(TICK) => None,
                }
            };
            if let Some(read) = attending(view, commands, read).await? {
                following = None;
                match read {
                    Ok(entries) => {
                        self.is_near = entries.len() < NEAR;
                        match self.apply(view, commands, &entries).await {
                            Ok(()) if entries.is_empty() => {}
                            Ok(()) => self.moves = 0,
                            Err(Broken::Trouble(trouble)) => self.ask_another(engine, view, commands, trouble).await?,
                            Err(Broken::Ended(ended)) => return Err(ended),
                        }
                    }
                    Err(error) => {
                        view.trouble(Some(&format!("the stream cannot be read: {error}")));
                        attending(view, commands, sleep(PAUSE)).await?;
                        continue;
                    }
                }
            }
            if self.synced.elapsed() >= SYNC_PERIOD {
                self.sync(view).await?;
            }
            self.lend(view)?;
            if self.looked.elapsed() >= LOOK_PERIOD {
                self.look(engine, view, commands).await?;
            }
            if self.is_near && self.moves == 0 {
                let is_candidate = view.is_candidate();
                view.says(|beat| beat.is_candidate = is_candidate);
                view.status(|status| status.role = Role::Standby);
                view.trouble(None);
                if let Some(cause) = self.is_due(view) {
                    following = None;
                    if let Some(begin) = self.take_over(engine, view, commands, cause).await? {
                        return Ok(Followed::Owner(Box::new(begin)));
                    }
                }
            }
        }
    }

    /// Gives another node a fixed state of this copy, if it wants one, as long as this one is not damaged.
    fn lend(&self, view: &View) -> Result<(), Ended> {
        let state = &mut *view.state.borrow_mut();
        if let Some(segment) = state.damaged.first() {
            return Err(Ended::Damaged(format!("segment {segment} of the copy cannot be read")));
        }
        // Its mark is synced; what this one has read since is not part of it.
        if let Some((wanted, follower)) = state.wanted.take().zip(self.follower.as_ref()) {
            let _ = wanted.send(follower.snapshot()); // it may not wait any more
        }
        Ok(())
    }

    /// The position of the stream up to which the copy is on the disk.
    pub(super) fn on_disk(&self) -> u64 {
        self.synced_reader.map_or(0, |reader| reader.position)
    }

    /// Takes entries of the stream.
    async fn apply(&mut self, view: &View, commands: &mut Commands, entries: &[Found]) -> Result<(), Broken> {
        if self.is_own && !entries.is_empty() {
            return Err(Broken::Ended(no_copy(&view.identity.home)));
        }
        let (mut batches, mut whole) = (VecDeque::new(), self.whole);
        let mut broken = None;
        for found in entries {
            match self.step(view, found, (&mut batches, &mut whole)) {
                Ok(()) => {}
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        // What comes before an entry that cannot be taken is good.
        self.append(view, commands, batches).await.map_err(Broken::Ended)?;
        self.whole = whole;
        broken.map_or(Ok(()), Err)
    }

    fn step(
        &mut self,
        view: &View,
        found: &Found,
        (batches, whole): (&mut Batches, &mut (Reader, u64)),
    ) -> Result<(), Broken> {
        let mut sequence = whole.1;
        match self.reader.step(view.identity.cell, found).map_err(Broken::Trouble)? {
            Step::Epoch(epoch) => {
                self.assembly.clear();
                view.named(epoch.epoch, &epoch.node);
            }
            Step::LeftOut => {}
            Step::Commit(commit) => {
                if let Some(batch) = self.push(commit, &mut sequence)? {
                    batches.push_back((batch, Some(self.reader)));
                }
            }
        }
        if self.assembly.is_empty() {
            *whole = (self.reader, sequence);
        }
        Ok(())
    }

    /// Takes the next commit. Returns the batch, if it is whole and has entries.
    pub(super) fn push(&mut self, commit: Commit, sequence: &mut u64) -> Result<Option<Batch>, Broken> {
        let number = commit.number;
        let batch = self.assembly.push(commit).map_err(|_| {
            Broken::Ended(Ended::Stuck(format!(
                "commit {number} of the log is a part that does not follow the one before it"
            )))
        })?;
        let Some(batch) = batch else { return Ok(None) };
        if batch.first_sequence != *sequence {
            let text = format!("the log goes on at sequence {}, the copy at {sequence}", batch.first_sequence);
            return Err(Broken::Ended(Ended::Behind(text)));
        }
        *sequence += u64::from(batch.entries);
        Ok(Some(batch).filter(|batch| batch.entries > 0))
    }

    /// Makes what is whole stable, with its place.
    pub(super) async fn sync(&mut self, view: &View) -> Result<(), Ended> {
        self.synced = now();
        let (reader, sequence) = self.whole;
        if self.is_own {
            return Ok(());
        }
        if self.synced_reader == Some(reader) {
            if self.follower.as_ref().is_some_and(Follower::has_streams) {
                self.with(Follower::tend_streams).await??;
            }
            return Ok(());
        }
        let state = Place { cluster: self.cluster, reader }.encode();
        self.with(move |follower| follower.sync(state)).await??;
        self.synced_reader = Some(reader);
        view.says(|beat| (beat.position, beat.sequence) = (reader.position, sequence));
        view.status(|status| {
            (status.epoch, status.position, status.sequence) = (reader.epoch, reader.position, sequence);
        });
        Ok(())
    }

    /// Looks whether the stream is still the one of which this is a copy.
    async fn look(&mut self, engine: &dyn Engine, view: &View, commands: &mut Commands) -> Result<(), Ended> {
        self.looked = now();
        match attending(view, commands, engine.tail()).await? {
            Ok(tail) if tail.last < self.reader.position => {
                let (last, own) = (tail.last, self.reader.position);
                return Err(Ended::Stuck(format!(
                    "the stream ends at position {last}, and this copy has {own}: it has lost entries. See \"oncemq store adopt\""
                )));
            }
            Ok(tail) => view.status(|status| status.tail_bytes = Some(tail.bytes)),
            Err(error @ (EngineError::Replaced | EngineError::Terms { .. })) => {
                return Err(Ended::Stuck(error.to_string()));
            }
            // It is tried again.
            Err(_) => {}
        }
        Ok(())
    }

    /// Works on the copy in another thread.
    pub(super) async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Follower) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let Some(mut follower) = self.follower.take() else { return Err(io::Error::other("it is gone").into()) };
        let (result, follower) =
            spawn_blocking(move || (work(&mut follower), follower)).await.map_err(io::Error::other)?;
        self.follower = Some(follower);
        Ok(result)
    }

    /// Something of the stream is missing or damaged where it was read. Another replica may have it.
    async fn ask_another(
        &mut self,
        engine: &dyn Engine,
        view: &View,
        commands: &mut Commands,
        trouble: Trouble,
    ) -> Result<(), Ended> {
        self.moves += 1;
        // What was trimmed is known from the signs of life of the owner.
        attending(view, commands, beat_once(engine, view)).await?;
        let is_trimmed = matches!(trouble, Trouble::Gap { expected, .. } if expected < view.members.borrow().trimmed());
        // A copy that has nothing cannot have missed what another replica has.
        if self.moves > MOVES_MAX || self.reader.position == 0 || is_trimmed {
            return Err(Ended::Behind(describe(trouble)));
        }
        view.warn(&format!("{}: another replica is asked for it", describe(trouble)));
        if let Err(error) = attending(view, commands, engine.move_leader()).await? {
            view.warn(&format!("the leader of the stream does not move: {error}"));
        }
        Ok(attending(view, commands, sleep(AFTER_MOVE)).await?)
    }
}

/// Batches to append, each with where the stream stands behind it; `None`: that is not known yet, because this node takes over.
pub(super) type Batches = VecDeque<(Batch, Option<Reader>)>;

pub(super) enum Broken {
    Trouble(Trouble),
    Ended(Ended),
}

pub(super) fn no_copy(home: &Home) -> Ended {
    Ended::Stuck(format!(
        "the store in {home} is not a copy of the cluster's log: move it away, and a copy is fetched from the owner"
    ))
}

/// Where a copy begins to read.
fn begin(follower: &Follower, (cluster, latest): (u128, Option<&Found>), home: &Home) -> Result<Reader, Ended> {
    let Some(mark) = follower.mark() else {
        return match latest {
            Some(_) if !follower.is_empty() => Err(no_copy(home)),
            _ => Ok(Reader::new()),
        };
    };
    let Some(place) = Place::decode(&mark.state) else {
        return Err(Ended::Stuck(format!("the mark of the store in {home} was written by a later version")));
    };
    if place.cluster != cluster {
        return Err(Ended::Stuck(format!(
            "the stream of the cluster is not the one of which {home} has a copy: was it lost? See \"oncemq store adopt\""
        )));
    }
    if place.reader.last > 0 && latest.is_none() {
        return Err(Ended::Stuck("the stream of the cluster has lost its epochs".to_owned()));
    }
    Ok(place.reader)
}

/// How long to wait until another one has closed the store.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often a node looks whether it should take over.
const TICK: Duration = Duration::from_millis(100);
/// With fewer entries at a time, a copy is near the end of the stream.
const NEAR: usize = 64;
/// How often the state of the stream is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// How often the copy is synced.
const SYNC_PERIOD: Duration = Duration::from_secs(1);
/// How long to wait after a request that was not answered.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// How often another replica is asked before the copy is fetched anew.
const MOVES_MAX: u32 = 2;
/// How long the stream may take to have another leader.
const AFTER_MOVE: Duration = Duration::from_secs(1);
