//! What the configuration says about sinks.

use std::collections::HashSet;

use super::plan::Plan;
use super::request::Requests;
use super::retire::{log_retired, retire_others};
use super::running::{End, Sinks, Tools};
use crate::config::Config;
use crate::server::Server;
use crate::server::log::log_line;

/// Reads the files of sinks as a start does.
///
/// # Errors
/// A sink can't run with these settings: the text says why.
pub fn check_sinks(config: &Config) -> Result<(), String> {
    let mut system = None;
    for (index, settings) in config.sinks.iter().enumerate() {
        let checked = Plan::read(settings, config).and_then(|plan| plan.client(&mut system).map(drop));
        checked.map_err(|reason| format!("sinks[{index}]: {reason}"))?;
    }
    Ok(())
}

impl Server {
    /// Starts, ends and replaces sinks, as the configuration says. One stays as it is if neither its settings nor its files have changed, or if
    /// a file can't be used.
    pub(in crate::server) async fn apply_sinks(&mut self) {
        self.stamps.take_sinks(&self.config.sinks);
        let is_first = !self.attendants.sinks_applied;
        self.attendants.sinks_applied = true;
        let tools = Tools { clients: self.own_clients(), queries: self.queries(), clock: self.clock };
        let configured: HashSet<String> = self.config.sinks.iter().map(|sink| sink.name.clone()).collect();
        if is_first && self.store.is_some() {
            tokio::spawn(retire_others(tools.clone(), configured.clone()));
        }
        if self.attendants.sinks.is_none() && !configured.is_empty() {
            match Sinks::start() {
                Ok(sinks) => self.attendants.sinks = Some(sinks),
                Err(error) => {
                    let reason = &*error.to_string();
                    return log_line!(SinkUnavailable { reason }, "there are no sinks: {reason}");
                }
            }
        }
        let Some(sinks) = &mut self.attendants.sinks else { return };
        let removed: Vec<String> = sinks.names().into_iter().filter(|name| !configured.contains(name)).collect();
        sinks.end(&removed, End::Retire).await;
        removed.iter().for_each(|name| log_retired(name));
        sinks.keep_figures(&configured);
        let (mut made, mut system) = (Vec::new(), None);
        for settings in &self.config.sinks {
            let sink = &*settings.name;
            let requests = Plan::read(settings, &self.config).and_then(|plan| match sinks.runs(&plan) {
                true => Ok(None),
                false => Requests::new(plan, &mut system).map(Some),
            });
            sinks.note(sink, requests.as_ref().err().map(|reason| &**reason));
            match requests {
                Ok(requests) => made.extend(requests),
                Err(reason) => {
                    let state = if sinks.has(sink) {
                        "goes on as before"
                    } else {
                        "does not run, and its Session keeps what is queued"
                    };
                    log_line!(SinkUnavailable { sink, reason = &*reason }, "the sink {sink} {state}: {reason}");
                }
            }
        }
        let replaced: Vec<String> = made.iter().map(|requests| requests.plan().settings.name.clone()).collect();
        sinks.end(&replaced, End::Stay).await;
        for requests in made {
            let (sink, endpoint) = (requests.plan().settings.name.clone(), requests.plan().endpoint());
            // Without randomness, the pauses of all sinks vary in the same way.
            sinks.begin(requests, tools.clone(), getrandom::u64().unwrap_or_default());
            log_line!(SinkStarted { sink = &*sink, endpoint = &*endpoint }, "the sink {sink} sends messages to {endpoint}");
        }
        self.status.publish_sinks(sinks.figures());
    }

    /// Ends all sinks. Their Sessions stay.
    pub(in crate::server) async fn stop_sinks(&mut self) {
        if let Some(mut sinks) = self.attendants.sinks.take() {
            let names = sinks.names();
            sinks.end(&names, End::Stay).await;
        }
    }
}
