//! Runs cases concurrently.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::broker::{Broker, Template};
use crate::case::{Case, Feature};
use crate::clock;
use crate::context::{Context, Place};
use crate::failure::Failure;
use crate::report::{CaseResult, Report};
use crate::wire::{Version, property};

/// The broker under test.
#[derive(Debug, Clone)]
pub enum Target {
    /// A running broker.
    Running {
        /// Its TCP address.
        address: SocketAddr,
        /// Its WebSocket address.
        websocket: Option<SocketAddr>,
    },
    /// A broker that the suite starts, plus one for each case that restarts it.
    Started(Template),
    /// A broker that the suite starts for each case, so that a case that makes it fail does not affect others.
    StartedForEachCase(Template),
}

/// Which cases to run.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Only these versions; all if empty.
    pub versions: Vec<Version>,
    /// Only cases of these statements; all if empty.
    pub statements: Vec<String>,
    /// Only cases whose name contains one of these; all if empty.
    pub cases: Vec<String>,
}

impl Selection {
    /// Whether a case is selected in a version.
    pub fn takes(&self, case: &Case, version: Version) -> bool {
        let statements = case.statements(version);
        let named = |name: &String| case.name.contains(name.as_str());
        let wanted = |id: &&str| self.statements.iter().any(|statement| statement == id);
        !statements.is_empty()
            && (self.versions.is_empty() || self.versions.contains(&version))
            && (self.statements.is_empty() || statements.iter().any(wanted))
            && (self.cases.is_empty() || self.cases.iter().any(named))
    }
}

/// One case in one version.
struct Job {
    case: &'static Case,
    version: Version,
    /// The prefix of its Client Identifiers and topics.
    unique: String,
}

