//! Moving averages of how much happens per minute, for `$SYS/broker/load`.

use std::time::Duration;

use crate::broker::counters::Counters;
use crate::codec::PacketType;
use crate::timestamp::Timestamp;

/// What happens per minute, averaged over one, five and fifteen minutes.
///
/// As the load averages of Unix, an average follows the current rate exponentially, and begins at 0 when the broker starts.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The last sample.
    sampled: Option<(Timestamp, Totals)>,
    averages: [[f64; WINDOWS.len()]; KINDS],
}

/// Totals since the start: of what is averaged, in the order of [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals([u64; KINDS]);

impl Totals {
    /// `traffic`: bytes received and sent. `sockets`: accepted Network Connections.
    pub(super) fn new(counters: &Counters, traffic: (u64, u64), sockets: u64) -> Self {
        let connects = counters.packets_received.get(PacketType::Connect as usize).copied().unwrap_or_default();
        Self([
            counters.packets_received.iter().sum(),
            counters.packets_sent.iter().sum(),
            counters.dropped.iter().sum(),
            counters.messages_received.iter().sum(),
            counters.messages_sent.iter().sum(),
            traffic.0,
            traffic.1,
            sockets,
            connects,
        ])
    }
}

impl Load {
    /// Takes a sample. The first one only starts the measurement.
    pub(super) fn sample(&mut self, now: Timestamp, totals: Totals) {
        let Some((before, earlier)) = self.sampled.replace((now, totals)) else { return };
        let seconds = now.since(before).as_secs_f64();
        if seconds <= 0.0 {
            self.sampled = Some((before, earlier));
            return;
        }
        let weights = WINDOWS.map(|(_, window)| 1.0 - (-seconds / window.as_secs_f64()).exp());
        for ((averages, total), earlier) in self.averages.iter_mut().zip(totals.0).zip(earlier.0) {
            let per_minute = total.saturating_sub(earlier) as f64 * 60.0 / seconds;
            for (average, weight) in averages.iter_mut().zip(weights) {
                *average += weight * (per_minute - *average);
            }
        }
    }

    /// The name below `load/`, the name of the window, and the average.
    pub(super) fn averages(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let all = NAMES.iter().zip(&self.averages);
        all.flat_map(|(name, averages)| {
            WINDOWS.iter().zip(averages).map(|((window, _), value)| (*name, *window, *value))
        })
    }
}

const KINDS: usize = 9;

/// The names that mosquitto uses.
const NAMES: [&str; KINDS] = [
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];

const WINDOWS: [(&str, Duration); 3] =
    [("1min", Duration::from_secs(60)), ("5min", Duration::from_secs(5 * 60)), ("15min", Duration::from_secs(15 * 60))];

#[cfg(test)]
mod tests {
    use super::*;

    /// The averages of `name` after samples once a second, with this many received packets in each.
    fn after(seconds: u64, per_second: impl Fn(u64) -> u64) -> [f64; 3] {
        let (mut load, mut counters) = (Load::default(), Counters::default());
        for second in 0..=seconds {
            load.sample(Timestamp(second * 1_000), Totals::new(&counters, (0, 0), 0));
            counters.packets_received[PacketType::Pingreq as usize] += per_second(second);
        }
        let received = load.averages().filter(|(name, ..)| *name == "messages/received");
        received.map(|(_, _, value)| value).collect::<Vec<_>>().try_into().unwrap()
    }

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < expected / 100.0 + 0.01
    }

    #[test]
    fn a_steady_rate_is_reached_after_a_while_and_slower_in_longer_windows() {
        let [one, five, fifteen] = after(60, |_| 10);
        assert!(
            one > five && five > fifteen && is_near(one, 600.0 * (1.0 - (-1.0_f64).exp())),
            "{one} {five} {fifteen}"
        );
        let all = after(4 * 3_600, |_| 10);
        assert!(all.iter().all(|value| is_near(*value, 600.0)), "{all:?}");
    }

    #[test]
    fn a_burst_fades_away() {
        let [one, _, fifteen] = after(30 * 60, |second| if second < 60 { 1_000 } else { 0 });
        assert!(one < 0.01 && fifteen > 100.0, "{one} {fifteen}");
    }

    #[test]
    fn the_average_does_not_depend_on_how_often_samples_are_taken() {
        let (mut often, mut rarely, counters) = (Load::default(), Load::default(), Counters::default());
        for second in 0..=3_600 {
            let totals = Totals::new(&counters, (second * 50, 0), 0);
            often.sample(Timestamp(second * 1_000), totals);
            if second % 10 == 0 {
                rarely.sample(Timestamp(second * 1_000), totals);
            }
        }
        for ((name, _, often), (_, _, rarely)) in often.averages().zip(rarely.averages()) {
            assert!((often - rarely).abs() < 1e-6, "{name}");
            assert!(often == 0.0 || name == "bytes/received");
        }
    }

    #[test]
    fn samples_at_the_same_time_and_counters_that_start_again_do_no_harm() {
        let (mut load, counters) = (Load::default(), Counters::default());
        for (time, bytes) in [(1_000, 100), (1_000, 200), (2_000, 50), (3_000, 60)] {
            load.sample(Timestamp(time), Totals::new(&counters, (bytes, 0), 0));
        }
        assert!(load.averages().all(|(_, _, value)| value.is_finite() && value >= 0.0));
    }
}
