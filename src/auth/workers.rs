//! What works for the [`Pool`](super::Pool): the threads that verify passwords, and the requests to services.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use tokio::select;
use tokio::time::Instant;

use super::authenticator::Authenticator;
use super::chain::{Pending, Step};
use super::fair_queue::FairQueue;
use super::job::Job;
use super::jwt::keep;
use super::provider::{Cost, Refusal, Verdict};
use super::remote::{Desk, Desks, Notice, RemoteThread};
use crate::codec::ReasonCode;

/// Judges the requests that can't be judged at once, each stage of a chain where it belongs: a provider that blocks on the threads for passwords,
/// one that asks a service on the thread for services.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) authenticator: Authenticator,
    pub(super) checks: Arc<Checks>,
    pub(super) desks: Desks<Job>,
    pub(super) services: RemoteThread,
    reporter: Reporter,
}

/// Where notices about services go.
struct Reporter(Report);

/// Takes the name of a provider, and what the log should say about its service.
pub(super) type Report = Box<dyn Fn(&str, Notice) + Send + Sync>;

/// The requests that wait for a thread.
#[derive(Debug)]
pub(super) struct Checks {
    queue: Mutex<FairQueue<Job>>,
    has_job: Condvar,
    closed: AtomicBool,
    pub(super) judged: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) displaced: AtomicU64,
}

impl Workers {
    pub(super) fn new(authenticator: Authenticator, report: Report, bytes_max: usize) -> Self {
        Self {
            authenticator,
            checks: Arc::new(Checks::new(bytes_max)),
            desks: Desks::default(),
            services: RemoteThread::default(),
            reporter: Reporter(report),
        }
    }

    /// Asks the providers from the stage of a job, as far as this thread may. The job is answered, or goes on where the next provider is asked.
    fn judge(self: &Arc<Self>, mut job: Job, affordable: Cost) {
        let (step, generation) = self.authenticator.step(&job.request, Some(job.stage), affordable);
        job.stage.generation = generation;
        match step {
            Step::Decided(verdict) => job.answer(verdict),
            Step::Pending(pending) => self.forward(job, pending),
        }
    }

    /// Takes a job to where the provider at its stage is asked.
    pub(super) fn forward(self: &Arc<Self>, mut job: Job, Pending { at, cost }: Pending) {
        job.stage.at = at;
        match cost {
            Cost::Immediate | Cost::Blocking => self.checks.push(job),
            Cost::Remote => self.enter(job),
        }
    }

    /// Takes a job to the desk of its service.
    fn enter(self: &Arc<Self>, mut job: Job) {
        let Some(provider) = self.authenticator.provider(&job.request, job.stage) else {
            // The files were reloaded since: the answer is void, and the client is judged again.
            return job.answer(Verdict::Refuse(OUTDATED));
        };
        let bounds = provider.bounds();
        let desk = self.desks.of(&bounds.provider);
        job.since = Instant::now();
        let (ticket, part) = (Arc::clone(&job.ticket), (job.source(), job.weight()));
        let (mut displaced, mut lane) = (Vec::new(), None);
        let is_there = ticket.enter(|| {
            let entered = desk.enter(job, part, bounds.requests_max);
            (displaced, lane) = (entered.displaced, entered.lane);
            let (desk, place) = (Arc::clone(&desk), entered.place);
            move || drop(desk.remove(place))
        });
        if !is_there {
            desk.count_abandoned();
        }
        for job in displaced {
            job.answer(Verdict::Refuse(TOO_MANY));
        }
        let Some(first) = lane else { return };
        match self.services.handle() {
            Ok(handle) => drop(handle.spawn(Arc::clone(self).serve(bounds.provider, desk, first))),
            Err(error) => {
                let cause = format!("the thread that asks services could not be started: {error}");
                let refusal = Refusal { reason_code: ReasonCode::ServerUnavailable, cause: cause.into() };
                let mut next = Some(first);
                while let Some(job) = next {
                    job.answer(Verdict::Refuse(refusal.clone()));
                    next = desk.next();
                }
            }
        }
    }

