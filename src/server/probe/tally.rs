//! The messages of one round, and what became of them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::codec::Qos;
use crate::server::probe_figures::{ProbeFigures, ProbeResult};

/// The messages of a round that are not judged yet, at most one of each QoS, and the numbers of those that have arrived lately.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By QoS.
    sent: [Option<Sent>; 3],
    /// The number of the last message.
    last: u64,
    /// At most [`ARRIVED_MAX`].
    arrived: VecDeque<u64>,
}

/// A message that was sent.
#[derive(Debug)]
struct Sent {
    number: u64,
    at: Instant,
    latency: Option<Duration>,
    acknowledgement: Acknowledgement,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Acknowledgement {
    /// At QoS 0 there is none.
    Complete,
    Missing,
    Refused(String),
}

impl Tally {
    /// A message is sent. Returns its number.
    pub(super) fn send(&mut self, qos: Qos, at: Instant) -> u64 {
        self.last += 1;
        let acknowledgement = if qos == Qos::AtMostOnce { Acknowledgement::Complete } else { Acknowledgement::Missing };
        let sent = Sent { number: self.last, at, latency: None, acknowledgement };
        if let Some(place) = self.sent.get_mut(usize::from(qos.level())) {
            *place = Some(sent);
        }
        self.last
    }

    /// The message with this number arrives; `is_resend`: marked as a repeat of its delivery. Returns whether it is one too many. A late one,
    /// which was judged as lost before, is not.
    pub(super) fn arrive(&mut self, number: u64, (qos, is_resend): (Qos, bool), now: Instant) -> bool {
        if self.arrived.contains(&number) {
            return qos != Qos::AtLeastOnce || !is_resend;
        }
        if number == 0 || number > self.last || self.last - number >= ARRIVED_MAX {
            return false; // not of this probe, or too old to know
        }
        if let Some(sent) = self.sent.iter_mut().flatten().find(|sent| sent.number == number) {
            sent.latency = Some(now.saturating_duration_since(sent.at));
        }
        if self.arrived.len() as u64 >= ARRIVED_MAX {
            self.arrived.pop_front();
        }
        self.arrived.push_back(number);
        false
    }

    /// The message of this QoS is acknowledged completely, or refused for a reason.
    pub(super) fn acknowledge(&mut self, qos: Qos, refused: Option<String>) {
        if let Some(Some(sent)) = self.sent.get_mut(usize::from(qos.level()))
            && sent.acknowledgement == Acknowledgement::Missing
        {
            sent.acknowledgement = refused.map_or(Acknowledgement::Complete, Acknowledgement::Refused);
        }
    }

    /// Whether all messages of the round have arrived and are acknowledged, or are refused.
    pub(super) fn is_complete(&self) -> bool {
        self.sent.iter().flatten().all(|sent| match &sent.acknowledgement {
            Acknowledgement::Complete => sent.latency.is_some(),
            Acknowledgement::Missing => false,
            Acknowledgement::Refused(_) => true,
        })
    }

    /// Whether an acknowledgement is missing, so that its Packet Identifier can't be used again on this connection.
    pub(super) fn is_unacknowledged(&self) -> bool {
        self.sent.iter().flatten().any(|sent| sent.acknowledgement == Acknowledgement::Missing)
    }

    /// Judges the messages of the round, and counts the results. Returns why the round has failed; `None` if it has not. `lost`: why the
    /// connection ended before the round did.
    pub(super) fn judge(&mut self, figures: &mut ProbeFigures, lost: Option<&str>) -> Option<String> {
        let mut reason = None;
        for (qos, place) in self.sent.iter_mut().enumerate() {
            let Some(sent) = place.take() else { continue };
            let (result, cause) = match (&sent.acknowledgement, sent.latency, lost) {
                (Acknowledgement::Refused(cause), ..) => (ProbeResult::Failed, format!("was refused: {cause}")),
                (Acknowledgement::Complete, Some(latency), _) => {
                    if let Some(histogram) = figures.latency.get_mut(qos) {
                        histogram.record(latency);
                    }
                    figures.count(qos, ProbeResult::Ok);
                    continue;
                }
                (_, _, Some(cause)) => (ProbeResult::Failed, format!("was under way: {cause}")),
                // It was not promised anything yet, so it is not lost if it did not come back either.
                (Acknowledgement::Missing, _, None) => (ProbeResult::Failed, "was not acknowledged in time".to_owned()),
                (Acknowledgement::Complete, None, None) => (ProbeResult::Lost, "did not come back in time".to_owned()),
            };
            figures.count(qos, result);
            // The strongest promise last, so its failure is the reason.
            reason = Some(format!("the message of QoS {qos} {cause}"));
        }
        reason
    }
}

/// Rounds are a second apart at least, and a copy that comes later than twenty rounds is not known as one.
const ARRIVED_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

