use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cluster::beat::Beat;
use crate::cluster::members::{Decision, Members};
use crate::cluster::{Member, Owner};

fn name(node: usize) -> String {
    format!("n{node}")
}

fn question(without: &[usize], with: &[usize]) -> Question {
    let names = |nodes: &[usize]| nodes.iter().map(|node| name(*node)).collect();
    Question { without: names(without), with: names(with) }
}

/// What the nodes of a cluster say of one cell, and what each knows of the others: the real rules, without the log.
#[derive(Debug)]
struct RealCell {
    beats: Vec<Beat>,
    members: Vec<Members>,
    is_dead: Vec<bool>,
}

/// How a node of [`RealCell`] begins.
#[derive(Debug, Clone, Copy)]
struct Begins {
    position: u64,
    is_drained: bool,
}

impl RealCell {
    fn new(owner: usize, nodes: &[Begins]) -> Self {
        let beat = |(number, Begins { position, is_drained }): (usize, &Begins)| Beat {
            cluster: String::new(),
            process: 1,
            number: 0,
            epoch: u64::from(number == owner),
            advertise: String::new(),
            position: *position,
            sequence: *position,
            is_candidate: !is_drained && number != owner,
            hands_over_to: None,
            trimmed: 0,
            has_other_log: false,
            version: String::new(),
        };
        let members = (0..nodes.len()).map(|node| Members::new(name(node))).collect();
        let beats = nodes.iter().enumerate().map(beat).collect();
        let mut cell = Self { beats, members, is_dead: vec![false; nodes.len()] };
        cell.pass_seconds();
        cell
    }

    /// Each node that is alive says so a few times.
    fn pass_seconds(&mut self) {
        for _ in 0..4 {
            for (beat, _) in self.beats.iter_mut().zip(&self.is_dead).filter(|(_, is_dead)| !**is_dead) {
                beat.number += 1;
            }
            for members in &mut self.members {
                members.observe(self.beats.iter().enumerate().map(|(node, beat)| (name(node), beat.clone())));
            }
        }
    }

    /// The state as a node shows it to operators.
    fn status(&self, me: usize) -> Status {
        let (members, beat) = (&self.members[me], &self.beats[me]);
        let mut status = Status::new("c".to_owned(), name(me), String::new());
        let others = members.nodes().filter(|(node, _, _)| *node != name(me));
        status.members =
            others.map(|(node, beat, missed)| Member::heard_of(node, beat, (missed, members.is_dead(node)))).collect();
        let owner = members.owner().map(|(node, _)| Owner { node: node.to_owned(), advertise: None });
        (status.position, status.sequence, status.owner) = (beat.position, beat.sequence, owner);
        status.role = if beat.epoch > 0 { Role::Owner } else { Role::Standby };
        status.is_drained = beat.epoch == 0 && !beat.is_candidate;
        status
    }

    /// The node that decides first to take over does so.
    fn take_over(&mut self) -> Option<usize> {
        let decisions = (0..self.beats.len()).filter(|node| !self.is_dead[*node]).filter_map(|node| {
            match self.members[node].decide(&self.beats[node]) {
                Decision::TakeOver { after, .. } => Some((after, node)),
                Decision::Follow => None,
            }
        });
        let (_, node) = decisions.min()?;
        let epoch = self.beats.iter().map(|beat| beat.epoch).max().unwrap_or(0) + 1;
        for beat in self.beats.iter_mut().filter(|beat| beat.hands_over_to.is_some()) {
            // It follows the new owner, and can take over again later.
            (beat.epoch, beat.hands_over_to, beat.is_candidate) = (0, None, true);
        }
        (self.beats[node].epoch, self.beats[node].is_candidate) = (epoch, false);
        for members in &mut self.members {
            members.named(epoch, &name(node));
        }
        self.pass_seconds();
        Some(node)
    }