    /// A lane: asks the service of a provider for one client after the other, until none waits.
    async fn serve(self: Arc<Self>, name: ByteString, desk: Arc<Desk<Job>>, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            self.consult(&name, &desk, job).await;
            next = desk.next();
        }
    }

    async fn consult(self: &Arc<Self>, name: &ByteString, desk: &Desk<Job>, mut job: Job) {
        let provider = self.authenticator.provider(&job.request, job.stage);
        let Some(provider) = provider.filter(|provider| provider.bounds().provider == *name) else {
            return job.answer(Verdict::Refuse(OUTDATED));
        };
        if job.since.elapsed() > provider.bounds().wait_max {
            desk.count_busy();
            return job.answer(Verdict::Refuse(TOO_LONG));
        }
        let consultation = select! {
            biased;
            () = job.ticket.gone() => return desk.count_abandoned(),
            consultation = provider.consult(&job.request) => consultation,
        };
        self.note(name, desk, consultation.fault.as_deref());
        match consultation.verdict {
            Some(verdict) => job.answer(verdict),
            None => {
                job.stage.at += 1;
                self.judge(job, Cost::Immediate);
            }
        }
    }

    /// Notes whether the service of a provider has answered.
    fn note(&self, name: &str, desk: &Desk<Job>, fault: Option<&str>) {
        if let Some(notice) = desk.note(fault, Instant::now()) {
            (self.reporter.0)(name, notice);
        }
    }

    /// Fetches all key sets, and keeps fetching them as long as they are in force.
    pub(super) fn watch_keys(self: &Arc<Self>) -> io::Result<()> {
        for (name, keys) in self.authenticator.key_sets() {
            let (handle, desk, workers) = (self.services.handle()?, self.desks.of(&name), Arc::clone(self));
            if keys.start() {
                let note = move |fault: Option<&str>| workers.note(&name, &desk, fault);
                handle.spawn(keep(Arc::downgrade(&keys), note));
            } else {
                keys.demand();
            }
        }
        Ok(())
    }

    /// Verifies passwords until the pool is dropped.
    pub(super) fn verify(self: &Arc<Self>) {
        while let Some(job) = self.checks.next() {
            // Another client with the same credentials may have been verified since this one asked; then it costs no hash.
            self.checks.judged.fetch_add(1, Ordering::Relaxed);
            self.judge(job, Cost::Blocking);
        }
    }

    /// Ends all threads.
    pub(super) fn end(&self) {
        self.checks.close();
        self.services.end();
    }
}

impl Checks {
    fn new(bytes_max: usize) -> Self {
        Self {
            queue: Mutex::new(FairQueue::new(bytes_max)),
            has_job: Condvar::new(),
            closed: AtomicBool::new(false),
            judged: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, FairQueue<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, unless its client has gone. Those that give way are refused.
    fn push(self: &Arc<Self>, job: Job) {
        let (ticket, source, weight) = (Arc::clone(&job.ticket), job.source(), job.weight());
        let mut displaced = Vec::new();
        let is_there = ticket.enter(|| {
            let (number, out) = self.lock().push(source, weight, job);
            displaced = out;
            let checks = Arc::clone(self);
            move || {
                // The job is dropped after the lock is released.
                let removed = checks.lock().remove(source, number);
                checks.abandoned.fetch_add(u64::from(removed.is_some()), Ordering::Relaxed);
            }
        });
        if !is_there {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        self.has_job.notify_one();
        for job in displaced {
            self.displaced.fetch_add(1, Ordering::Relaxed);
            job.answer(Verdict::Refuse(TOO_MANY_PASSWORDS));
        }
    }

    /// Waits for the next job. `None`: the pool was dropped.
    pub(super) fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            queue = self.has_job.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let queue = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        drop(queue);
        self.has_job.notify_all();
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Reporter")
    }
}

pub(super) const TOO_MANY_PASSWORDS: Refusal =
    Refusal::new(ReasonCode::ServerBusy, "too many passwords wait to be verified");
const TOO_MANY: Refusal = Refusal::new(ReasonCode::ServerBusy, "too many requests to the service wait");
const TOO_LONG: Refusal = Refusal::new(ReasonCode::ServerBusy, "the request to the service has waited too long");
/// The verdict of a generation that is over. No client is told.
const OUTDATED: Refusal = Refusal::new(ReasonCode::ServerBusy, "the settings were reloaded");
