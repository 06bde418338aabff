use crate::routing::interest::cell_set::CellId;
use crate::routing::interest::counts::Counts;
use crate::routing::interest::fingerprint::{Fingerprint, InterestKey};
use crate::routing::interest::share_counts::ShareCounts;
use crate::topic::{Filter, TopicFilter};

/// What a cell wants: the messages to some topics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Those to the topic that a Topic Filter without wildcards names, and to whichever others have its fingerprint.
    Exact(Fingerprint),
    /// Those that a Topic Filter matches.
    Wildcard(TopicFilter),
    /// All.
    Everything,
    /// Its part of those that a share gets, of which it has these members.
    Share(Filter, ShareCounts),
}

impl Interest {
    /// Of a Session with this filter.
    pub fn new(filter: &TopicFilter, key: &InterestKey) -> Self {
        if filter.has_wildcard() {
            Self::Wildcard(filter.detached())
        } else {
            Self::Exact(key.fingerprint(filter.as_str()))
        }
    }

    /// What it takes of the limit of an announcement.
    pub(super) fn announced_bytes(&self) -> usize {
        match self {
            Self::Exact(_) => size_of::<Fingerprint>(),
            Self::Wildcard(filter) => filter.as_str().len() + OVERHEAD_BYTES,
            Self::Everything => OVERHEAD_BYTES,
            Self::Share(filter, _) => share_bytes(filter),
        }
    }

    /// It without what can change of it.
    pub(super) fn key(&self) -> Self {
        match self {
            Self::Share(filter, _) => Self::Share(filter.clone(), ShareCounts::default()),
            other @ (Self::Exact(_) | Self::Wildcard(_) | Self::Everything) => other.clone(),
        }
    }
}

/// What the owner of a cell tells a node about its interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Whose interest it is.
    pub cell: CellId,
    /// The epoch of the owner: a later owner has a higher one.
    pub epoch: u64,
    /// The last change that there is. A node that joins has all interest of which a SUBACK did not wait for it when it has got so far.
    pub last: u64,
    /// What it tells.
    pub what: Announced,
}

/// Changes of the interest of a cell, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// Changes with consecutive numbers: what the cell wants from now on (true), or does not want any more.
    Changes {
        /// The number of the first one.
        first: u64,
        /// At most [`AnnouncerLimits::announcement_bytes_max`](super::AnnouncerLimits), or one; none, to tell a node that it has all.
        changes: Vec<(Interest, bool)>,
    },
    /// A part of all of it.
    Whole {
        /// The last change that is contained.
        number: u64,
        /// How much came in the parts before.
        place: usize,
        /// At most [`AnnouncerLimits::announcement_bytes_max`](super::AnnouncerLimits), or one: first the fingerprints, ascending over all parts, then the rest.
        interest: Vec<Interest>,
        /// Whether this is the last part.
        is_last: bool,
    },
}

/// What a node answers to an [`Announcement`]: what it has of the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterestAnswer {
    /// The cell.
    pub cell: CellId,
    /// The epoch of the owner that the node knows; 0: none.
    pub epoch: u64,
    /// The last change of it that the node has; `None`: it has not got all of its interest yet.
    pub number: Option<u64>,
    /// The number of the whole of which it has got parts, and how much of it.
    pub incoming: Option<(u64, usize)>,
    /// Whether it has had all of it at a time since this life of the node began.
    pub is_joined: bool,
}

/// The interest of a cell at one time.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) number: u64,
    /// Ascending.
    exact: Vec<Fingerprint>,
    others: Vec<Interest>,
}

impl Whole {
    pub(super) fn new(number: u64, exact: &Counts, others: impl Iterator<Item = Interest>) -> Self {
        Self { number, exact: exact.sorted(), others: others.collect() }
    }

    pub(super) fn everything(number: u64, shares: impl Iterator<Item = Interest>) -> Self {
        Self { number, exact: Vec::new(), others: [Interest::Everything].into_iter().chain(shares).collect() }
    }

    /// The part from `place` on.
    pub(super) fn part(&self, place: usize, bytes_max: usize) -> Announced {
        let exact = self.exact.get(place..).unwrap_or_default();
        let others = self.others.get(place.saturating_sub(self.exact.len())..).unwrap_or_default();
        let rest = || exact.iter().copied().map(Interest::Exact).chain(others.iter().cloned());
        let count = fitting(rest().map(|interest| interest.announced_bytes()), bytes_max);
        let is_last = count == exact.len() + others.len();
        Announced::Whole { number: self.number, place, interest: rest().take(count).collect(), is_last }
    }
}

/// How many of these sizes are at most `bytes_max` in total: at least one, if there is one.
pub(super) fn fitting(sizes: impl Iterator<Item = usize>, bytes_max: usize) -> usize {
    let ends = sizes.scan(0, |end, size| {
        *end += size;
        Some(*end)
    });
    ends.enumerate().take_while(|(at, end)| *at == 0 || *end <= bytes_max).count()
}

/// What a share takes of the limit of an announcement.
pub(super) fn share_bytes(Filter { share, topic_filter, .. }: &Filter) -> usize {
    let name = share.as_ref().map_or(0, |name| name.as_str().len());
    name + topic_filter.as_str().len() + SHARE_OVERHEAD_BYTES
}

/// What interest takes besides its text, at most.
const OVERHEAD_BYTES: usize = 4;
/// The same for a share, which has two texts and two numbers.
const SHARE_OVERHEAD_BYTES: usize = 14;
