use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::broker::cells::peer::LinkRole;
use crate::codec::MessageId;
use crate::routing::{
    Announcement, Announcer, AnnouncerLimits, CellId, CellSet, CellShare, InterestAnswer, InterestKey, InterestTable,
    Receiver, ShardId, ShareCounts, Subscriber,
};
use crate::topic::{Filter, TopicFilter, TopicName};

/// Which of the cells of a cluster a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellTerms {
    /// The cell.
    pub cell: CellId,
    /// The number of cells, of 2 to 256.
    pub cells: u16,
    /// The epoch of its owner: that of a later owner is higher.
    pub epoch: u64,
    /// For the fingerprints of Topic Filters: all cells have the same one, and clients don't know it.
    pub interest_key: [u8; 16],
    /// What all that the other cells want may take in the table of this one, in bytes. All cells have about the same bound: each keeps to its part of it.
    pub interest_bytes_max: usize,
}

/// What the shards of a cell share about the other cells.
#[derive(Debug)]
pub(in crate::broker) struct CellState {
    pub(in crate::broker) terms: CellTerms,
    announcer: Mutex<Announcer>,
    /// The last change of what this cell wants, and the last one that all other cells have noted.
    number: AtomicU64,
    noted: AtomicU64,
    /// What the others want.
    pub(super) table: RwLock<InterestTable>,
    /// Counts the changes of `table` and of `links`.
    generation: AtomicU64,
    /// How the other cells receive messages, by their numbers, as far as their Sessions are there.
    links: RwLock<Vec<Option<Arc<Receiver>>>>,
    /// How many connections of each role there are to another cell: for a moment, there can be a new one beside one that ends.
    pub(super) open: Box<[[AtomicU32; LinkRole::ALL.len()]]>,
    /// Which shards have a control connection.
    control: Box<[AtomicBool]>,
    /// Which shards have answers that wait until the others have noted what this cell wants.
    waiting: Box<[AtomicBool]>,
    /// The number of the last change of retained messages that this cell has made or seen. [`stamp`](Self::stamp)
    last_change: AtomicU64,
    /// The first message in the queue for each other cell that the cell is not known to have.
    unreceived: Box<[AtomicU64]>,
    /// Behind the messages in the queue for each other cell that are left from before the start.
    left: Box<[AtomicU64]>,
    /// Whether other cells do not have all of these.
    has_left: AtomicBool,
    /// Which shards wait until other cells have some messages.
    owing: Box<[AtomicBool]>,
}

impl CellState {
    pub(in crate::broker) fn new(terms: CellTerms, shards: usize) -> Self {
        let key = InterestKey::new(&terms.interest_key);
        // The table of this cell has that of each other cell.
        let table_bytes_max = terms.interest_bytes_max / usize::from(terms.cells.max(1));
        let limits = AnnouncerLimits { table_bytes_max, ..AnnouncerLimits::default() };
        let mut announcer = Announcer::new(terms.cell, terms.epoch, key, limits);
        // From the beginning, SUBACK waits for all of them.
        others(&terms).for_each(|cell| announcer.join(&name_of(cell), 0));
        let flags = || (0..shards).map(|_| AtomicBool::new(false)).collect();
        Self {
            announcer: Mutex::new(announcer),
            number: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            table: RwLock::new(InterestTable::new(key)),
            generation: AtomicU64::new(1),
            links: RwLock::new(vec![None; usize::from(terms.cells)]),
            open: (0..terms.cells).map(|_| Default::default()).collect(),
            control: flags(),
            waiting: flags(),
            last_change: AtomicU64::new(0),
            unreceived: (0..terms.cells).map(|_| AtomicU64::new(0)).collect(),
            left: (0..terms.cells).map(|_| AtomicU64::new(0)).collect(),
            has_left: AtomicBool::new(false),
            owing: flags(),
            terms,
        }
    }

    fn announcer(&self) -> MutexGuard<'_, Announcer> {
        self.announcer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other cells.
    pub(in crate::broker) fn others(&self) -> impl Iterator<Item = CellId> + use<> {
        others(&self.terms)
    }

    /// A Session has a new subscription.
    pub(in crate::broker) fn subscribed(&self, filter: &TopicFilter) {
        if is_told(filter) {
            let number = self.announcer().subscribe(filter);
            self.number.fetch_max(number, Ordering::SeqCst);
        }
    }

