//! The permits of other cells for which messages of this one wait: see [`permits`](crate::broker::cells).

use std::collections::HashMap;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::broker::cells::{DedupName, PermitAnswer};
use crate::broker::ids::Origin;
use crate::routing::CellId;
use crate::timestamp::Timestamp;

/// The permits that this cell has asked for, by what they are for. Each is for a message whose connection is not read meanwhile, so there are at most as many
/// as connections, and those that were left by connections within [`IDLE_MAX`].
#[derive(Debug, Default)]
pub(super) struct PermitRequests {
    requests: HashMap<DedupName, Request, RandomState>,
    names: HashMap<u64, DedupName, RandomState>,
    /// The number of the last one.
    last: u64,
}

#[derive(Debug)]
struct Request {
    number: u64,
    home: CellId,
    /// The connection whose message waits for it.
    origin: Option<Origin>,
    /// When a message was last seen to wait for it.
    at: Timestamp,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was asked for at this time. `None`: it is to be asked for again.
    Asked(Option<Timestamp>),
    /// Granted at this time.
    Granted(Timestamp),
    Duplicate,
}

/// What is known of a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// This cell may accept the message, now.
    Granted,
    /// The message was accepted before.
    Duplicate,
    /// Not known yet. With the number of the request that is to be sent, if it is.
    Awaited(Option<u64>),
}

impl PermitRequests {
    /// Takes what is known of the permit for a message, or asks for it.
    pub(super) fn take(&mut self, name: &DedupName, home: CellId, origin: Option<Origin>, now: Timestamp) -> Permit {
        if let Some(request) = self.requests.get_mut(name) {
            match request.state {
                State::Duplicate => {
                    self.void(name);
                    return Permit::Duplicate;
                }
                State::Granted(at) => {
                    self.void(name);
                    if at + GRANT_AGE_MAX > now {
                        return Permit::Granted;
                    }
                }
                State::Asked(at) => {
                    (request.origin, request.at) = (origin, now);
                    let is_due = at.is_none_or(|at| at + REPEAT <= now);
                    if is_due {
                        request.state = State::Asked(Some(now));
                    }
                    return Permit::Awaited(is_due.then_some(request.number));
                }
            }
        }
        if self.requests.len() >= REQUESTS_MAX {
            return Permit::Awaited(None);
        }
        self.last += 1;
        let number = self.last;
        let request = Request { number, home, origin, at: now, state: State::Asked(Some(now)) };
        self.requests.insert(name.clone(), request);
        self.names.insert(number, name.clone());
        Permit::Awaited(Some(number))
    }

    /// The home has answered. Returns the connection that can go on.
    pub(super) fn answered(&mut self, number: u64, answer: PermitAnswer, now: Timestamp) -> Option<Origin> {
        let name = self.names.get(&number)?.clone();
        let request = self.requests.get_mut(&name)?;
        request.state = match answer {
            PermitAnswer::Granted => State::Granted(now),
            PermitAnswer::Duplicate => State::Duplicate,
            PermitAnswer::Later => {
                // It is asked for again when the message is tried again.
                self.void(&name);
                return None;
            }
        };
        request.origin
    }

    /// A permit that this cell may have, or has asked for, is worth nothing any more.
    pub(super) fn void(&mut self, name: &DedupName) {
        if let Some(request) = self.requests.remove(name) {
            self.names.remove(&request.number);
        }
    }

    /// Whether a message waits for a permit, which its home may have granted already.
    pub(super) fn is_awaited(&self, name: &DedupName, now: Timestamp) -> bool {
        let waits = |request: &Request| request.state != State::Duplicate && request.at + AWAITED > now;
        self.requests.get(name).is_some_and(waits)
    }

    /// The connection to the home has ended, with what was on its way.
    pub(super) fn link_ended(&mut self, home: CellId) {
        for request in self.requests.values_mut().filter(|request| request.home == home) {
            if let State::Asked(at) = &mut request.state {
                *at = None;
            }
        }
    }

    /// Forgets those for which no message waits.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.requests.retain(|_, request| request.at + IDLE_MAX > now);
        if self.names.len() != self.requests.len() {
            let requests = &self.requests;
            self.names.retain(|number, name| requests.get(name).is_some_and(|request| request.number == *number));
        }
    }
}

/// The age of a permit when it is used, at most: its home forgets what it has granted after the time of the window.
const GRANT_AGE_MAX: Duration = Duration::from_secs(1);
/// A request whose answer does not come is sent again after this time.
const REPEAT: Duration = Duration::from_secs(5);
/// A message that waits is tried again within this time.
const AWAITED: Duration = Duration::from_secs(1);
/// How long a request is kept for which no message waits.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Beyond, messages wait before they ask.
const REQUESTS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: CellId = CellId(2);

    fn name(id: &str) -> DedupName {
        DedupName { publisher: "user/u".into(), id: id.to_owned().into() }
    }

    #[test]
    fn a_permit_is_used_once_and_while_it_is_young() {
        let mut requests = PermitRequests::default();
        let take = |requests: &mut PermitRequests, now| requests.take(&name("a"), HOME, None, Timestamp(now));
        assert_eq!(take(&mut requests, 1_000), Permit::Awaited(Some(1)));
        assert_eq!(take(&mut requests, 1_020), Permit::Awaited(None));
        assert_eq!(take(&mut requests, 6_000), Permit::Awaited(Some(1)), "the answer may be lost");
        requests.answered(1, PermitAnswer::Granted, Timestamp(7_000));
        assert_eq!(take(&mut requests, 7_999), Permit::Granted);
        assert_eq!(take(&mut requests, 8_000), Permit::Awaited(Some(2)));
        requests.answered(1, PermitAnswer::Granted, Timestamp(8_000));
        assert_eq!(take(&mut requests, 8_001), Permit::Awaited(None), "that was an answer to an earlier request");
        requests.answered(2, PermitAnswer::Granted, Timestamp(8_010));
        assert_eq!(take(&mut requests, 9_010), Permit::Awaited(Some(3)), "it is too old");
        requests.answered(3, PermitAnswer::Duplicate, Timestamp(9_020));
        assert_eq!(take(&mut requests, 60_000), Permit::Duplicate);
    }

    #[test]
    fn what_is_void_or_was_lost_is_asked_for_again() {
        let mut requests = PermitRequests::default();
        let now = Timestamp(1_000);
        let take = |requests: &mut PermitRequests, id| requests.take(&name(id), HOME, None, now);
        assert_eq!(take(&mut requests, "a"), Permit::Awaited(Some(1)));
        requests.link_ended(CellId(1));
        assert_eq!(take(&mut requests, "a"), Permit::Awaited(None));
        requests.link_ended(HOME);
        assert_eq!(take(&mut requests, "a"), Permit::Awaited(Some(1)));
        requests.void(&name("a"));
        assert_eq!(requests.answered(1, PermitAnswer::Granted, now), None);
        assert_eq!(take(&mut requests, "a"), Permit::Awaited(Some(2)));
        requests.answered(2, PermitAnswer::Later, now);
        assert_eq!(take(&mut requests, "a"), Permit::Awaited(Some(3)));
        requests.expire(now + IDLE_MAX);
        assert!(requests.requests.is_empty() && requests.names.is_empty());
    }
}
