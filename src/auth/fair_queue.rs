use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::source::Source;

/// Jobs of many sources, which are served in turn: one job of each source that has any, then the next of each.
///
/// It is bounded by the weight of all jobs. When a job exceeds it, the newest job of the source with the heaviest jobs gives way, which may
/// be the new one. So one source can neither delay the others by more than one job for each of theirs, nor take their places. The number
/// of sources is bounded by the number of jobs.
///
/// Invariants: `lines`, `turns` and `heaviest` have the same sources, and each line has a job.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    lines: HashMap<Source, Line<T>>,
    /// The sources by the number of their turn; the lowest is next.
    turns: BTreeMap<u64, Source>,
    /// The sources by the weight of their jobs.
    heaviest: BTreeSet<(usize, Source)>,
    /// The next number of a turn or of a job.
    next: u64,
    jobs: usize,
    weight: usize,
    weight_max: usize,
}

/// The jobs of one source.
#[derive(Debug)]
struct Line<T> {
    turn: u64,
    weight: usize,
    /// With their weights, by number.
    jobs: BTreeMap<u64, (usize, T)>,
}

impl<T> FairQueue<T> {
    pub(super) fn new(weight_max: usize) -> Self {
        Self {
            lines: HashMap::new(),
            turns: BTreeMap::new(),
            heaviest: BTreeSet::new(),
            next: 0,
            jobs: 0,
            weight: 0,
            weight_max,
        }
    }

    /// The number of jobs.
    pub(super) const fn len(&self) -> usize {
        self.jobs
    }

    /// Adds a job. Returns its number, for [`remove`](Self::remove), and the jobs that gave way.
    pub(super) fn push(&mut self, source: Source, weight: usize, job: T) -> (u64, Vec<T>) {
        let number = self.number();
        let turn = self.number();
        let line = self.lines.entry(source).or_insert_with(|| {
            self.turns.insert(turn, source);
            Line { turn, weight: 0, jobs: BTreeMap::new() }
        });
        self.heaviest.remove(&(line.weight, source));
        line.weight += weight;
        line.jobs.insert(number, (weight, job));
        self.heaviest.insert((line.weight, source));
        self.jobs += 1;
        self.weight += weight;
        let mut displaced = Vec::new();
        while self.weight > self.weight_max
            && let Some((_, heaviest)) = self.heaviest.last().copied()
            && let Some(newest) = self.lines.get(&heaviest).and_then(|line| line.jobs.keys().next_back().copied())
        {
            displaced.extend(self.remove(heaviest, newest));
        }
        (number, displaced)
    }

    /// Takes the oldest job of the source whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, source) = self.turns.pop_first()?;
        let turn = self.number();
        let line = self.lines.get_mut(&source)?;
        line.turn = turn;
        self.turns.insert(turn, source);
        let oldest = line.jobs.keys().next().copied()?;
        self.remove(source, oldest)
    }

    /// Removes a job, unless it was taken or gave way.
    pub(super) fn remove(&mut self, source: Source, number: u64) -> Option<T> {
        let line = self.lines.get_mut(&source)?;
        let (weight, job) = line.jobs.remove(&number)?;
        self.heaviest.remove(&(line.weight, source));
        line.weight -= weight;
        self.jobs -= 1;
        self.weight -= weight;
        if line.jobs.is_empty() {
            self.turns.remove(&line.turn);
            self.lines.remove(&source);
        } else {
            self.heaviest.insert((line.weight, source));
        }
        Some(job)
    }

    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn source(last: u8) -> Source {
        Source::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    fn taken<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn sources_are_served_in_turn_and_each_in_order() {
        let mut queue = FairQueue::new(1_000);
        for job in 0..5 {
            queue.push(source(1), 1, (1, job));
        }
        queue.push(source(2), 1, (2, 0));
        queue.push(source(2), 1, (2, 1));
        assert_eq!(queue.pop(), Some((1, 0)));
        queue.push(source(3), 1, (3, 0));
        assert_eq!(taken(&mut queue), [(2, 0), (1, 1), (3, 0), (2, 1), (1, 2), (1, 3), (1, 4)]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn when_it_is_full_the_newest_job_of_the_heaviest_source_gives_way() {
        let mut queue = FairQueue::new(10);
        for job in 0..8 {
            assert!(queue.push(source(1), 1, job).1.is_empty());
        }
        assert_eq!(queue.push(source(1), 3, 8).1, [8], "the new job itself");
        assert_eq!(queue.push(source(2), 3, 20).1, [7]);
        assert_eq!(queue.push(source(3), 3, 30).1, [6, 5, 4]);
        assert_eq!(taken(&mut queue), [0, 20, 30, 1, 2, 3]);
    }

    #[test]
    fn a_removed_job_is_not_served_and_frees_its_place() {
        let mut queue = FairQueue::new(2);
        let (first, _) = queue.push(source(1), 1, 1);
        let (second, _) = queue.push(source(1), 1, 2);
        assert_eq!(queue.remove(source(1), first), Some(1));
        assert_eq!(queue.remove(source(1), first), None);
        assert!(queue.push(source(2), 1, 3).1.is_empty());
        assert_eq!(queue.remove(source(1), second), Some(2));
        assert_eq!(taken(&mut queue), [3]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8, usize),
        Pop,
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6_u8, 1..9_usize).prop_map(|(source, weight)| Step::Push(source, weight)),
            2 => Just(Step::Pop),
            1 => any::<usize>().prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn no_job_is_lost_and_the_bound_holds(steps in prop::collection::vec(step(), 0..200)) {
            let mut queue = FairQueue::new(40);
            let mut held: Vec<(u64, u8, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Push(from, weight) => {
                        let id = queue.next + 1;
                        let (number, displaced) = queue.push(source(from), weight, id);
                        prop_assert_eq!(number, id);
                        held.push((number, from, weight));
                        held.retain(|(number, ..)| !displaced.contains(number));
                    }
                    Step::Pop => {
                        let popped = queue.pop();
                        prop_assert_eq!(popped.is_none(), held.is_empty());
                        if let Some(popped) = popped {
                            let of = held.iter().find(|(number, ..)| *number == popped).unwrap().1;
                            let oldest = held.iter().find(|(_, from, _)| *from == of).unwrap().0;
                            prop_assert_eq!(popped, oldest);
                            held.retain(|(number, ..)| *number != popped);
                        }
                    }
                    Step::Remove(index) => {
                        if held.is_empty() { continue }
                        let (number, from, _) = held.remove(index % held.len());
                        prop_assert_eq!(queue.remove(source(from), number), Some(number));
                    }
                }
                prop_assert_eq!(queue.len(), held.len());
                prop_assert_eq!(queue.weight, held.iter().map(|(.., weight)| weight).sum::<usize>());
                prop_assert!(queue.weight <= 40);
                prop_assert_eq!(queue.turns.len(), queue.lines.len());
                prop_assert_eq!(queue.heaviest.len(), queue.lines.len());
            }
        }
    }
}
