//! The rounds of the probe: publishes, waits, judges, and connects again.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::error::ProbeError;
use super::link::{Arrival, Link};
use super::plan::Plan;
use super::tally::Tally;
use super::verdict::Verdict;
use crate::server::bans::Bans;
use crate::server::log::log_line;
use crate::server::probe_figures::{ProbeFigures, ProbeResult};
use crate::server::status::Status;

/// What a probe knows between its rounds.
pub(super) struct Rounds {
    plan: Plan,
    status: Arc<Status>,
    bans: Arc<Bans>,
    link: Option<Link>,
    tally: Tally,
    verdict: Verdict,
    figures: ProbeFigures,
    /// Further copies that were part of a round's judgement.
    judged_copies: u64,
    /// The number of QoS levels that the broker allowed at the last connection.
    levels: usize,
    backoff: Backoff,
    /// Why there is no connection.
    unconnected: String,
    /// The reason in the log.
    logged: Option<String>,
}

impl Rounds {
    /// The figures continue those of the probe before.
    pub(super) fn new(plan: Plan, status: Arc<Status>, bans: Arc<Bans>) -> Self {
        let settings = &plan.settings;
        let before = status.probe().unwrap_or_default();
        let affects_readiness = settings.affects_readiness;
        let mut rounds = Self {
            figures: ProbeFigures { affects_readiness, is_well: None, reason: None, ..before },
            verdict: Verdict::new(settings.unready_after, settings.ready_after),
            backoff: Backoff::new(settings.interval),
            link: None,
            judged_copies: 0,
            levels: 3,
            tally: Tally::default(),
            unconnected: String::new(),
            logged: None,
            plan,
            status,
            bans,
        };
        rounds.judged_copies = rounds.copies();
        rounds
    }

