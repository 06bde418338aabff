use std::time::Duration;

use tokio::time::Instant;

/// Keep Alive of one connection of a bridge.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// `None`: there is none.
    interval: Option<Duration>,
    /// When the last PINGREQ was sent.
    pinged: Option<Instant>,
    /// Since when an answer to it is missing, without the time in which nothing was read.
    waiting: Option<Instant>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// PINGREQ.
    Ping,
    /// The other side is gone.
    Silent,
}

impl KeepAlive {
    pub(super) const fn new(interval: Option<Duration>) -> Self {
        Self { interval, pinged: None, waiting: None }
    }

    /// What is due at `now`, if bytes were last sent and received at these times. While `is_read` is false, nothing that the other side sends is
    /// read, and its silence says nothing.
    pub(super) fn due(&mut self, now: Instant, (sent, received): (Instant, Instant), is_read: bool) -> Due {
        let Some(interval) = self.interval else { return Due::Nothing };
        if let Some(since) = self.waiting {
            if received > since {
                self.waiting = None;
            } else if !is_read {
                self.waiting = Some(now);
            } else if now >= since + interval.max(PATIENCE_MIN) {
                return Due::Silent;
            }
        }
        let last = self.pinged.map_or(sent, |pinged| pinged.max(sent));
        // A side that sends all the time asks too, or it would never learn that nobody is there.
        let is_unheard = self.waiting.is_none() && is_read && now >= received + interval;
        if now < last + interval && !is_unheard {
            return Due::Nothing;
        }
        self.pinged = Some(now);
        self.waiting.get_or_insert(now);
        Due::Ping // [MQTT-3.1.2-20]
    }
}

/// With a short Keep Alive, an answer takes longer on a bad line.
const PATIENCE_MIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn an_idle_side_pings_and_a_side_that_does_not_answer_is_gone() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(Some(10 * S));
        let idle = (start, start);
        assert_eq!(keep_alive.due(start + 9 * S, idle, true), Due::Nothing);
        assert_eq!(keep_alive.due(start + 10 * S, idle, true), Due::Ping);
        assert_eq!(keep_alive.due(start + 11 * S, idle, true), Due::Nothing);
        let answered = (start + 10 * S, start + 12 * S);
        assert_eq!(keep_alive.due(start + 19 * S, answered, true), Due::Nothing);
        assert_eq!(keep_alive.due(start + 20 * S, answered, true), Due::Ping);
        assert_eq!(keep_alive.due(start + 30 * S, answered, true), Due::Silent);
        assert_eq!(KeepAlive::new(None).due(start + 99 * S, idle, true), Due::Nothing);
    }

    #[test]
    fn a_side_that_always_sends_asks_whether_anybody_is_there() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(Some(10 * S));
        assert_eq!(keep_alive.due(start + 10 * S, (start + 10 * S, start), true), Due::Ping);
        assert_eq!(keep_alive.due(start + 19 * S, (start + 19 * S, start), true), Due::Nothing);
        assert_eq!(keep_alive.due(start + 20 * S, (start + 20 * S, start), true), Due::Silent);
    }

    #[test]
    fn while_nothing_is_read_pings_go_on_and_silence_does_not_count() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(Some(10 * S));
        let mut pings = 0;
        for second in 0..100 {
            match keep_alive.due(start + second * S, (start, start), false) {
                Due::Ping => pings += 1,
                Due::Nothing => {}
                Due::Silent => panic!("at {second} s"),
            }
        }
        assert_eq!(pings, 9);
    }
}
