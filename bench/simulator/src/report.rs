//! The result of a run.

use std::fmt::{self, Display};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::figures::Figures;
use crate::machine::Use;
use crate::model::Model;
use crate::setup::Setup;
use crate::world::{SERVERS, World};

/// What a run has shown.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) setup: Setup,
    model: Model,
    pub(crate) figures: Vec<(&'static str, f64)>,
    storms: Vec<StormReport>,
    pub(crate) broken: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StormReport {
    node: usize,
    /// Seconds after the beginning of the messages.
    at_s: f64,
    cells: usize,
    clients: u32,
    /// Until all clients were connected again.
    over_after_s: Option<f64>,
}

/// What the process needed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_connected: u64,
    pub(crate) bytes_after: u64,
}

impl Report {
    /// `started`: when the first message was due, and what was counted until then.
    pub(crate) fn new(world: &World, (started, ended): (u64, u64), cost: Cost) -> Self {
        let figures = &world.figures;
        let (missing, beyond) = world.fleet.balance();
        let mut report = Self {
            setup: world.setup.clone(),
            model: world.model,
            figures: Vec::new(),
            storms: Vec::new(),
            broken: figures.complaints.clone(),
        };
        let seconds = (ended - started) as f64 / 1e9;
        let messages = figures.delivered.max(1) as f64;
        report.add_cost(world, cost);
        report.add("published", figures.published as f64);
        report.add("acknowledged", figures.acknowledged as f64);
        report.add("delivered", figures.delivered as f64);
        report.add("messages_per_second", figures.delivered as f64 / seconds);
        let used = |of: Use| world.machines.iter().filter_map(|machine| machine.used.get(of as usize)).sum::<u64>();
        let uses =
            [("owner", Use::Owner), ("followers", Use::Followers), ("servers", Use::Servers), ("frames", Use::Frames)];
        let mut all = 0.0;
        for (name, of) in uses {
            let us = used(of) as f64 / 1e3 / messages;
            all += us;
            report.add(
                match name {
                    "owner" => "owners_cpu_us_per_message",
                    "followers" => "followers_cpu_us_per_message",
                    "servers" => "servers_cpu_us_per_message",
                    _ => "frames_cpu_us_per_message",
                },
                us,
            );
        }
        let servers = if world.setup.copies > 0 { SERVERS } else { 0 };
        let idle = world.model.idle_node * world.setup.nodes as f64 + world.model.idle_server * servers as f64;
        let idle = if servers > 0 { idle * seconds / messages } else { 0.0 };
        report.add("idle_cpu_us_per_message", idle);
        all += idle;
        report.add("all_cpu_us_per_message", all);
        report.add("processors_used", all * messages / 1e6 / seconds);
        report.add("records_per_message", figures.records as f64 / messages);
        report.add("log_bytes_per_message", figures.commit_bytes as f64 / messages);
        report.add("commits_per_second", figures.commits as f64 / seconds);
        report.add("bytes_per_commit", figures.commit_bytes as f64 / figures.commits.max(1) as f64);
        report.add("link_packets_per_message", figures.link_packets as f64 / messages);
        report.add("link_bytes_per_message", figures.link_bytes as f64 / messages);
        report.add("frames_per_second", figures.frames as f64 / seconds);
        report.add("messages_per_turn", messages / figures.turns.max(1) as f64);
        report.add("waiting_for_cells_max", figures.waiting_max as f64);
        report.add_times(figures);
        report.add("missing", missing as f64);
        report.add("repeated_at_qos1", figures.repeated as f64);
        report.add("missed_at_qos0", figures.missed_at_qos0 as f64);
        let storm = |storm: &crate::figures::Storm| StormReport {
            node: storm.node,
            at_s: storm.at.saturating_sub(started) as f64 / 1e9,
            cells: storm.cells,
            clients: storm.clients,
            over_after_s: storm.over.map(|over| over.saturating_sub(storm.at) as f64 / 1e9),
        };
        report.storms = figures.storms.iter().map(storm).collect();
        if world.setup.qos > 0 {
            report.judge("not delivered", missing);
            report.judge("lost before a later one", figures.lost);
        }
        report.judge("doubled", figures.doubled + if world.setup.qos == 1 { 0 } else { beyond });
        report.judge("Sessions lost", figures.sessions_lost);
        report.judge("complaints", figures.complained);
        report.judge("clients not connected at the end", world.fleet.away.into());
        report
    }

    fn add_cost(&mut self, world: &World, cost: Cost) {
        let sessions = world.fleet.clients.len().max(1) as f64;
        self.add("wall_s", cost.wall_s);
        self.add("rss_mib", cost.bytes_after as f64 / 1_048_576.0);
        let grown = cost.bytes_connected.saturating_sub(cost.bytes_before) as f64;
        self.add("rss_bytes_per_session", grown / sessions);
    }

    fn add_times(&mut self, figures: &Figures) {
        let mut times = |histogram: &Histogram<u64>, names: [&'static str; 3]| {
            if !histogram.is_empty() {
                for (name, quantile) in names.into_iter().zip([0.5, 0.99, 1.0]) {
                    self.add(name, histogram.value_at_quantile(quantile) as f64);
                }
            }
        };
        times(&figures.latency_us, ["latency_p50_us", "latency_p99_us", "latency_max_us"]);
        times(&figures.acknowledged_us, ["acknowledged_p50_us", "acknowledged_p99_us", "acknowledged_max_us"]);
        times(&figures.connect_us, ["connect_p50_us", "connect_p99_us", "connect_max_us"]);
        times(&figures.suback_us, ["suback_p50_us", "suback_p99_us", "suback_max_us"]);
        times(
            &figures.suback_in_deaths_us,
            ["suback_in_deaths_p50_us", "suback_in_deaths_p99_us", "suback_in_deaths_max_us"],
        );
        times(&figures.adoptions_us, ["adoption_p50_us", "adoption_p99_us", "adoption_max_us"]);
    }

    fn add(&mut self, name: &'static str, value: f64) {
        self.figures.push((name, value));
    }

    /// The figure with a name.
    #[cfg(test)]
    pub(crate) fn figure(&self, name: &str) -> f64 {
        self.figures.iter().find(|(other, _)| *other == name).map_or(f64::NAN, |(_, value)| *value)
    }

    fn judge(&mut self, what: &str, count: u64) {
        if count > 0 {
            self.broken.push(format!("{count} {what}"));
        }
    }
}

impl Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.figures {
            let digits = if *value < 100.0 { 2 } else { 0 };
            writeln!(to, "{name:<32}{value:>14.digits$}")?;
        }
        for StormReport { node, at_s, cells, clients, over_after_s } in &self.storms {
            let over = over_after_s.map_or_else(|| "not all".into(), |after| format!("all after {after:.1} s"));
            writeln!(
                to,
                "node {node} died at {at_s:.0} s with {cells} cells: {clients} clients connect again, {over}"
            )?;
        }
        for what in &self.broken {
            writeln!(to, "BROKEN: {what}")?;
        }
        Ok(())
    }
}