    /// Runs until `stop` is dropped, and then ends the connection.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        self.status.publish_probe(Some(self.figures.clone()));
        let rounds = async {
            let mut ticks = interval(self.plan.settings.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                select! {
                    _ = ticks.tick() => {}
                    () = self.listen() => continue,
                }
                let reason = self.round().await;
                self.conclude(reason);
            }
        };
        select! {
            _ = &mut stop => {}
            () = rounds => {}
        }
        if let Some(link) = self.link.take() {
            link.finish().await;
        }
    }

    /// Takes what arrives between the rounds, until the connection ends; for ever without one.
    async fn listen(&mut self) {
        let Some(link) = &mut self.link else { return std::future::pending().await };
        let error = loop {
            match link.receive().await {
                Ok(arrival) => take(&mut self.tally, &mut self.figures, arrival),
                Err(error) => break error,
            };
        };
        self.disconnected(&error);
    }

    /// Publishes a message at each QoS, and waits until they are back. Returns why the round has failed; `None` if it has not.
    async fn round(&mut self) -> Option<String> {
        if let Err(reason) = self.connect().await {
            (0..self.levels).for_each(|qos| self.figures.count(qos, ProbeResult::Failed));
            return Some(reason);
        }
        let deadline = Instant::now() + self.plan.settings.timeout;
        let ended = timeout_at(deadline, self.exchange()).await;
        let is_over = ended.is_err();
        let is_unacknowledged = self.tally.is_unacknowledged();
        let lost = match ended {
            Ok(Err(error)) => {
                self.disconnected(&error);
                Some(error.to_string())
            }
            Ok(Ok(())) | Err(_) => None,
        };
        let mut reason = self.tally.judge(&mut self.figures, lost.as_deref());
        let copies = self.copies();
        if copies > std::mem::replace(&mut self.judged_copies, copies) {
            reason.get_or_insert_with(|| "a message came back twice".to_owned());
        }
        if is_over && (is_unacknowledged || self.link.as_ref().is_some_and(Link::is_stuck)) {
            // Its Packet Identifier is in use, and the next round should not depend on this one.
            if let Some(link) = self.link.take() {
                link.finish().await;
            }
        }
        reason
    }

    /// The messages that came back once more, in this round or between the rounds.
    fn copies(&self) -> u64 {
        let of = |counts: &[u64; 4]| counts.get(ProbeResult::Doubled as usize).copied().unwrap_or_default();
        self.figures.messages.iter().map(of).sum()
    }

    /// Publishes, and waits until all is back. Fails if the connection ends.
    async fn exchange(&mut self) -> Result<(), ProbeError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        for qos in link.qos() {
            let number = self.tally.send(qos, Instant::now());
            link.publish(qos, number, self.plan.settings.timeout).await?;
        }
        while !self.tally.is_complete() {
            let arrival = link.receive().await?;
            take(&mut self.tally, &mut self.figures, arrival);
        }
        Ok(())
    }

    /// Connects if there is no connection, unless an attempt failed a short time ago. Fails with the reason.
    async fn connect(&mut self) -> Result<(), String> {
        if self.link.is_some() {
            return Ok(());
        }
        if !self.backoff.is_over(Instant::now()) {
            return Err(self.unconnected.clone());
        }
        let connecting = Link::connect(&self.plan, &self.bans);
        let connected = timeout(self.plan.settings.timeout, connecting).await.unwrap_or(Err(ProbeError::Silent));
        match connected {
            Ok(link) => {
                self.backoff.reset();
                self.levels = link.qos().count();
                self.link = Some(link);
                Ok(())
            }
            Err(error) => {
                self.backoff.failed(Instant::now());
                self.disconnected(&error);
                Err(self.unconnected.clone())
            }
        }
    }

    fn disconnected(&mut self, error: &ProbeError) {
        self.link = None;
        self.unconnected = error.to_string();
    }

    /// Publishes the result of a round, and logs what has changed.
    fn conclude(&mut self, reason: Option<String>) {
        let has_changed = self.verdict.count(reason.is_none());
        self.figures.is_well = self.verdict.is_well();
        self.figures.reason = reason.as_deref().map(Into::into);
        self.status.publish_probe(Some(self.figures.clone()));
        let listener = &*self.plan.target.listener;
        if let Some(reason) = &reason
            && self.logged.as_ref() != Some(reason)
        {
            log_line!(ProbeFailed { listener, reason = &**reason }, "a round of the probe failed at {listener}: {reason}");
        }
        match (has_changed, self.verdict.is_well()) {
            (true, Some(true)) => log_line!(ProbeWell { listener }, "the probe is well at {listener}"),
            (true, Some(false)) => {
                let reason = reason.as_deref().unwrap_or_default();
                let effect = if self.figures.affects_readiness { ", so the broker is not ready" } else { "" };
                log_line!(ProbeDown { listener, reason }, "the probe fails at {listener}{effect}: {reason}");
            }
            (true, None) | (false, _) => {}
        }
        self.logged = reason;
    }
}

/// Takes what has arrived.
fn take(tally: &mut Tally, figures: &mut ProbeFigures, arrival: Arrival) {
    match arrival {
        Arrival::Message { number, qos, is_resend } => {
            if tally.arrive(number, (qos, is_resend), Instant::now()) {
                figures.count(usize::from(qos.level()), ProbeResult::Doubled);
            }
        }
        Arrival::Acknowledged { qos, refused } => tally.acknowledge(qos, refused),
    }
}

/// How long the probe waits for its next attempt to connect: each time twice as long.
#[derive(Debug)]
struct Backoff {
    interval: Duration,
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    const fn new(interval: Duration) -> Self {
        Self { interval, failures: 0, until: None }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    fn failed(&mut self, now: Instant) {
        let delay = self.interval.saturating_mul(2_u32.saturating_pow(self.failures));
        // The rounds are not exactly an interval apart.
        self.until = Some(now + delay.min(BACKOFF_MAX.max(self.interval)) - self.interval / 2);
        self.failures = self.failures.saturating_add(1);
    }

    fn reset(&mut self) {
        *self = Self::new(self.interval);
    }
}

/// The longest wait for the next attempt to connect, unless the interval is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_to_connect_become_rarer_and_never_stop() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let start = Instant::now();
        let mut attempts = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            if backoff.is_over(now) {
                attempts.push(second);
                backoff.failed(now);
            }
        }
        assert_eq!(attempts[..6], [0, 1, 3, 7, 15, 25]);
        let last = &attempts[attempts.len() - 3..];
        assert_eq!((last[1] - last[0], last[2] - last[1]), (10, 10));
        backoff.reset();
        assert!(backoff.is_over(start));
    }
}