    fn counts(figures: &ProbeFigures) -> [[u64; 4]; 3] {
        figures.messages
    }

    #[test]
    fn a_message_is_good_when_it_is_back_and_acknowledged() {
        let (mut tally, mut figures, start) = (Tally::default(), ProbeFigures::default(), Instant::now());
        let numbers = ALL.map(|qos| tally.send(qos, start));
        assert!(tally.is_unacknowledged() && !tally.is_complete());
        let later = start + Duration::from_millis(5);
        for (number, qos) in numbers.into_iter().zip(ALL) {
            assert!(!tally.arrive(number, (qos, false), later));
            tally.acknowledge(qos, None);
        }
        assert!(tally.is_complete() && !tally.is_unacknowledged());
        assert_eq!(tally.judge(&mut figures, None), None);
        assert_eq!(counts(&figures), [[1, 0, 0, 0]; 3]);
        assert!(figures.latency.iter().all(|latency| latency.sum == Duration::from_millis(5)));
        assert_eq!(tally.judge(&mut figures, None), None, "each message is judged once");
        assert_eq!(counts(&figures), [[1, 0, 0, 0]; 3]);
    }

    #[test]
    fn what_is_missing_or_refused_is_named() {
        let (mut tally, mut figures, start) = (Tally::default(), ProbeFigures::default(), Instant::now());
        let [_, second, _] = ALL.map(|qos| tally.send(qos, start));
        tally.arrive(second, (Qos::AtLeastOnce, false), start);
        tally.acknowledge(Qos::ExactlyOnce, Some("Quota exceeded".to_owned()));
        assert!(!tally.is_complete());
        let reason = tally.judge(&mut figures, None).unwrap();
        assert_eq!(reason, "the message of QoS 2 was refused: Quota exceeded");
        assert_eq!(counts(&figures), [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]);

        ALL.iter().for_each(|qos| _ = tally.send(*qos, start));
        let reason = tally.judge(&mut figures, Some("the connection ended")).unwrap();
        assert_eq!(reason, "the message of QoS 2 was under way: the connection ended");
        assert_eq!(counts(&figures), [[0, 1, 0, 1], [0, 0, 0, 2], [0, 0, 0, 2]]);
    }

    #[test]
    fn a_message_is_lost_if_it_was_acknowledged_and_is_not_back() {
        let (mut tally, mut figures, now) = (Tally::default(), ProbeFigures::default(), Instant::now());
        ALL.iter().for_each(|qos| _ = tally.send(*qos, now));
        tally.acknowledge(Qos::AtLeastOnce, None);
        tally.acknowledge(Qos::ExactlyOnce, None);
        assert!(!tally.is_complete() && !tally.is_unacknowledged());
        assert_eq!(tally.judge(&mut figures, None).unwrap(), "the message of QoS 2 did not come back in time");
        assert_eq!(counts(&figures), [[0, 1, 0, 0]; 3]);
    }

    #[test]
    fn a_second_copy_is_one_too_many_unless_it_is_a_resend_at_qos_1() {
        let (mut tally, mut figures, now) = (Tally::default(), ProbeFigures::default(), Instant::now());
        let numbers = ALL.map(|qos| tally.send(qos, now));
        for (number, qos) in numbers.into_iter().zip(ALL) {
            assert!(!tally.arrive(number, (qos, false), now));
            assert_eq!(tally.arrive(number, (qos, true), now), qos != Qos::AtLeastOnce);
        }
        assert!(tally.arrive(numbers[1], (Qos::AtLeastOnce, false), now));
        tally.judge(&mut figures, None);
        assert!(tally.arrive(numbers[2], (Qos::ExactlyOnce, false), now), "after the round, too");
    }

    #[test]
    fn late_and_foreign_messages_count_for_nothing_and_memory_is_bounded() {
        let (mut tally, mut figures, now) = (Tally::default(), ProbeFigures::default(), Instant::now());
        let late = tally.send(Qos::AtMostOnce, now);
        assert!(tally.judge(&mut figures, None).is_some());
        assert!(!tally.arrive(late, (Qos::AtMostOnce, false), now), "late, not doubled");
        assert!(tally.arrive(late, (Qos::AtMostOnce, false), now));
        for foreign in [0, late + 1, u64::MAX] {
            assert!(!tally.arrive(foreign, (Qos::AtMostOnce, false), now));
            assert!(!tally.arrive(foreign, (Qos::AtMostOnce, false), now));
        }
        for _ in 0..10_000 {
            let number = tally.send(Qos::AtMostOnce, now);
            tally.arrive(number, (Qos::AtMostOnce, false), now);
            tally.judge(&mut figures, None);
        }
        assert!(tally.arrived.len() as u64 <= ARRIVED_MAX);
        assert!(!tally.arrive(late, (Qos::AtMostOnce, false), now), "too old to know");
    }
}
