//! All groups of subscribers of streams.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::broker::persistence::stream_group::{GroupPosition, StreamGroup};
use crate::broker::streams::groups::group::{Group, GroupName};
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::start::StreamStart;
use crate::topic::TopicFilter;

/// The groups of all streams, which all shards share. It is read when a client subscribes or connects, and by operators.
///
/// Invariant: no two groups have the same name or number, and there are at most [`GROUPS_MAX`].
#[derive(Debug, Default)]
pub(in crate::broker) struct Groups {
    table: RwLock<Table>,
    /// Whether there have been any.
    exist: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    groups: BTreeMap<u64, Arc<Group>>,
    /// The number of the last group.
    last: u64,
}

/// There are [`GROUPS_MAX`] groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct TooManyGroups;

impl Groups {
    /// Whether there may be groups.
    pub(in crate::broker) fn exist(&self) -> bool {
        self.exist.load(Ordering::Relaxed)
    }

    /// The group with this number.
    pub(in crate::broker) fn get(&self, number: u64) -> Option<Arc<Group>> {
        self.read().groups.get(&number).map(Arc::clone)
    }

    /// The group with this name.
    pub(in crate::broker) fn named(&self, name: &GroupName) -> Option<Arc<Group>> {
        self.read().groups.values().find(|group| group.name == *name).map(Arc::clone)
    }

    /// The same; it is made at `position` if there is none.
    pub(in crate::broker) fn need(
        &self,
        name: GroupName,
        position: GroupPosition,
    ) -> Result<Arc<Group>, TooManyGroups> {
        if let Some(group) = self.named(&name) {
            return Ok(group);
        }
        let mut table = self.write();
        if let Some(group) = table.groups.values().find(|group| group.name == name) {
            return Ok(Arc::clone(group));
        }
        if table.groups.len() >= GROUPS_MAX {
            return Err(TooManyGroups);
        }
        table.last += 1;
        let group = Arc::new(Group::new(table.last, name, position));
        table.groups.insert(group.number, Arc::clone(&group));
        self.exist.store(true, Ordering::Relaxed);
        Ok(group)
    }

    /// A group of a stream that was removed. It is not in the table.
    pub(in crate::broker) fn removed(&self, name: Arc<str>, filter: Option<TopicFilter>) -> Arc<Group> {
        let mut table = self.write();
        table.last += 1;
        let name = GroupName { stream: StreamNumber::REMOVED, name, filter };
        let group = Group::new(table.last, name, GroupPosition::new(StreamStart::Latest));
        group.ledger().is_gone = true;
        Arc::new(group)
    }

    /// Whether a further group can be made.
    pub(in crate::broker) fn has_room(&self) -> bool {
        self.read().groups.len() < GROUPS_MAX
    }

    /// The groups of a stream, in the order of their making.
    pub(in crate::broker) fn of(&self, stream: StreamNumber) -> Vec<Arc<Group>> {
        self.read().groups.values().filter(|group| group.name.stream == stream).map(Arc::clone).collect()
    }

    /// Removes a group.
    pub(in crate::broker) fn remove(&self, number: u64) {
        self.write().groups.remove(&number);
    }

    /// Restores the groups of the previous run.
    pub(in crate::broker) fn restore(&self, groups: Vec<StreamGroup>) {
        let mut table = self.write();
        self.exist.fetch_or(!groups.is_empty(), Ordering::Relaxed);
        for StreamGroup { number, stream, name, filter, position } in groups {
            let group = Group::new(number, GroupName { stream, name, filter }, position);
            group.ledger().saved.is_restored = true;
            table.last = table.last.max(number);
            table.groups.insert(number, Arc::new(group));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The greatest number of groups of all streams. Each has a metric.
pub(in crate::broker) const GROUPS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> GroupName {
        GroupName { stream: StreamNumber(1), name: name.into(), filter: None }
    }

    fn latest() -> GroupPosition {
        GroupPosition::new(StreamStart::Latest)
    }

    #[test]
    fn groups_are_bounded_and_numbers_are_not_used_again() {
        let groups = Groups::default();
        for number in 1..=GROUPS_MAX as u64 {
            assert_eq!(groups.need(name(&format!("g{number}")), latest()).unwrap().number, number);
        }
        assert!(!groups.has_room());
        assert_eq!(groups.need(name("more"), latest()).map(|group| group.number), Err(TooManyGroups));
        assert_eq!(groups.need(name("g7"), latest()).unwrap().number, 7);
        groups.remove(7);
        assert_eq!(groups.need(name("more"), latest()).unwrap().number, 1_001);
        assert_eq!(groups.of(StreamNumber(1)).len(), GROUPS_MAX);
        assert_eq!(groups.of(StreamNumber(2)).len(), 0);
    }
}