    /// A Session has lost a subscription.
    pub(in crate::broker) fn unsubscribed(&self, filter: &TopicFilter) {
        if is_told(filter) {
            self.announcer().unsubscribe(filter);
        }
    }

    /// The members of a share of this cell may be others. `is_new`: a SUBACK for it is to be sent. `counts` is called when no other change can be told.
    pub(in crate::broker) fn share_changed(&self, filter: &Filter, is_new: bool, counts: impl FnOnce() -> ShareCounts) {
        if !is_told(&filter.topic_filter) {
            return;
        }
        let mut announcer = self.announcer();
        let counts = counts();
        let (number, is_told) = announcer.set_share(filter, counts);
        if is_new {
            self.number.fetch_max(number, Ordering::SeqCst);
        }
        if is_told {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            table.set_own_share(self.terms.cell, filter, counts);
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether all cells have room for what they must know of a share.
    pub(in crate::broker) fn has_room_for(&self, filter: &Filter) -> bool {
        self.announcer().has_room_for(filter)
    }

    /// The last change of what this cell wants. A SUBACK that is sent when all have [noted](Self::has_noted) it is not too early.
    pub(in crate::broker) fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Whether all other cells have noted this change.
    pub(in crate::broker) fn has_noted(&self, number: u64) -> bool {
        self.noted.load(Ordering::SeqCst) >= number
    }

    /// The owner of another cell, of this epoch, is at the other end of a control connection.
    pub(in crate::broker) fn met(&self, cell: CellId, epoch: u64) {
        let mut announcer = self.announcer();
        announcer.join(&name_of(cell), epoch);
        // What went over an earlier connection may be lost.
        announcer.repeat(&name_of(cell));
    }

    /// What is to be told now to the owner of another cell with this epoch.
    pub(in crate::broker) fn next_announcement(&self, to: CellId, epoch: u64) -> Option<Announcement> {
        let mut announcer = self.announcer();
        let (life, announcement) = announcer.next_announcement(&name_of(to))?;
        if life != epoch {
            // It is for a later owner, at another connection.
            announcer.repeat(&name_of(to));
            return None;
        }
        Some(announcement)
    }

    /// Takes the answer of the owner of another cell with this epoch. Returns whether more changes are noted by all than before.
    pub(in crate::broker) fn answered(&self, cell: CellId, epoch: u64, answer: InterestAnswer) -> bool {
        let mut announcer = self.announcer();
        announcer.answer(&name_of(cell), epoch, answer);
        let noted = announcer.known();
        self.noted.fetch_max(noted, Ordering::SeqCst) < noted
    }

    /// Takes what another cell wants. Returns the answer.
    pub(in crate::broker) fn announced(&self, announcement: Announcement) -> InterestAnswer {
        let answer = self.table.write().unwrap_or_else(PoisonError::into_inner).take(announcement);
        self.generation.fetch_add(1, Ordering::SeqCst);
        answer
    }

    /// Counts the changes of what other cells want.
    pub(in crate::broker) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The other cells that may want messages to `topic`.
    pub(in crate::broker) fn matching(&self, topic: &TopicName) -> CellSet {
        self.table.read().unwrap_or_else(PoisonError::into_inner).matching(topic)
    }

    /// The shares that get a message to `topic`, and of which another cell has members.
    pub(in crate::broker) fn shares(&self, topic: &TopicName) -> Vec<Arc<CellShare>> {
        let mut shares = self.table.read().unwrap_or_else(PoisonError::into_inner).shares(topic);
        shares.retain(|share| share.is_elsewhere(self.terms.cell));
        shares
    }

    /// The share that `filter` names.
    pub(in crate::broker) fn share(&self, filter: &Filter) -> Option<Arc<CellShare>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).share(filter)
    }

