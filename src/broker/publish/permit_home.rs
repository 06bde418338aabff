//! The deduplication window of a publisher's home, which permits cells to accept its messages.

use crate::broker::cells::{DedupName, PermitAnswer, PermitMessage};
use crate::broker::ids::Origin;
use crate::broker::persistence::record::Deduplicated;
use crate::broker::publish::deduplication::{Deduplication, Found, Holder, Outcome, WindowBounds};
use crate::routing::{CellId, ShardId};
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// What the home of a publisher says to the request of a cell.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) enum HomeAnswer {
    /// The cell may accept the message when the record with this entry is stable.
    Grant(Deduplicated),
    /// The message was accepted before.
    Duplicate,
    /// It is not known yet.
    Later,
}

impl Deduplication {
    /// Another cell wants to accept a message. `is_stable` tells whether a record is.
    pub(in crate::broker) fn permit(
        &self,
        now: Timestamp,
        bounds: WindowBounds,
        (name, cell): (DedupName, CellId),
        is_stable: impl Fn(ShardId, Ticket) -> bool,
    ) -> HomeAnswer {
        let mut windows = self.lock();
        let mut left = Vec::new();
        match windows.find(&name, now, bounds.time) {
            Found::Nothing => {}
            Found::Left(number) => left.extend(windows.remove(number)),
            Found::Here(None) => return HomeAnswer::Later,
            Found::Here(Some((shard, ticket))) if is_stable(shard, ticket) => return HomeAnswer::Duplicate,
            Found::Here(Some(_)) => return HomeAnswer::Later,
            // It has not accepted the message, because it would not ask.
            Found::Permitted(number, holder) if holder == cell => left.extend(windows.remove(number)),
            Found::Permitted(number, _) => {
                windows.ask_holder(number, now);
                return HomeAnswer::Later;
            }
            Found::AcceptedElsewhere => return HomeAnswer::Duplicate,
        }
        HomeAnswer::Grant(windows.enter((name, now, bounds, left), Holder::Cell(cell, Outcome::Unknown)))
    }

    /// The home wants to know whether this cell has accepted a message. `Some(false)`: it has not, and does not by a permit that it has or has asked for.
    /// `None`: it is not known yet, or a message waits for the permit.
    pub(in crate::broker) fn outcome(
        &self,
        now: Timestamp,
        bounds: WindowBounds,
        name: &DedupName,
        is_stable: impl Fn(ShardId, Ticket) -> bool,
    ) -> Option<bool> {
        let mut windows = self.lock();
        match windows.find(name, now, bounds.time) {
            Found::Here(None) => None,
            Found::Here(Some((shard, ticket))) => is_stable(shard, ticket).then_some(true),
            Found::Nothing | Found::Left(_) | Found::Permitted(..) | Found::AcceptedElsewhere => {
                // Otherwise two cells could take a permit from each other for ever, each before it is used.
                if windows.requests.is_awaited(name, now) {
                    return None;
                }
                windows.requests.void(name);
                Some(false)
            }
        }
    }

    /// The cell with this permit says whether it has accepted the message.
    pub(in crate::broker) fn holder_said(&self, number: u64, cell: CellId, is_accepted: bool) {
        if let Some(entry) = self.lock().all.get_mut(&number)
            && let Holder::Cell(holder, outcome) = &mut entry.holder
            && *holder == cell
        {
            *outcome = if is_accepted { Outcome::Accepted } else { Outcome::Released };
        }
    }

    /// The home of a publisher has answered. Returns the connection whose message waits for that.
    pub(in crate::broker) fn permit_answered(
        &self,
        number: u64,
        answer: PermitAnswer,
        now: Timestamp,
    ) -> Option<Origin> {
        self.lock().requests.answered(number, answer, now)
    }

    /// The control connection to another cell has ended.
    pub(in crate::broker) fn link_ended(&self, cell: CellId) {
        let mut windows = self.lock();
        windows.requests.link_ended(cell);
        // Requests are made again when their messages are tried again, and questions when they are needed.
        windows.outgoing.remove(&cell);
    }

