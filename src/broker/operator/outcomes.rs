//! Counts of what ended badly or at all, by listener and Reason Code.

use std::sync::Arc;

use crate::broker::connection::last_end::DisconnectKind;
use crate::broker::operator::query::RefusedAction;
use crate::codec::ReasonCode;

/// Counts of refused packets and ended connections. The number of its entries is bounded by 4,096, and in practice by the
/// configured listeners; no text of a client is among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes(Vec<(Outcome, u64)>);

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The listener; `None`: not known, or there are too many entries.
    pub listener: Option<Arc<str>>,
    /// What happened.
    pub what: OutcomeKind,
    /// The Reason Code; `None`: the connection ended without DISCONNECT.
    pub reason_code: Option<ReasonCode>,
}

/// What happened to a packet or a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// A packet was refused.
    Refused(RefusedAction),
    /// The connection of a client that was accepted ended.
    Ended(DisconnectKind),
}

impl Outcomes {
    /// Counts one.
    pub(in crate::broker) fn count(
        &mut self,
        listener: Option<&Arc<str>>,
        what: OutcomeKind,
        reason_code: Option<ReasonCode>,
    ) {
        let is_it = |other: &Outcome, listener: Option<&Arc<str>>| {
            other.what == what && other.reason_code == reason_code && other.listener.as_ref() == listener
        };
        if let Some((_, count)) = self.0.iter_mut().find(|(other, _)| is_it(other, listener)) {
            *count += 1;
            return;
        }
        // When the table is full, new entries have no listener. Kinds and Reason Codes bound the number of those.
        let listener = listener.filter(|_| self.0.len() < OUTCOMES_MAX);
        match self.0.iter_mut().find(|(other, _)| is_it(other, listener)) {
            Some((_, count)) => *count += 1,
            None => self.0.push((Outcome { listener: listener.cloned(), what, reason_code }, 1)),
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (outcome, count) in &other.0 {
            let is_it = |(known, _): &&mut (Outcome, u64)| known == outcome;
            match self.0.iter_mut().find(is_it) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((outcome.clone(), *count)),
            }
        }
    }

    /// All that was counted.
    pub fn iter(&self) -> impl Iterator<Item = &(Outcome, u64)> {
        self.0.iter()
    }
}

/// Entries with a listener. A listener that was removed and one that was added have their own.
const OUTCOMES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outcomes_are_one_entry_and_too_many_listeners_none() {
        let mut outcomes = Outcomes::default();
        let refused = OutcomeKind::Refused(RefusedAction::Publish);
        for number in 0..2 * OUTCOMES_MAX {
            let listener: Arc<str> = number.to_string().into();
            for _ in 0..2 {
                outcomes.count(Some(&listener), refused, Some(ReasonCode::NotAuthorized));
            }
        }
        outcomes.count(None, OutcomeKind::Ended(DisconnectKind::Closed), None);
        let counts: Vec<_> = outcomes.iter().map(|(outcome, count)| (outcome.listener.is_some(), *count)).collect();
        assert_eq!(counts.len(), OUTCOMES_MAX + 2);
        assert!(counts.iter().take(OUTCOMES_MAX).all(|count| *count == (true, 2)));
        assert_eq!(counts.get(OUTCOMES_MAX..).unwrap(), [(false, 2 * OUTCOMES_MAX as u64), (false, 1)]);
    }
}