    /// How another cell receives messages.
    pub(in crate::broker) fn link_to(&self, CellId(cell): CellId) -> Option<Arc<Receiver>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(usize::from(cell)).cloned().flatten()
    }

    /// The Session with the messages for another cell is there.
    pub(in crate::broker) fn set_link(&self, CellId(cell): CellId, session: &Arc<Subscriber>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get_mut(usize::from(cell))
            && !link.as_ref().is_some_and(|link| Arc::ptr_eq(&link.subscriber, session))
        {
            *link = Some(Arc::new(Receiver::of_link(Arc::clone(session))));
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The place of a new change of a retained message in the order of all changes of all cells, which is that of these identities. It is behind all changes
    /// that this cell has made or seen, so also behind those that its cause is behind. The caller must hold the write lock of the retained messages.
    pub(in crate::broker) fn stamp(&self) -> MessageId {
        let number = self.last_change.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        MessageId { run: number, number: u64::from(self.terms.cell.0) }
    }

    /// There is a change with this number: later ones of this cell come behind it.
    pub(in crate::broker) fn observe(&self, number: u64) {
        self.last_change.fetch_max(number, Ordering::SeqCst);
    }

    /// The number of the last change of retained messages that this cell has made or seen.
    pub(in crate::broker) fn last_change(&self) -> u64 {
        self.last_change.load(Ordering::SeqCst)
    }

    /// Another cell has the messages in the queue for it up to `unreceived`. Returns whether these are more than before.
    pub(in crate::broker) fn received(&self, CellId(cell): CellId, unreceived: u64) -> bool {
        let first = self.unreceived.get(usize::from(cell));
        let is_more = first.is_some_and(|first| first.fetch_max(unreceived, Ordering::SeqCst) < unreceived);
        if is_more && self.has_left() {
            let mut all = self.unreceived.iter().zip(&self.left);
            let has_left = all.any(|(first, left)| first.load(Ordering::SeqCst) < left.load(Ordering::SeqCst));
            self.has_left.store(has_left, Ordering::SeqCst);
        }
        is_more
    }

    /// The queue for another cell has messages from before the start, up to this sequence.
    pub(in crate::broker) fn set_left(&self, CellId(cell): CellId, until: u64) {
        if let Some(left) = self.left.get(usize::from(cell)) {
            left.store(until, Ordering::SeqCst);
            self.has_left.store(true, Ordering::SeqCst);
        }
    }

    /// Whether other cells do not have all messages that were in the queues for them at the start.
    pub(in crate::broker) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::SeqCst)
    }

    /// Whether another cell has the message with this sequence in the queue for it.
    pub(in crate::broker) fn has_received(&self, CellId(cell): CellId, sequence: u64) -> bool {
        self.unreceived.get(usize::from(cell)).is_some_and(|first| first.load(Ordering::SeqCst) > sequence)
    }

    /// Whether a shard waits until other cells have some messages.
    pub(in crate::broker) fn set_owing(&self, shard: ShardId, owes: bool) {
        set(&self.owing, shard, owes);
    }

    /// The shards that wait for that.
    pub(in crate::broker) fn with_owing(&self) -> impl Iterator<Item = ShardId> {
        set_ones(&self.owing)
    }

    /// A shard has, or may have, a control connection.
    pub(in crate::broker) fn set_control(&self, shard: ShardId) {
        set(&self.control, shard, true);
    }

    /// The shards that have control connections.
    pub(in crate::broker) fn with_control(&self) -> impl Iterator<Item = ShardId> {
        set_ones(&self.control)
    }

    /// Whether a shard has answers that wait.
    pub(in crate::broker) fn set_waiting(&self, shard: ShardId, waits: bool) {
        set(&self.waiting, shard, waits);
    }

    /// The shards that have answers that wait.
    pub(in crate::broker) fn with_waiting(&self) -> impl Iterator<Item = ShardId> {
        set_ones(&self.waiting)
    }
}

fn others(terms: &CellTerms) -> impl Iterator<Item = CellId> + use<> {
    let own = terms.cell;
    (0..=u8::MAX).take(usize::from(terms.cells)).map(CellId).filter(move |cell| *cell != own)
}

fn name_of(CellId(cell): CellId) -> String {
    cell.to_string()
}

/// Whether others are told that a cell wants something: the `$SYS` topics of each cell are its own.
fn is_told(filter: &TopicFilter) -> bool {
    !filter.as_str().starts_with("$SYS/")
}

fn set(flags: &[AtomicBool], ShardId(shard): ShardId, value: bool) {
    if let Some(flag) = flags.get(usize::from(shard)) {
        flag.store(value, Ordering::SeqCst);
    }
}

fn set_ones(flags: &[AtomicBool]) -> impl Iterator<Item = ShardId> {
    (0..).zip(flags).filter(|(_, flag)| flag.load(Ordering::SeqCst)).map(|(shard, _)| ShardId(shard))
}
