use std::io;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use bytestring::ByteString;
use tokio::time::Instant;

use super::account::Account;
use super::authenticator::{Authenticator, Renewal, Standing};
use super::chain::Step;
use super::error::AuthError;
use super::fingerprint::Fingerprint;
use super::job::{Answer, Job, Stage, Ticket, Waiting};
use super::loaded::Generation;
use super::provider::{Cost, Request, Verdict};
use super::remote::{Figures, Notice, RemoteCounts};
use super::workers::Workers;
use crate::codec::ClientId;
use crate::config::{self, ClientIdRule, Listener, Security};
use crate::routing::Access;
use crate::topic::{MountPoint, TopicName};

/// Authenticates clients: on the caller's thread if no provider blocks or asks a service, otherwise on its own threads.
///
/// Requests for the threads of passwords, and those for each service, wait in a `FairQueue`: the sources of the clients take turns, so that a
/// source with many requests delays another one by a single check for each of its own. A queue holds a number of bytes of requests; beyond
/// that, the newest request of the source with the most bytes is refused with Server busy. A request whose client has gone is removed, or the
/// exchange with the service ends.
#[derive(Debug)]
pub struct Pool {
    workers: Arc<Workers>,
}

/// The response of [`Pool::ask`].
#[derive(Debug)]
pub enum Asked {
    /// No provider blocks.
    Answered(Verdict),
    /// The answer comes later, unless this is dropped.
    Waiting(Waiting),
}

/// What the pool has done since the start, and how many requests wait now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolCounts {
    /// Requests that wait for a thread.
    pub waiting: u64,
    /// Requests that a thread has judged.
    pub judged: u64,
    /// Requests that were removed because their clients had gone.
    pub abandoned: u64,
    /// Requests that were refused because the queue was full.
    pub displaced: u64,
}

impl AddAssign for PoolCounts {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.judged += other.judged;
        self.abandoned += other.abandoned;
        self.displaced += other.displaced;
    }
}

impl Pool {
    /// Starts the threads. They end when the pool is dropped.
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn start(authenticator: Authenticator) -> io::Result<Self> {
        Self::start_reporting(authenticator, |_, _| {})
    }

    /// The same. Calls `report` with the name of a provider and what the log should say about its service.
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn start_reporting(
        authenticator: Authenticator,
        report: impl Fn(&str, Notice) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let threads = (thread::available_parallelism()?.get() / 2).clamp(1, THREADS_MAX);
        Self::with_workers(Workers::new(authenticator, Box::new(report), QUEUED_BYTES_MAX), threads)
    }

    fn with_workers(workers: Workers, threads: usize) -> io::Result<Self> {
        let workers = Arc::new(workers);
        for number in 0..threads {
            let workers = Arc::clone(&workers);
            thread::Builder::new().name(format!("password-{number}")).spawn(move || workers.verify())?;
        }
        workers.watch_keys()?;
        Ok(Self { workers })
    }

    /// Authenticates a client. If a provider blocks or asks a service, one of the pool's threads calls `respond` with the answer later.
    pub fn ask(&self, request: Request, respond: impl FnOnce(Answer) + Send + 'static) -> Asked {
        let (step, generation) = self.workers.authenticator.step(&request, None, Cost::Immediate);
        let pending = match step {
            Step::Decided(verdict) => return Asked::Answered(verdict),
            Step::Pending(pending) => pending,
        };
        let (ticket, stage) = (Arc::new(Ticket::default()), Stage { generation, at: pending.at });
        let waiting = Waiting(Arc::clone(&ticket));
        let job = Job { request, respond: Box::new(respond), stage, ticket, since: Instant::now() };
        self.workers.forward(job, pending);
        Asked::Waiting(waiting)
    }

    /// The verdict, if it used the current files. `Err`: the files were reloaded meanwhile; [ask](Self::ask) this request again.
    pub fn current(&self, answer: Answer) -> Result<Verdict, Box<Request>> {
        if answer.generation == self.workers.authenticator.generation() {
            Ok(answer.verdict)
        } else {
            Err(answer.request)
        }
    }

    /// The current generation.
    pub fn generation(&self) -> Generation {
        self.workers.authenticator.generation()
    }

