use std::sync::Arc;

use crate::routing::interest::cell_set::CellId;
use crate::topic::TopicFilter;

/// What the owner of a cell tells a node about its filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Whose filters they are.
    pub cell: CellId,
    /// The epoch of the owner: a later owner has a higher one.
    pub epoch: u64,
    /// The last change that there is. A node that joins has all filters of which a SUBACK did not wait for it when it has got so far.
    pub last: u64,
    /// What it tells.
    pub what: Announced,
}

/// Changes of the filters of a cell, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// Changes with consecutive numbers: filters that the cell has from now on (true), or does not need any more.
    Changes {
        /// The number of the first one.
        first: u64,
        /// At most [`Announcement::BYTES_MAX`] bytes of filters, or one filter; none, to tell a node that it has all.
        changes: Vec<(TopicFilter, bool)>,
    },
    /// A part of all filters.
    Whole {
        /// The last change that is contained.
        number: u64,
        /// From which filter on, in an order of the announcer.
        place: usize,
        /// At most [`Announcement::BYTES_MAX`] bytes, or one filter.
        filters: Vec<TopicFilter>,
        /// Whether there are no others.
        is_last: bool,
    },
}

impl Announcement {
    /// Filters of one announcement are shorter in total, unless it is one alone. With their lengths, they fit in a frame of 64 KiB.
    pub const BYTES_MAX: usize = 32 * 1024;
}

/// What a node answers to an [`Announcement`]: what it has of the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterestAnswer {
    /// The cell.
    pub cell: CellId,
    /// The epoch of the owner that the node knows; 0: none.
    pub epoch: u64,
    /// The last change of it that the node has; `None`: it has not got all filters yet.
    pub number: Option<u64>,
    /// The number of the whole of which it has got parts, and how many filters of it.
    pub incoming: Option<(u64, usize)>,
    /// Whether it has had all filters at a time since this life of the node began.
    pub is_joined: bool,
}

/// The filters of a cell at one time.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub(super) number: u64,
    pub(super) filters: Arc<[TopicFilter]>,
}

impl Whole {
    /// The part from `place` on.
    pub(super) fn part(&self, place: usize) -> Announced {
        let rest = self.filters.get(place..).unwrap_or_default();
        let filters = rest.get(..fitting(rest.iter())).unwrap_or_default().to_vec();
        let is_last = filters.len() == rest.len();
        Announced::Whole { number: self.number, place, filters, is_last }
    }
}

/// How many of these filters fit into an announcement: at least one, if there is one.
pub(super) fn fitting<'a>(filters: impl Iterator<Item = &'a TopicFilter>) -> usize {
    let sizes = filters.map(|filter| filter.as_str().len() + OVERHEAD_BYTES);
    let ends = sizes.scan(0, |end, size| {
        *end += size;
        Some(*end)
    });
    ends.enumerate().take_while(|(at, end)| *at == 0 || *end <= Announcement::BYTES_MAX).count()
}

/// What a filter takes besides its text, at most.
const OVERHEAD_BYTES: usize = 4;
