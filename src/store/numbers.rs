use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::entry::{Numbered, Refused};

/// The next id in each group of numbered puts.
#[derive(Debug, Default)]
pub(super) struct NextNumbers(BTreeMap<u64, u64>);

/// The ids that an entry's numbered puts got.
pub(super) type Numbers = SmallVec<[u64; 2]>;

impl NextNumbers {
    /// Sets the next id in a group. Entries with puts in groups without one are refused.
    pub(super) fn set(&mut self, group: u64, next: u64) {
        self.0.insert(group, next);
    }

    /// The next ids in the groups of these puts. If one of the groups is unknown, none is taken.
    pub(super) fn take(&mut self, numbered: &[Numbered<'_>]) -> Result<Numbers, Refused> {
        self.check(numbered)?;
        Ok(self.next(numbered))
    }

    /// The same for the puts of several entries.
    pub(super) fn take_all(&mut self, entries: &[&[Numbered<'_>]]) -> Result<Vec<Numbers>, Refused> {
        entries.iter().try_for_each(|numbered| self.check(numbered))?;
        Ok(entries.iter().map(|numbered| self.next(numbered)).collect())
    }

    fn check(&self, numbered: &[Numbered<'_>]) -> Result<(), Refused> {
        if numbered.iter().all(|put| self.0.contains_key(&put.group)) { Ok(()) } else { Err(Refused::NoStream) }
    }

    fn next(&mut self, numbered: &[Numbered<'_>]) -> Numbers {
        let next = |put: &Numbered<'_>| {
            let next = self.0.entry(put.group).or_default();
            *next += 1;
            *next - 1
        };
        numbered.iter().map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_consecutive_in_each_group_and_none_is_taken_if_a_group_is_unknown() {
        let mut numbers = NextNumbers::default();
        numbers.set(1, 5);
        numbers.set(2, 1);
        let puts =
            |groups: &[u64]| groups.iter().map(|group| Numbered { group: *group, part: &[] }).collect::<Vec<_>>();
        assert_eq!(numbers.take(&puts(&[1])).unwrap()[..], [5]);
        assert_eq!(numbers.take(&puts(&[2, 1])).unwrap()[..], [1, 6]);
        assert_eq!(numbers.take(&puts(&[1, 3])), Err(Refused::NoStream));
        assert_eq!(numbers.take(&puts(&[1, 2])).unwrap()[..], [7, 2]);
        assert_eq!(numbers.take_all(&[&puts(&[1]), &puts(&[3])]), Err(Refused::NoStream));
        let [first, second] = &numbers.take_all(&[&puts(&[1]), &puts(&[2, 1])]).unwrap()[..] else { panic!() };
        assert_eq!((&first[..], &second[..]), (&[8][..], &[3, 9][..]));
    }
}