/// Runs the selected cases of `cases` on `workers` threads.
pub fn run(target: &Target, selection: &Selection, cases: &[&'static Case], workers: usize) -> anyhow::Result<Report> {
    let jobs = jobs(selection, cases);
    if jobs.is_empty() {
        bail!("no case is selected");
    }
    let (broker, template) = match target {
        Target::Started(template) | Target::StartedForEachCase(template) => {
            (Some(Broker::start(template).context("starting the broker")?), Some(template))
        }
        Target::Running { .. } => (None, None),
    };
    let (address, websocket) = match (target, &broker) {
        (Target::Running { address, websocket }, _) => (*address, *websocket),
        (_, Some(broker)) => (broker.address(), broker.websocket()),
        (_, None) => bail!("the broker was not started"),
    };
    let mut place = Place { address, websocket, announced: crate::wire::Connack::default() };
    let understands = probe(&mut place);
    if understands.is_empty() {
        bail!("{address} answers neither a CONNECT of 3.1.1 nor one of 5.0 with Success");
    }
    let isolated = matches!(target, Target::StartedForEachCase(_));
    let run = Run { place, template, isolated, understands, lacking: BTreeSet::new() }.with_features();
    let (date, started) = (clock::unix_seconds(), clock::now());
    let results = run.all(jobs, workers);
    Ok(Report::new(results, date, clock::now().duration_since(started)))
}

fn jobs(selection: &Selection, cases: &[&'static Case]) -> Vec<Job> {
    let run = base36(clock::unix_seconds() % 36u64.pow(5));
    let mut jobs = Vec::new();
    for (number, case) in (0u64..).zip(cases) {
        for version in Version::ALL {
            if selection.takes(case, version) {
                let unique = format!("{run}{:0>3}{}", base36(number), version.level());
                jobs.push(Job { case, version, unique });
            }
        }
    }
    // The longest cases start first, which shortens the run.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.case.time));
    jobs
}

/// The versions that the broker accepts. Stores its 5.0 CONNACK in `place`.
fn probe(place: &mut Place) -> Vec<Version> {
    let mut understood = Vec::new();
    for version in Version::ALL {
        let unique = format!("{}p", base36(clock::unix_seconds()));
        let mut context = Context::new(version, place, unique, Case::TIME, None);
        if let Ok(client) = context.client("probe") {
            if version.is_v5() {
                place.announced = client.connack().clone();
            }
            understood.push(version);
            // What follows the response is irrelevant to the version.
            let _ended = client.disconnect();
        }
    }
    understood
}

struct Run<'a> {
    place: Place,
    template: Option<&'a Template>,
    /// Whether each case has its own broker.
    isolated: bool,
    understands: Vec<Version>,
    lacking: BTreeSet<Feature>,
}

impl Run<'_> {
    fn with_features(mut self) -> Self {
        let number = |id| self.place.announced.properties.number(id);
        let maximum_qos = number(property::MAXIMUM_QOS).unwrap_or(2);
        let lacks = [
            (Feature::Qos1, maximum_qos < 1),
            (Feature::Qos2, maximum_qos < 2),
            (Feature::Retain, number(property::RETAIN_AVAILABLE) == Some(0)),
            (Feature::Wildcards, number(property::WILDCARD_SUBSCRIPTION_AVAILABLE) == Some(0)),
            (Feature::SubscriptionIdentifiers, number(property::SUBSCRIPTION_IDENTIFIER_AVAILABLE) == Some(0)),
            (Feature::SharedSubscriptions, number(property::SHARED_SUBSCRIPTION_AVAILABLE) == Some(0)),
            (Feature::TopicAliases, number(property::TOPIC_ALIAS_MAXIMUM).unwrap_or_default() == 0),
            (Feature::Restart, self.template.is_none()),
            (Feature::WebSocket, self.place.websocket.is_none()),
        ];
        self.lacking = lacks.into_iter().filter_map(|(feature, lacks)| lacks.then_some(feature)).collect();
        self
    }

    fn all(&self, jobs: Vec<Job>, workers: usize) -> Vec<CaseResult> {
        let last = |job: &Job| job.case.alone && self.template.is_none();
        let (alone, together): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(last);
        let mut results = self.side_by_side(&together, workers);
        results.extend(alone.iter().map(|job| self.one(job)));
        results
    }

    fn side_by_side(&self, jobs: &[Job], workers: usize) -> Vec<CaseResult> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(jobs.len()));
        thread::scope(|scope| {
            for _ in 0..workers.clamp(1, jobs.len().max(1)) {
                scope.spawn(|| {
                    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = self.one(job);
                        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(result);
                    }
                });
            }
        });
        results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn one(&self, job: &Job) -> CaseResult {
        let Job { case, version, .. } = *job;
        let result = |outcome, time, trace| CaseResult { case, version, outcome, killed: false, time, trace };
        if let Some(reason) = self.lack(job) {
            return result(Err(Failure::skipped(reason)), Duration::ZERO, Vec::new());
        }
        let own = self.template.filter(|_| self.isolated || case.alone || case.features.contains(&Feature::Restart));
        let broker = match own.map(Broker::start).transpose() {
            Ok(broker) => broker,
            Err(error) => {
                let failure = Failure::new("the broker starts", error.to_string());
                return result(Err(failure), Duration::ZERO, Vec::new());
            }
        };
        let mut context = Context::new(version, &self.place, job.unique.clone(), case.time, broker);
        let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)(&mut context))).unwrap_or_else(|_| {
            Err(Failure::new("the case runs to its end", "it panicked, which is a bug of the suite"))
        });
        let (time, trace) = (context.state().elapsed(), context.state().lines());
        let killed = context.state().killed.get();
        if self.template.is_none() {
            // Other cases report failures of the cleanup.
            let _cleaned = context.clean_up();
        }
        CaseResult { killed, ..result(outcome, time, trace) }
    }

    fn lack(&self, job: &Job) -> Option<String> {
        if !self.understands.contains(&job.version) {
            return Some(format!("the broker doesn't accept clients of {}", job.version));
        }
        let feature = job.case.features.iter().find(|feature| self.lacking.contains(feature))?;
        Some(match feature {
            Feature::Restart => "the suite has not started the broker and can't restart it".to_owned(),
            Feature::WebSocket => "no address for WebSockets was given".to_owned(),
            Feature::Qos1
            | Feature::Qos2
            | Feature::Retain
            | Feature::Wildcards
            | Feature::SubscriptionIdentifiers
            | Feature::SharedSubscriptions
            | Feature::TopicAliases => format!("the broker announces that it lacks {feature:?}"),
        })
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(u32::try_from(number % 36).ok().and_then(|digit| char::from_digit(digit, 36)));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}
