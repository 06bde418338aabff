//! Which cell is moved from one node to another, so that each node owns about the same number of cells.

use std::collections::BTreeMap;

use super::status::{Role, Status};

/// What a node knows about a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The node that serves it. `None`: there is none, or it changes just now.
    pub owner: Option<String>,
    /// The other nodes that can.
    pub able: Vec<String>,
}

/// A cell that is to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// The place of the cell among those that were given.
    pub cell: usize,
    /// The node that serves it.
    pub from: String,
    /// The one that is to serve it.
    pub to: String,
}

impl Share {
    /// The cell as its node sees it.
    pub fn of(status: &Status) -> Self {
        let owner = match status.role {
            Role::Owner => Some(status.node.clone()),
            Role::TakingOver => None,
            Role::Starting | Role::Standby | Role::Fenced | Role::Stopped => {
                status.owner.as_ref().map(|owner| owner.node.clone())
            }
        };
        let others = status.members.iter().filter(|member| member.is_alive && member.is_able);
        let mut able: Vec<String> = others.map(|member| member.node.clone()).collect();
        if status.role == Role::Standby && !status.is_drained {
            able.push(status.node.clone());
        }
        able.retain(|node| owner.as_ref() != Some(node));
        Self { owner, able }
    }
}

/// The next cell to move: from the node that owns most to one that owns at least two fewer, so that no cell ever moves back. All nodes that know the same
/// find the same one, which is moved by its owner, so one moves at a time. `None`: nothing is to be moved, or the owner of a cell is not known.
pub fn next_shift(cells: &[Share]) -> Option<Shift> {
    let mut owned: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in cells {
        *owned.entry(cell.owner.as_deref()?).or_default() += 1;
    }
    let count = |node: &str| owned.get(node).copied().unwrap_or(0);
    let mut best = None;
    for (number, cell) in cells.iter().enumerate() {
        let Some(from) = cell.owner.as_deref() else { continue };
        for to in &cell.able {
            let (many, few) = (count(from), count(to));
            // The first by name of equals, and the first cell.
            let rank = (usize::MAX - many, few, from, to.as_str(), number);
            if many >= few + 2 && best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
    }
    let (_, _, from, to, cell) = best?;
    Some(Shift { cell, from: from.to_owned(), to: to.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::{Member, Owner};

    fn name(node: usize) -> String {
        format!("n{node}")
    }

    /// Cells with these owners, of which each can be served by all `nodes`.
    fn cells(owners: &[usize], nodes: usize) -> Vec<Share> {
        let able = |owner: usize| (0..nodes).filter(|node| *node != owner).map(name).collect();
        owners.iter().map(|owner| Share { owner: Some(name(*owner)), able: able(*owner) }).collect()
    }

    fn counts(cells: &[Share], nodes: usize) -> Vec<usize> {
        let count = |node: String| cells.iter().filter(|cell| cell.owner.as_ref() == Some(&node)).count();
        (0..nodes).map(|node| count(name(node))).collect()
    }

    fn carry_out(cells: &mut [Share], Shift { cell, from, to }: &Shift) {
        let cell = &mut cells[*cell];
        assert_eq!(cell.owner.as_ref(), Some(from));
        assert!(cell.able.contains(to));
        cell.able.retain(|node| node != to);
        cell.able.push(from.clone());
        cell.owner = Some(to.clone());
    }

    proptest! {
        #[test]
        fn all_nodes_come_to_the_same_number_by_as_few_moves_as_can_be(
            nodes in 1_usize..8,
            owners in vec(0_usize..8, 1..40),
        ) {
            let owners: Vec<usize> = owners.into_iter().map(|owner| owner % nodes).collect();
            let mut cells = cells(&owners, nodes);
            let (least, most) = (owners.len() / nodes, owners.len().div_ceil(nodes));
            let before = counts(&cells, nodes);
            let too_many: usize = before.iter().map(|count| count.saturating_sub(most)).sum();
            let too_few: usize = before.iter().map(|count| least.saturating_sub(*count)).sum();
            let mut moves = 0;
            while let Some(shift) = next_shift(&cells) {
                carry_out(&mut cells, &shift);
                moves += 1;
                prop_assert!(moves <= owners.len());
            }
            prop_assert_eq!(moves, too_many.max(too_few));
            prop_assert!(counts(&cells, nodes).iter().all(|count| (least..=most).contains(count)));
        }

        /// Some nodes cannot serve some cells, or not any.
        #[test]
        fn each_move_makes_the_difference_smaller_and_nothing_moves_for_ever(
            owners in vec(0_usize..5, 1..30),
            able in vec(vec(any::<bool>(), 5), 30),
        ) {
            let mut cells = cells(&owners, 5);
            for (cell, able) in cells.iter_mut().zip(&able) {
                cell.able.retain(|node| (0..5).any(|number| able[number] && *node == name(number)));
            }
            let squares = |cells: &[Share]| -> usize { counts(cells, 5).iter().map(|count| count * count).sum() };
            let mut before = squares(&cells);
            while let Some(shift) = next_shift(&cells) {
                carry_out(&mut cells, &shift);
                let after = squares(&cells);
                prop_assert!(after < before);
                before = after;
            }
        }

        #[test]
        fn nothing_moves_while_a_cell_has_no_owner(owners in vec(0_usize..3, 2..20), without in any::<prop::sample::Index>()) {
            let mut cells = cells(&owners, 3);
            let without = without.index(cells.len());
            cells[without].owner = None;
            prop_assert_eq!(next_shift(&cells), None);
        }
    }

    #[test]
    fn a_node_that_comes_gets_one_cell_after_the_other_of_those_that_own_most() {
        let mut cells = cells(&[0, 0, 0, 1, 1, 1], 3);
        let mut moved = Vec::new();
        while let Some(shift) = next_shift(&cells) {
            carry_out(&mut cells, &shift);
            moved.push((shift.cell, shift.from, shift.to));
        }
        assert_eq!(moved, [(0, name(0), name(2)), (3, name(1), name(2))]);
    }

    #[test]
    fn a_node_that_is_silent_or_drained_gets_nothing() {
        let mut status = Status::new("c".to_owned(), "a".to_owned(), "a:1883".to_owned());
        let member =
            |node: &str, is_able, is_alive| Member { node: node.to_owned(), is_able, is_alive, ..Member::default() };
        status.members = vec![member("b", true, true), member("c", false, true), member("d", true, false)];
        status.role = Role::Owner;
        let share = |owner: Option<&str>, able: &[&str]| Share {
            owner: owner.map(str::to_owned),
            able: able.iter().map(|node| (*node).to_owned()).collect(),
        };
        assert_eq!(Share::of(&status), share(Some("a"), &["b"]));
        status.role = Role::TakingOver;
        assert_eq!(Share::of(&status), share(None, &["b"]));
        (status.role, status.owner) = (Role::Standby, Some(Owner { node: "b".to_owned(), advertise: None }));
        assert_eq!(Share::of(&status), share(Some("b"), &["a"]));
        status.is_drained = true;
        assert_eq!(Share::of(&status), share(Some("b"), &[]));
    }
}
