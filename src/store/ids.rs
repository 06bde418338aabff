use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

/// The position of a live key's part, or of its entry if it has no part, and the key's share of the entry's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment; `u32::MAX` marks an unused element.
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// The bytes of the entry, divided by the number of its keys.
    pub(super) share: u32,
}

/// A position in the log. No two entries or parts have the same one while the store is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position(pub(super) u64);

impl From<Position> for u64 {
    fn from(Position(position): Position) -> Self {
        position
    }
}

/// The live ids of one kind in one group.
///
/// Consecutive ids, such as those of a queue, are in a deque without keys, 12 bytes each. Others are in a map.
#[derive(Debug)]
pub(super) enum Ids {
    One { kind: u8, id: u64, place: Place },
    Many { kind: u8, ids: Box<Many> },
}

const _: () = assert!(size_of::<Option<Ids>>() == 24);

#[derive(Debug, Default)]
pub(super) struct Many {
    /// The id of the first element of the run.
    base: u64,
    /// The first and the last element are used.
    run: VecDeque<Place>,
    /// The number of used elements of the run.
    in_run: usize,
    others: HashMap<u64, Place, RandomState>,
}

impl Ids {
    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::One { kind, .. } | Self::Many { kind, .. } => *kind,
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<Place> {
        match self {
            Self::One { id: only, place, .. } => (*only == id).then_some(*place),
            Self::Many { ids, .. } => ids.get(id),
        }
    }

    /// Sets the place of an id, and returns the previous one.
    pub(super) fn put(&mut self, id: u64, place: Place) -> Option<Place> {
        match self {
            Self::One { id: only, place: old, .. } if *only == id => Some(std::mem::replace(old, place)),
            Self::One { kind, id: only, place: old } => {
                let mut ids = Box::<Many>::default();
                ids.put(*only, *old);
                ids.put(id, place);
                *self = Self::Many { kind: *kind, ids };
                None
            }
            Self::Many { ids, .. } => ids.put(id, place),
        }
    }

    /// Removes an id. Returns `Err` if it was the only one, so that nothing is left.
    pub(super) fn remove(&mut self, id: u64) -> Result<Option<Place>, Place> {
        match self {
            Self::One { id: only, place, .. } if *only == id => Err(*place),
            Self::One { .. } => Ok(None),
            Self::Many { ids, .. } => match ids.remove(id) {
                Some(place) if ids.in_run == 0 && ids.others.is_empty() => Err(place),
                place => Ok(place),
            },
        }
    }

    /// At most `max` of the ids below `end`, in any order.
    pub(super) fn below(&self, end: u64, max: usize) -> Vec<u64> {
        match self {
            Self::One { id, .. } => Some(*id).filter(|id| *id < end).into_iter().take(max).collect(),
            Self::Many { ids, .. } => {
                let run = (ids.base..).zip(&ids.run).take_while(|(id, _)| *id < end);
                let run = run.filter(|(_, place)| !place.is_nowhere()).map(|(id, _)| id);
                run.chain(ids.others.keys().copied().filter(|id| *id < end)).take(max).collect()
            }
        }
    }

    pub(super) fn places(&self) -> Box<dyn Iterator<Item = Place> + '_> {
        match self {
            Self::One { place, .. } => Box::new(std::iter::once(*place)),
            Self::Many { ids, .. } => {
                Box::new(ids.run.iter().filter(|place| !place.is_nowhere()).chain(ids.others.values()).copied())
            }
        }
    }
}

impl Place {
    pub(super) fn position(self) -> Position {
        Position(u64::from(self.segment) << 32 | u64::from(self.offset))
    }

    const NOWHERE: Self = Self { segment: u32::MAX, offset: 0, share: 0 };

    fn is_nowhere(self) -> bool {
        self.segment == u32::MAX
    }
}

impl Many {
    fn get(&self, id: u64) -> Option<Place> {
        match self.run.get(self.in_run_at(id)) {
            Some(place) if !place.is_nowhere() => Some(*place),
            _ => self.others.get(&id).copied(),
        }
    }

    fn put(&mut self, id: u64, place: Place) -> Option<Place> {
        if let Some(old) = self.others.get_mut(&id) {
            return Some(std::mem::replace(old, place));
        }
        if self.run.is_empty() {
            self.base = id;
        }
        let index = self.in_run_at(id);
        let end = self.run.len();
        match self.run.get_mut(index) {
            Some(old) => {
                let old = std::mem::replace(old, place);
                self.in_run += usize::from(old.is_nowhere());
                (!old.is_nowhere()).then_some(old)
            }
            None if index <= end + GAP_MAX => {
                self.run.resize(index, Place::NOWHERE);
                self.run.push_back(place);
                self.in_run += 1;
                None
            }
            None => self.others.insert(id, place),
        }
    }

    fn remove(&mut self, id: u64) -> Option<Place> {
        match self.run.get_mut(self.in_run_at(id)).filter(|place| !place.is_nowhere()) {
            None => self.remove_other(id),
            Some(place) => {
                let place = std::mem::replace(place, Place::NOWHERE);
                self.in_run -= 1;
                self.trim();
                Some(place)
            }
        }
    }

    fn remove_other(&mut self, id: u64) -> Option<Place> {
        let place = self.others.remove(&id);
        if self.others.len() * 4 < self.others.capacity() {
            self.others.shrink_to(self.others.len() * 2);
        }
        place
    }

    fn trim(&mut self) {
        while self.run.front().is_some_and(|place| place.is_nowhere()) {
            self.run.pop_front();
            self.base = self.base.wrapping_add(1);
        }
        while self.run.back().is_some_and(|place| place.is_nowhere()) {
            self.run.pop_back();
        }
        if self.run.len() > GAP_MAX && self.in_run * 8 < self.run.len() {
            let run = std::mem::take(&mut self.run);
            let ids = (0u64..).map(|index| self.base.wrapping_add(index));
            self.others.extend(ids.zip(run).filter(|(_, place)| !place.is_nowhere()));
            self.in_run = 0;
        }
        if self.run.len() * 4 < self.run.capacity() {
            self.run.shrink_to(self.run.len() * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn places_held(&self) -> usize {
        self.run.capacity() + self.others.capacity()
    }

    /// The index of an id in the run, or an index beyond its end.
    fn in_run_at(&self, id: u64) -> usize {
        id.checked_sub(self.base).and_then(|index| usize::try_from(index).ok()).unwrap_or(usize::MAX - GAP_MAX)
    }
}

/// The maximum number of unused elements at the end of a run. More would take more memory than a map.
const GAP_MAX: usize = 64;
