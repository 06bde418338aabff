use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::provider::Verdict;
use super::backend::BackendFault;
use super::desk::DeskCounts;

/// Counts what a service has answered since the start.
#[derive(Debug, Default)]
pub(in crate::auth) struct Figures {
    allowed: AtomicU64,
    denied: AtomicU64,
    ignored: AtomicU64,
    unreachable: AtomicU64,
    late: AtomicU64,
    invalid: AtomicU64,
    known: AtomicU64,
}

/// What a service has answered since the start, and how many requests there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoteCounts {
    /// Clients that it accepted.
    pub allowed: u64,
    /// Clients that it refused.
    pub denied: u64,
    /// Clients that are not its own.
    pub ignored: u64,
    /// Requests that did not reach it.
    pub unreachable: u64,
    /// Requests that it did not answer in time.
    pub late: u64,
    /// Requests with an answer that is not valid.
    pub invalid: u64,
    /// Clients that were accepted by the cache.
    pub known: u64,
    /// Requests that were refused because too many waited.
    pub busy: u64,
    /// Requests that ended because their clients had gone.
    pub abandoned: u64,
    /// Requests that are under way.
    pub under_way: u64,
    /// Requests that wait.
    pub waiting: u64,
}

impl AddAssign for RemoteCounts {
    fn add_assign(&mut self, other: Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.ignored += other.ignored;
        self.unreachable += other.unreachable;
        self.late += other.late;
        self.invalid += other.invalid;
        self.known += other.known;
        self.busy += other.busy;
        self.abandoned += other.abandoned;
        self.under_way += other.under_way;
        self.waiting += other.waiting;
    }
}

impl Figures {
    pub(super) fn count(&self, asked: &Result<Option<Verdict>, BackendFault>) {
        add(match asked {
            Ok(Some(Verdict::Accept(_) | Verdict::Continue { .. })) => &self.allowed,
            Ok(Some(Verdict::Refuse(_))) => &self.denied,
            Ok(None) => &self.ignored,
            Err(BackendFault::Unreachable(_)) => &self.unreachable,
            Err(BackendFault::Timeout) => &self.late,
            Err(BackendFault::Invalid(_)) => &self.invalid,
        });
    }

    pub(super) fn count_known(&self) {
        add(&self.known);
    }

    /// With those of its desk.
    pub(in crate::auth) fn counts(&self, desk: DeskCounts) -> RemoteCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let DeskCounts { busy, abandoned, under_way, waiting } = desk;
        RemoteCounts {
            allowed: get(&self.allowed),
            denied: get(&self.denied),
            ignored: get(&self.ignored),
            unreachable: get(&self.unreachable),
            late: get(&self.late),
            invalid: get(&self.invalid),
            known: get(&self.known),
            busy,
            abandoned,
            under_way,
            waiting,
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