    /// The owner gives the cell to another node.
    fn hand_over(&mut self, from: usize, to: &str) -> Option<usize> {
        assert!(self.beats[from].epoch > 0);
        (self.beats[from].hands_over_to, self.beats[from].is_candidate) = (Some(to.to_owned()), false);
        self.pass_seconds();
        self.take_over()
    }
}

/// What the nodes do, one step after the other, when some die.
fn really_moved(cells: &mut [RealCell], dead: &[usize]) -> Vec<PlannedMove> {
    let mut moves = Vec::new();
    let alive: Vec<usize> = (0..cells[0].beats.len()).filter(|node| !dead.contains(node)).collect();
    let owner_of = |cell: &RealCell, me: usize| Share::of(&cell.status(me)).owner;
    for (number, cell) in cells.iter_mut().enumerate() {
        let from = owner_of(cell, alive[0]);
        dead.iter().for_each(|node| cell.is_dead[*node] = true);
        cell.pass_seconds();
        if owner_of(cell, alive[0]).is_none()
            && let Some(to) = cell.take_over()
        {
            moves.push(PlannedMove { cell: number, from, to: name(to), cause: MoveCause::TakeOver });
        }
    }
    loop {
        let shifts: Vec<Option<Shift>> = alive
            .iter()
            .map(|me| next_shift(&cells.iter().map(|cell| Share::of(&cell.status(*me))).collect::<Vec<_>>()))
            .collect();
        assert!(shifts.windows(2).all(|two| two[0] == two[1]), "all nodes agree");
        let Some(Shift { cell, from, to }) = shifts.into_iter().next().flatten() else { return moves };
        let owner = alive.iter().copied().find(|node| name(*node) == from).unwrap();
        let taken = cells[cell].hand_over(owner, &to);
        assert_eq!(taken.map(name), Some(to.clone()), "the node that was chosen takes over");
        moves.push(PlannedMove { cell, from: Some(from), to, cause: MoveCause::Balance });
        assert!(moves.len() <= 200);
    }
}

fn begins() -> impl Strategy<Value = Begins> {
    (0_u64..3, prop::bool::weighted(0.1))
        .prop_map(|(position, is_drained)| Begins { position: 7 + position, is_drained })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Any node that stays alive says before what happens then.
    #[test]
    fn what_is_planned_is_what_the_nodes_do_step_by_step(
        nodes in 2_usize..6,
        begin in vec((0_usize..6, vec(begins(), 6)), 1..9),
        dead in vec(any::<bool>(), 6),
        asked in any::<prop::sample::Index>(),
    ) {
        let mut cells: Vec<RealCell> =
            begin.iter().map(|(owner, begins)| RealCell::new(owner % nodes, &begins[..nodes])).collect();
        let mut dead: Vec<usize> = (0..nodes).filter(|node| dead[*node]).collect();
        dead.truncate(nodes - 1);
        let alive: Vec<usize> = (0..nodes).filter(|node| !dead.contains(node)).collect();
        let asked = *asked.get(&alive);
        let statuses: Vec<Status> = cells.iter().map(|cell| cell.status(asked)).collect();
        let plan = Plan::new(&statuses, &question(&dead, &[])).unwrap();
        let moves = really_moved(&mut cells, &dead);
        prop_assert_eq!(&plan.moves, &moves);
        for (cell, planned) in cells.iter().zip(&plan.cells) {
            prop_assert_eq!(&Share::of(&cell.status(asked)).owner, &planned.then);
        }
        let then: usize = plan.nodes.iter().map(|node| node.then).sum();
        prop_assert_eq!(then, plan.cells.iter().filter(|cell| cell.then.is_some()).count());
        prop_assert!(plan.nodes.iter().all(|node| node.then == 0 || alive.iter().any(|alive| name(*alive) == node.node)));
    }
}

