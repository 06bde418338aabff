//! What only few Sessions have: messages that were dropped, an unusual end of the last connection, and subscriptions to streams.

use crate::broker::counters::DropReason;
use crate::broker::streams::cursor::Cursor;
use crate::broker::streams::cursors::StreamCursors;
use crate::broker::streams::groups::memberships::Memberships;

/// Allocated when there is something to keep.
#[derive(Debug, Default)]
pub(in crate::broker) struct Incidents(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Messages dropped since the start of the broker, by [`DropReason`] number.
    dropped: [u32; DropReason::ALL.len()],
    /// Why the last connection ended, if the sentence is not a common one.
    end_reason: Option<Box<str>>,
    streams: Option<Box<StreamCursors>>,
    groups: Option<Box<Memberships>>,
}

impl Incidents {
    /// Counts a dropped message.
    pub(in crate::broker) fn add_dropped(&mut self, reason: DropReason) {
        if let Some(count) = self.0.get_or_insert_default().dropped.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// The messages dropped for this reason.
    pub(in crate::broker) fn dropped(&self, reason: DropReason) -> u32 {
        self.0.as_ref().and_then(|kept| kept.dropped.get(reason as usize)).copied().unwrap_or_default()
    }

    /// Replaces the reason why the last connection ended.
    pub(in crate::broker) fn set_end_reason(&mut self, reason: Option<Box<str>>) {
        if reason.is_some() || self.0.is_some() {
            self.0.get_or_insert_default().end_reason = reason;
        }
    }

    /// Whether there are subscriptions to streams, alone or in groups.
    pub(in crate::broker) fn has_streams(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.streams.is_some() || kept.groups.is_some())
    }

    /// The subscriptions to streams.
    pub(in crate::broker) fn streams(&self) -> Option<&StreamCursors> {
        self.0.as_ref()?.streams.as_deref()
    }

    /// The same, to change them.
    pub(in crate::broker) fn streams_mut(&mut self) -> Option<&mut StreamCursors> {
        self.0.as_mut()?.streams.as_deref_mut()
    }

    /// The same, to add one.
    pub(in crate::broker) fn need_streams(&mut self) -> &mut StreamCursors {
        self.0.get_or_insert_default().streams.get_or_insert_default()
    }

    /// The Session moves to another shard.
    pub(in crate::broker) fn reset_shard_state(&mut self) {
        self.streams_mut().into_iter().flat_map(StreamCursors::iter_mut).for_each(Cursor::reset_shard_state);
    }

    /// Takes them out, while they are handled.
    pub(in crate::broker) fn take_streams(&mut self) -> Option<Box<StreamCursors>> {
        self.0.as_mut()?.streams.take()
    }

    /// Puts them back; none are left if all were removed.
    pub(in crate::broker) fn put_streams(&mut self, streams: Box<StreamCursors>) {
        if streams.len() > 0 {
            self.0.get_or_insert_default().streams = Some(streams);
        }
    }

    /// The memberships in groups of subscribers of streams.
    pub(in crate::broker) fn groups(&self) -> Option<&Memberships> {
        self.0.as_ref()?.groups.as_deref()
    }

    /// The same, to change them.
    pub(in crate::broker) fn groups_mut(&mut self) -> Option<&mut Memberships> {
        self.0.as_mut()?.groups.as_deref_mut()
    }

    /// The same, to add one.
    pub(in crate::broker) fn need_groups(&mut self) -> &mut Memberships {
        self.0.get_or_insert_default().groups.get_or_insert_default()
    }

    /// Gives their memory back if there are none.
    pub(in crate::broker) fn forget_no_groups(&mut self) {
        if let Some(kept) = self.0.as_mut().filter(|kept| kept.groups.as_ref().is_some_and(|groups| groups.is_empty()))
        {
            kept.groups = None;
        }
    }

    /// Why the last connection ended, if the sentence is not a common one.
    pub(in crate::broker) fn end_reason(&self) -> Option<&str> {
        self.0.as_ref()?.end_reason.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allocated_for_nothing_and_each_reason_is_counted() {
        let mut incidents = Incidents::default();
        incidents.set_end_reason(None);
        assert!(incidents.0.is_none() && incidents.dropped(DropReason::Expired) == 0);
        for reason in DropReason::ALL {
            incidents.add_dropped(reason);
            incidents.add_dropped(reason);
        }
        assert!(DropReason::ALL.iter().all(|reason| incidents.dropped(*reason) == 2));
        incidents.set_end_reason(Some("x".into()));
        assert_eq!(incidents.end_reason(), Some("x"));
        incidents.set_end_reason(None);
        assert_eq!((incidents.end_reason(), incidents.dropped(DropReason::QueueFull)), (None, 2));
    }
}
