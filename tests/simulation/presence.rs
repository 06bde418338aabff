//! Decides which CONNECT must find a Session, from the order of CONNECTs and the ends of their connections.

use oncemq::codec::ReasonCode;

use crate::clocks::Clocks;

/// One CONNECT and its connection.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) client: usize,
    pub(crate) clean: bool,
    /// The last requested Session Expiry Interval, in seconds.
    pub(crate) expiry: u32,
    /// The Session Expiry Interval in CONNECT, in seconds.
    expiry_first: u32,
    /// Will Delay Interval, if there is a Will.
    pub(crate) will_delay: Option<u32>,
    /// When the broker read CONNECT.
    pub(crate) read_at: Option<u64>,
    /// When the broker sent CONNACK.
    pub(crate) accepted_at: Option<u64>,
    session_present: bool,
    /// When the broker's end of the connection was closed.
    pub(crate) ended_at: Option<u64>,
    /// If the end came with a crash or wasn't stable: the restart, from which the interval counts or may count.
    restarted_at: Option<u64>,
    /// The crash may have undone how the connection ended.
    pub(crate) undone: bool,
    /// The Reason Code of the client's DISCONNECT, if the broker read one.
    pub(crate) disconnect: Option<ReasonCode>,
    /// The broker's reason for the end.
    pub(crate) reason: Option<ReasonCode>,
}

impl Attempt {
    pub(crate) const fn new(client: usize, clean: bool, expiry: u32, will_delay: Option<u32>) -> Self {
        Self {
            client,
            clean,
            expiry,
            expiry_first: expiry,
            will_delay,
            read_at: None,
            accepted_at: None,
            session_present: false,
            ended_at: None,
            restarted_at: None,
            undone: false,
            disconnect: None,
            reason: None,
        }
    }

    /// The latest time of its end.
    pub(crate) fn ended_late(&self) -> Option<u64> {
        self.restarted_at.or(self.ended_at)
    }

    /// The latest time at which its Session expires, if the broker's clock lost no time since.
    fn expires_late(&self) -> u64 {
        let expiry = if self.undone { self.expiry_first.max(self.expiry) } else { self.expiry };
        let end = self.ended_late().unwrap_or(u64::MAX);
        if expiry == u32::MAX { u64::MAX } else { end.saturating_add(u64::from(expiry) * 1_000) }
    }

    /// When its Session expires if the connection ended at `end`.
    pub(crate) fn expires(&self, end: u64) -> u64 {
        if self.expiry == u32::MAX { u64::MAX } else { end.saturating_add(u64::from(self.expiry) * 1_000) }
    }
}

/// All CONNECTs, by connection number.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    pub(crate) attempts: Vec<Attempt>,
    /// In the order in which the broker read them.
    pub(crate) read: Vec<usize>,
    last_ended: Option<usize>,
}

impl Presence {
    pub(crate) fn read(&mut self, number: usize, now: u64) {
        self.attempts[number].read_at = Some(now);
        self.read.push(number);
    }

    pub(crate) fn ended(&mut self, number: usize, now: u64) {
        self.attempts[number].ended_at = Some(now);
        self.last_ended = Some(number);
    }

    /// The broker crashes. Events since `committed_at` may be undone.
    pub(crate) fn crashed(&mut self, now: u64, committed_at: u64, restart_at: u64) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.read_at.is_some()) {
            match attempt.ended_late() {
                None => {
                    attempt.ended_at = Some(now);
                    attempt.restarted_at = Some(restart_at);
                    // DISCONNECT was read, but the transport wasn't closed yet.
                    attempt.undone = attempt.disconnect.is_some();
                }
                Some(end) if end >= committed_at => {
                    attempt.undone |= attempt.restarted_at.is_none();
                    attempt.restarted_at = Some(restart_at);
                }
                Some(_) => {}
            }
        }
    }

    /// The connection whose broker's end was closed last.
    pub(crate) const fn last_ended(&self) -> Option<usize> {
        self.last_ended
    }

    pub(crate) fn reason(&mut self, client: usize, reason: ReasonCode) {
        if let Some(attempt) = self.last_ended.map(|number| &mut self.attempts[number]).filter(|a| a.client == client) {
            attempt.reason.get_or_insert(reason);
        }
    }

    /// The broker accepts: checks Session Present.
    pub(crate) fn accepted(
        &mut self,
        number: usize,
        now: u64,
        session_present: bool,
        clocks: &Clocks,
    ) -> Result<(), String> {
        let (must, may) = self.session_of(number, now, clocks);
        let attempt = &mut self.attempts[number];
        attempt.accepted_at = Some(now);
        attempt.session_present = session_present;
        match session_present {
            false if must => Err("session present is 0, but there must be one".to_owned()),
            true if !may => Err("session present is 1, but there can't be one".to_owned()),
            _ => Ok(()),
        }
    }

    /// Whether there must be a Session for this CONNECT, and whether there may be one.
    fn session_of(&self, number: usize, now: u64, clocks: &Clocks) -> (bool, bool) {
        let this = &self.attempts[number];
        if this.clean {
            return (false, false);
        }
        let read_at = this.read_at.unwrap_or(now);
        let (mut must, mut may) = (false, false);
        // The shortest lifetime that any later connection gave the Session.
        let mut shortest = u64::MAX;
        let earlier = self.read.iter().rev().map(|other| (*other, &self.attempts[*other]));
        let earlier = earlier.filter(|(other, attempt)| *other != number && attempt.client == this.client);
        for (_, attempt) in earlier {
            let end = attempt.ended_at.unwrap_or(u64::MAX);
            let lost = clocks.lost_since(attempt.ended_late().unwrap_or(u64::MAX));
            may |= attempt.expires_late().saturating_add(lost) >= read_at;
            shortest =
                shortest.min(if attempt.expiry == u32::MAX { u64::MAX } else { u64::from(attempt.expiry) * 1_000 });
            if attempt.accepted_at.is_some() {
                must |= shortest > 0 && end.saturating_add(shortest) > now;
                if !attempt.session_present {
                    break;
                }
            }
            if attempt.clean {
                // The previous Session may be discarded, unless this CONNECT had no effect.
                shortest = 0;
            }
            if must {
                break;
            }
        }
        (must, may || must)
    }
}