    /// The access rights of a client that was accepted before: see [`Authenticator::access`].
    pub fn access(&self, client_id: &ClientId, user: Option<Account<'_>>) -> Arc<Access> {
        self.workers.authenticator.access(client_id, user)
    }

    /// The access rights of a client of the broker's own: see [`Authenticator::access_of_own`].
    pub fn access_of_own(&self, client_id: &ClientId, user: &str) -> Arc<Access> {
        self.workers.authenticator.access_of_own(client_id, user)
    }

    /// The access rights to publish what a client has sent earlier: see [`Authenticator::access_to_publish`].
    pub fn access_to_publish(&self, client_id: &ClientId, user: Option<Account<'_>>, topic: &TopicName) -> Arc<Access> {
        self.workers.authenticator.access_to_publish(client_id, user, topic)
    }

    /// The access rights of a Session without connection: see [`Authenticator::away`].
    pub fn away(&self, client_id: &ClientId, user: Option<Account<'_>>, current: &Arc<Access>) -> Arc<Access> {
        self.workers.authenticator.away(client_id, user, current)
    }

    /// What the current files say about a client: see [`Authenticator::standing`].
    pub fn standing(&self, client_id: &ClientId, user: Option<&str>) -> Standing {
        self.workers.authenticator.standing(client_id, user)
    }

    /// The same at one listener: see [`Authenticator::standing_at`].
    pub fn standing_at(&self, listener: &str, client_id: &ClientId, user: Option<&str>) -> Standing {
        self.workers.authenticator.standing_at(listener, client_id, user)
    }

    /// A verdict with the access rights at the listener of the client: see [`Authenticator::complete`].
    pub fn complete(&self, verdict: Verdict, listener: (&str, ClientIdRule), client_id: &ClientId) -> Verdict {
        self.workers.authenticator.complete(verdict, listener, client_id)
    }

    /// What the current files say about a connected client: see [`Authenticator::renew`].
    pub fn renew(
        &self,
        client: (&ClientId, &str),
        user: Option<Account<'_>>,
        proof: Option<Fingerprint>,
        current: &Arc<Access>,
    ) -> Renewal {
        self.workers.authenticator.renew(client, user, proof, current)
    }

    /// What an operator should know about the files: see [`Authenticator::notes`].
    pub fn notes(&self) -> Vec<String> {
        self.workers.authenticator.notes()
    }

    /// Reads the files again. After an error, the previous contents stay in force.
    pub fn reload(&self) -> Result<(), AuthError> {
        self.workers.authenticator.reload()?;
        self.watch_keys();
        Ok(())
    }

    /// Applies other settings and reads the files that they name: see [`Authenticator::reload_with`].
    pub fn reload_with(
        &self,
        security: &Security,
        auth: &[config::Provider],
        listeners: &[Listener],
    ) -> Result<(), AuthError> {
        self.workers.authenticator.reload_with(security, auth, listeners)?;
        self.watch_keys();
        Ok(())
    }

    /// Fetches the key sets that are new or were fetched before the reload.
    fn watch_keys(&self) {
        // Without a thread the keys stay as they are, and the next reload tries it again.
        let _ = self.workers.watch_keys();
    }

    /// See [`Authenticator::moves`].
    pub fn moves(&self, client: (&ClientId, &str), user: Option<&str>, current: Option<&MountPoint>) -> bool {
        self.workers.authenticator.moves(client, user, current)
    }

    /// Whether an anonymous client would be accepted again: see [`Authenticator::keeps_anonymous`].
    pub fn keeps_anonymous(&self, listener: &str, is_local: bool) -> bool {
        self.workers.authenticator.keeps_anonymous(listener, is_local)
    }

    /// What the pool has done.
    pub fn counts(&self) -> PoolCounts {
        PoolCounts {
            waiting: self.workers.checks.lock().len() as u64,
            judged: self.workers.checks.judged.load(Ordering::Relaxed),
            abandoned: self.workers.checks.abandoned.load(Ordering::Relaxed),
            displaced: self.workers.checks.displaced.load(Ordering::Relaxed),
        }
    }

