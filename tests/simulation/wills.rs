//! Decides which Wills must be published, from the ends of their connections and the following CONNECTs.

use oncemq::codec::ReasonCode;

use crate::clocks::Clocks;
use crate::presence::Attempt;
use crate::world::World;

/// How often a Will is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Never,
    Once,
    /// Once or never: two events happened at the same time, or the standard permits both.
    Either,
}

impl World {
    /// Checks that the watcher received each Will as often as required. [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.3-9]
    pub(crate) fn check_wills(&self) -> Result<(), (usize, String)> {
        let presence = &self.checker.presence;
        for (number, attempt) in presence.attempts.iter().enumerate() {
            let Some(delay) = attempt.will_delay else { continue };
            let place = presence.read.iter().position(|other| *other == number);
            let later = place.map_or(&[][..], |place| &presence.read[place + 1..]);
            let next =
                later.iter().map(|other| &presence.attempts[*other]).find(|other| other.client == attempt.client);
            let expected = expected(attempt, u64::from(delay) * 1_000, next, (self.now, &self.clocks));
            let seen = self.checker.wills_seen.get(&number).copied().unwrap_or_default();
            let right = match expected {
                Expected::Never => seen == 0,
                Expected::Once if self.mix.small_queues => seen <= 1,
                Expected::Once => seen == 1,
                Expected::Either => seen <= 1,
            };
            if !right {
                let text = format!(
                    "the Will of connection {number} was published {seen} times, expected {expected:?}: {attempt:?}"
                );
                return Err((attempt.client, format!("{text}, next {next:?}")));
            }
        }
        Ok(())
    }
}

/// `next` is the next CONNECT of the same client that the broker read.
fn expected(attempt: &Attempt, delay: u64, next: Option<&Attempt>, (now, clocks): (u64, &Clocks)) -> Expected {
    let (Some(_), Some(end)) = (attempt.accepted_at, attempt.ended_at) else {
        return if attempt.read_at.is_none() { Expected::Never } else { Expected::Either };
    };
    if attempt.undone {
        return Expected::Either;
    }
    if attempt.disconnect == Some(ReasonCode::NormalDisconnection) {
        return Expected::Never;
    }
    if delay == 0 {
        return Expected::Once;
    }
    let taken_over = attempt.reason == Some(ReasonCode::SessionTakenOver);
    let late = attempt.ended_late().unwrap_or(end);
    let early = attempt.expires(end).min(end + delay);
    let due = attempt.expires(late).min(late + delay).saturating_add(clocks.lost_since(late));
    let Some(next) = next else { return if due < now { Expected::Once } else { Expected::Either } };
    let (read, accepted) = (next.read_at.unwrap_or(now), next.accepted_at);
    match (taken_over, next.clean) {
        (true, true) => Expected::Once,
        (true, false) if attempt.expiry == 0 || accepted.is_none() => Expected::Either,
        (true, false) => Expected::Never,
        (false, _) if due < read => Expected::Once,
        (false, true) if accepted.is_some() => Expected::Once,
        (false, false) if accepted.is_some_and(|accepted| accepted < early) => Expected::Never,
        (false, _) => Expected::Either,
    }
}
