//! A run from the first connection to the last message.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::figures::Figures;
use crate::machine::Uses;
use crate::model::{Model, ns, seconds};
use crate::report::{Cost, Report};
use crate::setup::Setup;
use crate::world::{Step, World};

/// Simulates a setup.
pub(crate) fn run(setup: Setup) -> Result<Report> {
    let model = match &setup.model {
        None => Model::default(),
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_str(&text).with_context(|| file.display().to_string())?
        }
    };
    let begun = now();
    let mut cost = Cost { bytes_before: resident(), ..Cost::default() };
    let mut world = World::new(setup, model)?;
    world.connect_all()?;
    cost.bytes_connected = resident();
    let (started, ended) = world.carry_on();
    (cost.wall_s, cost.bytes_after) = (begun.elapsed().as_secs_f64(), resident());
    Ok(Report::new(&world, (started, ended), cost))
}

impl World {
    /// Connects and subscribes all clients, and waits for them.
    fn connect_all(&mut self) -> Result<()> {
        self.run_until(seconds(2.0));
        let interval = ns(1e6 / self.setup.connects / self.setup.nodes as f64);
        let sessions = self.setup.sessions;
        for client in 0..sessions {
            self.connect_after(client, u64::from(client) * interval);
        }
        let limit = self.now + u64::from(sessions) * interval + CONNECTED_MAX;
        while self.fleet.away > 0 || self.figures.subscribed < sessions {
            if self.now > limit {
                let (away, subscribed) = (self.fleet.away, self.figures.subscribed);
                bail!(
                    "{away} of {sessions} clients are not connected, {subscribed} subscribed: {:?}",
                    self.figures.complaints
                );
            }
            self.run_until(self.now + LOOK);
        }
        self.run_until(self.now + seconds(1.0));
        Ok(())
    }

    /// Publishes, with what is to happen meanwhile, and waits for what is on its way. Returns the time of the messages.
    fn carry_on(&mut self) -> (u64, u64) {
        let started = self.now;
        self.figures = Figures::default();
        self.machines.iter_mut().for_each(|machine| machine.used = Uses::default());
        let lasts = seconds(self.setup.seconds);
        self.is_busy = true;
        let deaths = self.setup.deaths;
        for death in 0..deaths {
            let node = death as usize % self.setup.nodes;
            let at = lasts * (2 * u64::from(death) + 1) / (2 * u64::from(deaths));
            self.after(at, Step::Death { node });
        }
        if self.setup.churn > 0.0 {
            self.after(0, Step::Churn);
        }
        if self.setup.rate > 0.0 {
            self.after(0, Step::Publish);
        } else {
            (0..self.setup.publishers()).for_each(|client| self.publish_due(client));
        }
        while self.now < started + lasts {
            self.run_until((self.now + LOOK).min(started + lasts));
            let waiting = self.cells.iter().map(crate::cell::Cell::waiting).sum();
            self.figures.waiting_max = self.figures.waiting_max.max(waiting);
        }
        let ended = self.now;
        self.is_busy = false;
        while self.now < ended + SETTLED_MAX && !self.is_settled() {
            self.run_until(self.now + LOOK);
        }
        (started, ended)
    }

    /// Whether all that was published has arrived and is acknowledged, as far as it is promised.
    fn is_settled(&self) -> bool {
        let is_done = self.setup.qos == 0
            || self.fleet.balance() == (0, 0) && self.figures.acknowledged == self.figures.published;
        let is_whole = self.fleet.away == 0 && self.cells.iter().all(|cell| cell.owner.is_some());
        let clients = &self.fleet.clients;
        is_whole && is_done && self.fleet.unreleased.is_empty() && clients.iter().all(|client| client.due.is_none())
    }
}

/// The resident memory of this process, in bytes; 0 if it is not known.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * PAGE
}

#[expect(clippy::disallowed_methods, reason = "how long a run takes in real time")]
fn now() -> Instant {
    Instant::now()
}

const PAGE: u64 = 4_096;
/// How often the state of the whole is looked at.
const LOOK: u64 = 1_000_000_000;
const CONNECTED_MAX: u64 = 300_000_000_000;
const SETTLED_MAX: u64 = 300_000_000_000;