    /// What the services have answered, by the name of the provider, in the order of the configuration.
    pub fn remote_counts(&self) -> Vec<(ByteString, RemoteCounts)> {
        let figures = self.workers.authenticator.remote_figures();
        let counts = |(name, figures): (ByteString, Arc<Figures>)| {
            let counts = figures.counts(self.workers.desks.of(&name).counts());
            (name, counts)
        };
        figures.into_iter().map(counts).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.workers.end();
    }
}

/// More than 100,000 requests of common sizes: the default of `limits.connections_max`.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// Each may need 46 MB while it hashes a password.
const THREADS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::super::job::weight;
    use super::super::workers::TOO_MANY_PASSWORDS;
    use super::*;
    use crate::auth::tests::{PASSWORDS, alice, file};
    use crate::config::Security;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn authenticator() -> (Authenticator, tempfile::TempPath) {
        let passwords = file(PASSWORDS);
        let security = Security { password_file: Some(passwords.to_path_buf()), ..Security::default() };
        (Authenticator::new(&security, &[], &[]).unwrap(), passwords)
    }

    /// A pool whose password file knows `alice`, with the password `sesam`.
    fn pool() -> (Pool, tempfile::TempPath) {
        let (authenticator, passwords) = authenticator();
        (Pool::start(authenticator).unwrap(), passwords)
    }

    /// A pool without threads, whose queue the test serves.
    fn idle(bytes_max: usize) -> (Pool, tempfile::TempPath) {
        let (authenticator, passwords) = authenticator();
        (Pool::with_workers(Workers::new(authenticator, Box::new(|_, _| {}), bytes_max), 0).unwrap(), passwords)
    }

    fn from(last: u8) -> Request {
        Request { address: Some([192, 0, 2, last].into()), ..alice(b"sesam") }
    }

    /// Asks, with a mark for the answer.
    fn ask(pool: &Pool, request: Request, answers: &std::sync::mpsc::Sender<(u8, Verdict)>, mark: u8) -> Waiting {
        let answers = answers.clone();
        match pool.ask(request, move |answer| answers.send((mark, answer.verdict)).unwrap()) {
            Asked::Waiting(waiting) => waiting,
            Asked::Answered(verdict) => panic!("{verdict:?}"),
        }
    }

    fn answer_of(pool: &Pool, request: Request) -> Answer {
        let (sender, answers) = channel();
        let Asked::Waiting(_waiting) = pool.ask(request, move |answer| sender.send(answer).unwrap()) else {
            panic!("answered at once")
        };
        answers.recv_timeout(PATIENCE).unwrap()
    }

    fn is_accepted(asked: &Asked) -> bool {
        matches!(asked, Asked::Answered(Verdict::Accept(_)))
    }

    #[test]
    fn a_password_is_verified_on_a_thread_of_the_pool() {
        let (pool, _passwords) = pool();
        let verdict = pool.current(answer_of(&pool, alice(b"sesam"))).unwrap();
        assert!(matches!(&verdict, Verdict::Accept(decision) if decision.user.as_deref() == Some("alice")));
        let silent = Request { password: None, ..alice(b"") };
        assert!(matches!(pool.ask(silent, |_| panic!("needs no thread")), Asked::Answered(Verdict::Refuse(_))));
    }

    #[test]
    fn credentials_that_were_verified_are_accepted_at_once_and_others_are_not() {
        let (pool, _passwords) = pool();
        pool.current(answer_of(&pool, alice(b"sesam"))).unwrap();
        assert!(is_accepted(&pool.ask(alice(b"sesam"), |_| panic!("needs no thread"))));
        for _ in 0..2 {
            // A refusal is not remembered: it is hashed each time.
            let verdict = pool.current(answer_of(&pool, alice(b"sesame"))).unwrap();
            assert!(matches!(&verdict, Verdict::Refuse(refusal) if refusal.cause == "wrong password"), "{verdict:?}");
        }
        assert!(is_accepted(&pool.ask(alice(b"sesam"), |_| panic!("needs no thread"))));
        assert_eq!(pool.counts(), PoolCounts { judged: 3, ..PoolCounts::default() });
    }

    #[test]
    fn a_reload_voids_verified_credentials_whose_entry_differs_and_no_others() {
        let (pool, passwords) = pool();
        pool.current(answer_of(&pool, alice(b"sesam"))).unwrap();
        pool.reload().unwrap();
        assert!(is_accepted(&pool.ask(alice(b"sesam"), |_| panic!("the entry is the same"))));
        std::fs::write(&passwords, PASSWORDS.replace("alice", "bob")).unwrap();
        pool.reload().unwrap();
        let verdict = pool.current(answer_of(&pool, alice(b"sesam"))).unwrap();
        assert!(matches!(&verdict, Verdict::Refuse(refusal) if refusal.cause == "unknown user name"), "{verdict:?}");
        let hash = super::super::password_file::StoredHash::hash_password(b"other", b"saltsaltsalt").unwrap();
        std::fs::write(&passwords, format!("alice:{hash}\n")).unwrap();
        pool.reload().unwrap();
        let verdict = pool.current(answer_of(&pool, alice(b"sesam"))).unwrap();
        assert!(matches!(&verdict, Verdict::Refuse(refusal) if refusal.cause == "wrong password"), "{verdict:?}");
    }

    #[test]
    fn a_source_with_many_requests_delays_another_by_one_check() {
        let (pool, _passwords) = idle(QUEUED_BYTES_MAX);
        let (sender, answers) = channel();
        let mut waiting: Vec<_> = (0..9).map(|mark| ask(&pool, from(1), &sender, mark)).collect();
        waiting.push(ask(&pool, from(2), &sender, 100));
        let mut answered = Vec::new();
        for _ in 0..3 {
            let job = pool.workers.checks.next().unwrap();
            let (verdict, _) = pool.workers.authenticator.authenticate(&job.request);
            job.answer(verdict);
            answered.push(answers.try_recv().unwrap().0);
        }
        assert_eq!(answered, [0, 100, 1]);
    }

    #[test]
    fn a_request_whose_client_has_gone_is_not_checked() {
        let (pool, _passwords) = idle(QUEUED_BYTES_MAX);
        let (sender, answers) = channel();
        let gone: Vec<_> = (0..9).map(|mark| ask(&pool, from(1), &sender, mark)).collect();
        let _stays = ask(&pool, from(1), &sender, 100);
        drop(gone);
        assert_eq!(pool.counts(), PoolCounts { waiting: 1, abandoned: 9, ..PoolCounts::default() });
        assert_eq!(pool.workers.checks.next().unwrap().request, from(1));
        assert_eq!(pool.workers.checks.lock().len(), 0);
        assert!(answers.try_recv().is_err());
    }

    #[test]
    fn a_stranger_cannot_fill_the_queue_for_others() {
        let (pool, _passwords) = idle(10 * weight(&from(1)));
        let (sender, answers) = channel();
        let _strangers: Vec<_> = (0..30).map(|mark| ask(&pool, from(1), &sender, mark)).collect();
        assert_eq!(answers.try_iter().count(), 20, "beyond the bound");
        let _friend = ask(&pool, from(2), &sender, 100);
        let (mark, verdict) = answers.try_recv().unwrap();
        assert_ne!(mark, 100, "the stranger's newest request gives way");
        assert_eq!(verdict, Verdict::Refuse(TOO_MANY_PASSWORDS));
        assert_eq!(pool.counts(), PoolCounts { waiting: 10, displaced: 21, ..PoolCounts::default() });
    }

    #[test]
    fn an_answer_by_rules_that_were_replaced_meanwhile_is_asked_again() {
        let (pool, passwords) = pool();
        let answer = answer_of(&pool, alice(b"sesam"));
        assert!(matches!(answer.verdict, Verdict::Accept(_)));
        std::fs::write(&passwords, PASSWORDS.replace("alice", "bob")).unwrap();
        pool.reload().unwrap();
        let request = pool.current(answer).unwrap_err();
        assert_eq!(*request, alice(b"sesam"));
        let verdict = pool.current(answer_of(&pool, *request)).unwrap();
        assert!(matches!(&verdict, Verdict::Refuse(refusal) if refusal.cause == "unknown user name"), "{verdict:?}");
    }

    #[test]
    fn a_reload_that_fails_voids_no_answer() {
        let (pool, passwords) = pool();
        let answer = answer_of(&pool, alice(b"sesam"));
        std::fs::write(&passwords, "alice:plain\n").unwrap();
        pool.reload().unwrap_err();
        assert!(matches!(pool.current(answer), Ok(Verdict::Accept(_))));
    }
}
