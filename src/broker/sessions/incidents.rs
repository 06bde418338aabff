//! What only few Sessions have: messages that were dropped, and an unusual end of the last connection.

use crate::broker::counters::DropReason;

/// Allocated when there is something to keep.
#[derive(Debug, Default)]
pub(in crate::broker) struct Incidents(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Messages dropped since the start of the broker, by [`DropReason`] number.
    dropped: [u32; DropReason::ALL.len()],
    /// Why the last connection ended, if the sentence is not a common one.
    end_reason: Option<Box<str>>,
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