    /// Takes what is to be sent to the cells for which `is_linked`.
    pub(in crate::broker) fn take_outgoing(&self, is_linked: impl Fn(CellId) -> bool) -> Vec<(CellId, PermitMessage)> {
        let outgoing = &mut self.lock().outgoing;
        let cells: Vec<CellId> = outgoing.keys().copied().filter(|cell| is_linked(*cell)).collect();
        let taken = cells.into_iter().filter_map(|cell| outgoing.remove_entry(&cell));
        taken.flat_map(|(cell, messages)| messages.into_iter().map(move |message| (cell, message))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::publish::deduplication::{Claimant, WindowLookup};

    const BOUNDS: WindowBounds = WindowBounds { time: Duration::from_secs(60), ids_max: 100, all_max: 100 };
    const NOW: Timestamp = Timestamp(1_000);

    fn name() -> DedupName {
        DedupName { publisher: "user/u".into(), id: "a".into() }
    }

    fn permit(windows: &Deduplication, cell: u8) -> HomeAnswer {
        windows.permit(NOW, BOUNDS, (name(), CellId(cell)), |_, ticket| ticket <= Ticket(1))
    }

    fn granted(windows: &Deduplication, cell: u8) -> Deduplicated {
        let HomeAnswer::Grant(entry) = permit(windows, cell) else { panic!() };
        entry
    }

    fn own(windows: &Deduplication) -> WindowLookup {
        windows.claim(NOW, BOUNDS, name(), Claimant { home: None, origin: None })
    }

    #[test]
    fn one_cell_has_the_permit_until_it_says_that_it_has_not_used_it() {
        let windows = Deduplication::default();
        let first = granted(&windows, 1);
        assert_eq!((first.holder, granted(&windows, 1).left), (Some(CellId(1)), vec![first.number]), "asked again");
        assert_eq!(permit(&windows, 2), HomeAnswer::Later);
        assert!(matches!(own(&windows), WindowLookup::Elsewhere));
        let asked = windows.take_outgoing(|_| true);
        assert_eq!(asked, [(CellId(1), PermitMessage::Question { number: 2, name: name() })], "once");
        windows.holder_said(1, CellId(1), false);
        windows.holder_said(2, CellId(2), false);
        assert_eq!(permit(&windows, 2), HomeAnswer::Later, "that was about another permit");
        windows.holder_said(2, CellId(1), false);
        assert_eq!(granted(&windows, 2).left, [2]);
        windows.holder_said(3, CellId(2), true);
        assert_eq!(permit(&windows, 1), HomeAnswer::Duplicate);
        assert!(matches!(own(&windows), WindowLookup::Repeat(..)));
    }

    #[test]
    fn what_the_home_has_accepted_is_a_duplicate_when_it_is_stable() {
        let windows = Deduplication::default();
        let WindowLookup::New(entry) = own(&windows) else { panic!() };
        assert_eq!(permit(&windows, 1), HomeAnswer::Later);
        windows.confirm(entry.number, ShardId(0), Ticket(2));
        assert_eq!(permit(&windows, 1), HomeAnswer::Later);
        windows.confirm(entry.number, ShardId(0), Ticket(1));
        assert_eq!(permit(&windows, 1), HomeAnswer::Duplicate);
    }

    #[test]
    fn a_cell_that_says_that_it_has_not_accepted_a_message_does_not_by_an_earlier_permit() {
        let windows = Deduplication::default();
        let claim = || windows.claim(NOW, BOUNDS, name(), Claimant { home: Some(CellId(2)), origin: None });
        let outcome = |millis| windows.outcome(NOW + Duration::from_millis(millis), BOUNDS, &name(), |_, _| true);
        assert!(matches!(claim(), WindowLookup::Elsewhere));
        assert_eq!(outcome(999), None, "the message waits");
        windows.permit_answered(1, PermitAnswer::Granted, NOW);
        assert_eq!(outcome(999), None);
        assert_eq!(outcome(1_000), Some(false), "its connection has ended");
        assert!(matches!(claim(), WindowLookup::Elsewhere));
        windows.permit_answered(2, PermitAnswer::Granted, NOW);
        let WindowLookup::New(entry) = claim() else { panic!() };
        assert_eq!(outcome(9_000), None, "it is being accepted");
        windows.confirm(entry.number, ShardId(0), Ticket(1));
        assert_eq!(outcome(9_000), Some(true));
        let requests: Vec<_> = windows.take_outgoing(|_| true).into_iter().map(|(to, _)| to).collect();
        assert_eq!(requests, [CellId(2); 2]);
    }
}
