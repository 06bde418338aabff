//! Machines with processors, on which everything that costs CPU time takes turns.

use std::collections::VecDeque;

use crate::world::Step;

/// The processors of a machine. What is ready runs in the order in which it became ready, each to its end.
#[derive(Debug)]
pub(crate) struct Machine {
    idle: usize,
    ready: VecDeque<Task>,
    /// CPU time used, in nanoseconds.
    pub(crate) used: Uses,
}

/// What needs a processor.
#[derive(Debug)]
pub(crate) enum Task {
    /// The shard of a cell handles what has arrived.
    Turn { cell: usize },
    /// Nanoseconds of work for each use, and what is done then.
    Work { uses: Uses, then: Option<Box<Step>> },
}

/// Who uses CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// The owner of a cell.
    Owner,
    /// The nodes that follow its log.
    Followers,
    /// The servers of NATS.
    Servers,
    /// Frames between nodes, at both of them.
    Frames,
}

impl Use {
    pub(crate) const COUNT: usize = 4;

    /// Work for one use.
    pub(crate) fn of(self, ns: u64) -> Uses {
        let mut uses = Uses::default();
        uses[self as usize] = ns;
        uses
    }
}

/// Nanoseconds by [`Use`].
pub(crate) type Uses = [u64; Use::COUNT];

impl Machine {
    pub(crate) const fn new(cores: usize) -> Self {
        Self { idle: cores, ready: VecDeque::new(), used: [0; Use::COUNT] }
    }

    pub(crate) fn add(&mut self, task: Task) {
        self.ready.push_back(task);
    }

    /// What a processor begins with, if there is one.
    pub(crate) fn begin(&mut self) -> Option<Task> {
        if self.idle == 0 {
            return None;
        }
        let task = self.ready.pop_front()?;
        self.idle -= 1;
        Some(task)
    }

    /// A processor is free again.
    pub(crate) const fn end(&mut self) {
        self.idle += 1;
    }

    /// Counts CPU time. Returns its sum.
    pub(crate) fn count(&mut self, uses: &Uses) -> u64 {
        self.used.iter_mut().zip(uses).for_each(|(used, ns)| *used += ns);
        uses.iter().sum()
    }
}
