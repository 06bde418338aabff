use std::collections::BTreeMap;

use super::status::{Member, Role, Status};

/// What a node is for all cells together; `None`: there are none. Each other node is there once: alive if it is for any cell, able if it is for each that it
/// does not own, and behind by the sum over the cells. `epoch`, `owner`, `position`, `replicated` and `last_failover` are those of each cell, and not here.
pub fn merged(cells: &[Status]) -> Option<Status> {
    let mut all = cells.first()?.clone();
    all.role = cells.iter().map(|cell| cell.role).find(|role| *role == Role::Owner).unwrap_or(all.role);
    all.is_drained = cells.iter().all(|cell| cell.is_drained);
    (all.owner, all.epoch, all.last_failover) = (None, 0, None);
    (all.position, all.replicated) = (0, 0);
    all.sequence = cells.iter().map(|cell| cell.sequence).sum();
    all.tail_bytes = cells.iter().map(|cell| cell.tail_bytes).sum();
    (all.takeovers, all.fences) =
        (cells.iter().map(|cell| cell.takeovers).sum(), cells.iter().map(|cell| cell.fences).sum());
    all.engine_latency = Default::default();
    cells.iter().for_each(|cell| all.engine_latency += cell.engine_latency);
    all.end_trouble("");
    cells.iter().flat_map(Status::troubles).for_each(|trouble| all.add_trouble(trouble));
    all.members = members(cells, all.sequence);
    Some(all)
}

fn members(cells: &[Status], sequence: u64) -> Vec<Member> {
    let mut nodes: BTreeMap<&str, Member> = BTreeMap::new();
    for cell in cells {
        for member in &cell.members {
            let is_able = member.is_able || member.role == Some(Role::Owner);
            let merged = nodes.entry(&member.node).or_insert_with(|| {
                let silence = member.silence;
                Member { is_able: true, is_alive: false, position: 0, sequence, silence, ..member.clone() }
            });
            merged.sequence = merged.sequence.saturating_sub(cell.lag(member));
            merged.is_able &= is_able;
            merged.is_alive |= member.is_alive;
            merged.silence = merged.silence.min(member.silence);
            if member.role == Some(Role::Owner) {
                merged.role = member.role;
            }
        }
    }
    nodes.into_values().collect()
}