/// Cells with these owners, of which node 0 sees all; the copies of node `n` are at `10 + n`.
fn seen(owners: &[usize], nodes: usize) -> Vec<Status> {
    let begins: Vec<Begins> = (0..nodes).map(|node| Begins { position: 10 + node as u64, is_drained: false }).collect();
    owners.iter().map(|owner| RealCell::new(*owner, &begins).status(0)).collect()
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &PlannedMove| {
        let why = if step.cause == MoveCause::TakeOver { "dead" } else { "even" };
        format!("{} {}>{} {why}", step.cell, step.from.as_deref().unwrap_or("-"), step.to)
    };
    plan.moves.iter().map(word).collect()
}

#[test]
fn the_node_with_the_furthest_copy_takes_over_and_then_cells_are_spread_evenly() {
    let cells = seen(&[0, 0, 1, 1, 2, 2], 3);
    let plan = |without: &[usize], with: &[usize]| Plan::new(&cells, &question(without, with)).unwrap();
    assert_eq!(words(&plan(&[], &[])), Vec::<String>::new());
    assert_eq!(words(&plan(&[1], &[])), ["2 n1>n2 dead", "3 n1>n2 dead", "2 n2>n0 even"]);
    assert_eq!(words(&plan(&[], &[3])), ["0 n0>n3 even"]);
    let all = plan(&[1, 2], &[]);
    assert!(all.cells.iter().all(|cell| cell.then == Some(name(0))));
    let none = plan(&[0, 1, 2], &[]);
    assert!(none.moves.is_empty() && none.cells.iter().all(|cell| cell.then.is_none()));
    let replaced = plan(&[1], &[3]);
    let counts: Vec<_> = replaced.nodes.iter().map(|node| (&*node.node, node.owned, node.then)).collect();
    assert_eq!(counts, [("n0", 2, 2), ("n1", 2, 0), ("n2", 2, 2), ("n3", 0, 2)]);
}

#[test]
fn a_cluster_without_cells_has_a_node_that_takes_over() {
    let cells = seen(&[0], 3);
    let plan = |without: &[usize], with: &[usize]| Plan::new(&cells, &question(without, with)).unwrap();
    assert_eq!(plan(&[], &[]).cells, [PlannedCell { owner: Some(name(0)), next: Some(name(2)), then: Some(name(0)) }]);
    assert_eq!(words(&plan(&[0], &[])), ["0 n0>n2 dead"]);
    assert_eq!(words(&plan(&[0, 2], &[])), ["0 n0>n1 dead"]);
    assert_eq!(words(&plan(&[], &[3])), Vec::<String>::new(), "an owner is not replaced");
}

#[test]
fn a_cell_that_no_node_can_serve_stays_without_owner_and_nothing_else_moves() {
    let mut cells = seen(&[0, 1, 1, 1], 3);
    cells[0].members.iter_mut().for_each(|member| member.is_able = false);
    let plan = Plan::new(&cells, &question(&[0], &[])).unwrap();
    assert_eq!(plan.cells[0].then, None);
    assert_eq!(words(&plan), Vec::<String>::new());
}

#[test]
fn a_node_that_takes_over_just_now_has_the_cell_and_others_are_asked_only_if_it_leaves() {
    let mut cells = seen(&[1, 0], 3);
    (cells[0].role, cells[0].owner) = (Role::TakingOver, None);
    let plan = |without: &[usize]| Plan::new(&cells, &question(without, &[])).unwrap();
    assert_eq!(words(&plan(&[]))[0], "0 ->n0 dead");
    assert_eq!(words(&plan(&[0]))[0], "0 ->n2 dead");
}

#[test]
fn nodes_that_are_not_there_cannot_leave() {
    let cells = seen(&[0, 1], 2);
    assert_eq!(Plan::new(&cells, &question(&[7], &[])), Err(Refusal::Unknown(name(7))));
    let both = Plan::new(&cells, &question(&[1], &[1])).unwrap_err();
    assert_eq!(both.to_string(), "node n1 cannot leave and come");
}
