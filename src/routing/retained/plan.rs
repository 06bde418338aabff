//! Decides from which level of a Topic Filter its messages are found.

use super::RetainedStore;
use crate::routing::arena::NodeId;

/// From which nodes the messages of a filter are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// From the root of the tree, level by level.
    Down,
    /// From all nodes with the name of the filter's level of this depth, from 2: their upper levels are compared, then from there level by level.
    Named(usize),
    /// No topic matches.
    Nothing,
}

impl RetainedStore {
    /// The plan with the fewest steps, as far as the numbers of nodes tell. It is an estimate for filters with several `+`: of the nodes that
    /// such a level can be, it knows the average number of children.
    pub(super) fn plan(&self, levels: &[&str]) -> Plan {
        let levels = levels.strip_suffix(&["#"]).unwrap_or(levels);
        if levels.len() > self.depths.len() {
            return Plan::Nothing;
        }
        let Some(wildcard) = levels.iter().position(|level| *level == "+") else { return Plan::Down };
        let mut id = NodeId::ROOT;
        for level in levels.iter().take(wildcard) {
            let Some(child) = self.edges.child(&self.nodes, id, level) else { return Plan::Nothing };
            id = child;
        }
        // Level by level: how many nodes match there at most. All nodes below the last name are matches, or on the way to one.
        let count = |(depth, level): (usize, &&str)| (*level != "+").then(|| self.names.count((depth, level)));
        let counts: Vec<Option<usize>> = (1..).zip(levels).skip(wildcard).map(count).collect();
        let Some(last) = counts.iter().rposition(Option::is_some) else { return Plan::Down };
        if counts.contains(&Some(0)) {
            return Plan::Nothing;
        }
        let counts = counts.get(..=last).unwrap_or_default();
        let from = |place: usize, nodes: usize| self.steps(nodes, wildcard + place + 1, counts.get(place + 1..));
        let down = from(0, self.nodes.node(id).children as usize);
        let named = (0..).zip(counts).filter_map(|(place, count)| Some((place, (*count)?)));
        let fewest = named.clone().min_by_key(|(_, count)| *count);
        let candidates = fewest.into_iter().chain(named.last());
        let best = candidates.map(|(place, count)| (from(place, count), place)).min();
        best.filter(|(steps, _)| *steps < down).map_or(Plan::Down, |(_, place)| Plan::Named(wildcard + place + 1))
    }

    /// The number of nodes that are visited from `depth` on, starting from `nodes` nodes. `counts` has, for each following level, the maximum
    /// number of matching nodes; `None` stands for `+`, which matches all.
    fn steps(&self, mut nodes: usize, depth: usize, counts: Option<&[Option<usize>]>) -> usize {
        let at = |depth: usize| depth.checked_sub(1).and_then(|place| self.depths.get(place)).map_or(1, |nodes| *nodes);
        let mut steps = nodes;
        for (depth, count) in (depth..).zip(counts.into_iter().flatten()) {
            nodes = match count {
                Some(count) => nodes.min(*count),
                None => nodes.saturating_mul(at(depth + 1)).div_ceil(at(depth).max(1)),
            };
            steps = steps.saturating_add(nodes);
        }
        steps
    }
}
