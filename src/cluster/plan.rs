//! What would move in a cluster if nodes left or came, without changing anything: the rules of `members` say who takes over a cell that has
//! no owner, those of [`balance`](super::balance) which cells move then.

use std::collections::BTreeSet;

use super::balance::{Share, Shift, next_shift};
use super::members::rank;
use super::status::{Refusal, Role, Status};

/// What is asked: what would happen if these nodes left and came, all at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// The nodes that die or are drained.
    pub without: BTreeSet<String>,
    /// The nodes that come, new or back, each with a whole copy of each log.
    pub with: BTreeSet<String>,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The nodes, in the order of their names, those that come included.
    pub nodes: Vec<PlannedNode>,
    /// The cells, in the order of their numbers. A cluster without cells has one.
    pub cells: Vec<PlannedCell>,
    /// What moves, in this order.
    pub moves: Vec<PlannedMove>,
}

/// A node and how many cells it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its name.
    pub node: String,
    /// The cells that it owns now.
    pub owned: usize,
    /// Those that it would own in the end.
    pub then: usize,
}

/// A cell and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCell {
    /// The node that serves it now. `None`: there is none, or it changes just now.
    pub owner: Option<String>,
    /// The node that would take over if the owner died now, or that is about to. `None`: no other node can.
    pub next: Option<String>,
    /// The node that would serve it in the end. `None`: no node could.
    pub then: Option<String>,
}

/// A cell that changes its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMove {
    /// The place of the cell among those that were given.
    pub cell: usize,
    /// The node that has it before. `None`: none.
    pub from: Option<String>,
    /// The node that has it then.
    pub to: String,
    /// Why.
    pub cause: MoveCause,
}

/// Why a cell changes its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveCause {
    /// It has no owner.
    TakeOver,
    /// Another node owns at least two cells fewer.
    Balance,
}

/// A cell while the plan is made.
struct Cell {
    owner: Option<String>,
    /// The other nodes that can serve it, with how far their copies are: the position and the log sequence.
    able: Vec<(String, (u64, u64))>,
    /// The node that becomes the owner just now.
    coming: Option<String>,
}

impl Plan {
    /// For the cells of a cluster, as one node sees them.
    ///
    /// # Errors
    /// A node that is to leave is not known, or is one of those that come.
    pub fn new(cells: &[Status], Question { without, with }: &Question) -> Result<Self, Refusal> {
        let known: BTreeSet<&str> = cells.iter().flat_map(names).collect();
        if let Some(node) = without.iter().find(|node| !known.contains(node.as_str())) {
            return Err(Refusal::Unknown(node.clone()));
        }
        if let Some(node) = without.intersection(with).next() {
            return Err(Refusal::Other(format!("node {node} cannot leave and come")));
        }
        let mut planned: Vec<Cell> = cells.iter().map(Cell::new).collect();
        let before: Vec<(Option<String>, Option<String>)> =
            planned.iter().map(|cell| (cell.owner.clone(), cell.furthest())).collect();
        planned.iter_mut().for_each(|cell| cell.change(without, with));
        let mut moves = Vec::new();
        for (number, cell) in planned.iter_mut().enumerate() {
            let from = before.get(number).and_then(|(owner, _)| owner.clone());
            moves.extend(cell.take_over().map(|to| PlannedMove { cell: number, from, to, cause: MoveCause::TakeOver }));
        }
        while let Some(shift) = next_shift(&planned.iter().map(Cell::share).collect::<Vec<_>>()) {
            if let Some(cell) = planned.get_mut(shift.cell) {
                cell.carry_out(&shift);
            }
            let Shift { cell, from, to } = shift;
            moves.push(PlannedMove { cell, from: Some(from), to, cause: MoveCause::Balance });
        }
        let cells: Vec<PlannedCell> = before
            .into_iter()
            .zip(planned)
            .map(|((owner, next), cell)| PlannedCell { owner, next, then: cell.owner })
            .collect();
        let names: BTreeSet<&str> = known.into_iter().chain(with.iter().map(String::as_str)).collect();
        let count = |node: &str, of: fn(&PlannedCell) -> Option<&String>| {
            cells.iter().filter(|cell| of(cell).is_some_and(|owner| owner == node)).count()
        };
        let nodes = names.into_iter().map(|node| PlannedNode {
            node: node.to_owned(),
            owned: count(node, |cell| cell.owner.as_ref()),
            then: count(node, |cell| cell.then.as_ref()),
        });
        Ok(Self { nodes: nodes.collect(), cells, moves })
    }
}

/// The nodes of a cluster.
fn names(status: &Status) -> impl Iterator<Item = &str> {
    let owner = status.owner.iter().map(|owner| owner.node.as_str());
    std::iter::once(status.node.as_str()).chain(owner).chain(status.members.iter().map(|member| member.node.as_str()))
}

impl Cell {
    fn new(status: &Status) -> Self {
        let Share { owner, able } = Share::of(status);
        let copy = |node: &str| {
            let member = status.members.iter().find(|member| member.node == node);
            member.map_or((status.position, status.sequence), |member| (member.position, member.sequence))
        };
        let able = able.into_iter().map(|node| {
            let copy = copy(&node);
            (node, copy)
        });
        let coming = (status.role == Role::TakingOver).then(|| status.node.clone());
        Self { owner, able: able.collect(), coming }
    }

    /// The node that takes over if there is no owner.
    fn furthest(&self) -> Option<String> {
        let best = self.able.iter().max_by_key(|(node, copy)| rank(*copy, node));
        self.coming.clone().or_else(|| best.map(|(node, _)| node.clone()))
    }

    fn change(&mut self, without: &BTreeSet<String>, with: &BTreeSet<String>) {
        // A node that comes is as far as the others before it counts.
        let copy = self.able.iter().map(|(_, copy)| *copy).max().unwrap_or_default();
        for node in with {
            let is_there = self.able.iter().any(|(able, _)| able == node);
            if !is_there && self.owner.as_ref() != Some(node) && self.coming.as_ref() != Some(node) {
                self.able.push((node.clone(), copy));
            }
        }
        self.able.retain(|(node, _)| !without.contains(node));
        self.owner.take_if(|owner| without.contains(owner));
        self.coming.take_if(|coming| without.contains(coming));
    }

    /// Gives the cell an owner, if it has none. Returns the new one.
    fn take_over(&mut self) -> Option<String> {
        if self.owner.is_some() {
            return None;
        }
        let to = self.furthest()?;
        self.able.retain(|(node, _)| *node != to);
        self.owner = Some(to.clone());
        Some(to)
    }

    fn share(&self) -> Share {
        Share { owner: self.owner.clone(), able: self.able.iter().map(|(node, _)| node.clone()).collect() }
    }

    fn carry_out(&mut self, Shift { from, to, .. }: &Shift) {
        let copy = self.able.iter().find(|(node, _)| node == to).map_or((0, 0), |(_, copy)| *copy);
        self.able.retain(|(node, _)| node != to);
        self.able.push((from.clone(), copy));
        self.owner = Some(to.clone());
    }
}

#[cfg(test)]
mod tests;
