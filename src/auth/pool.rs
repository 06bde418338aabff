use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::authenticator::{Authenticator, Generation, Renewal};
use super::error::AuthError;
use super::password_file::Fingerprint;
use super::provider::{Refusal, Request, Verdict};
use crate::codec::{ClientId, ReasonCode};
use crate::routing::Access;

/// Authenticates clients: on the caller's thread if no provider blocks, otherwise on its own threads.
///
/// At most `QUEUED_MAX` requests wait for those threads; further clients are refused with Server busy.
#[derive(Debug)]
pub struct Pool {
    authenticator: Arc<Authenticator>,
    queue: SyncSender<Job>,
}

/// A verdict of the pool's threads and the generation of the rules that it used. [`Pool::current`] checks whether it is still valid.
#[derive(Debug)]
pub struct Answer {
    request: Box<Request>,
    verdict: Verdict,
    generation: Generation,
}

/// A request that waits for a thread, and the callback for the answer.
struct Job {
    request: Request,
    respond: Box<dyn FnOnce(Answer) + Send>,
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Job").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts the threads. They end when the pool is dropped.
    pub fn start(authenticator: Authenticator) -> io::Result<Self> {
        let authenticator = Arc::new(authenticator);
        let (queue, jobs) = sync_channel(QUEUED_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let cores = thread::available_parallelism()?.get();
        for number in 0..(cores / 2).clamp(1, THREADS_MAX) {
            let (authenticator, jobs) = (Arc::clone(&authenticator), Arc::clone(&jobs));
            let work = move || work(&authenticator, &jobs);
            thread::Builder::new().name(format!("password-{number}")).spawn(work)?;
        }
        Ok(Self { authenticator, queue })
    }

    /// Authenticates a client. `None`: a provider blocks, and one of the pool's threads calls `respond` with its answer later.
    pub fn ask(&self, request: Request, respond: impl FnOnce(Answer) + Send + 'static) -> Option<Verdict> {
        if let Some(verdict) = self.authenticator.authenticate_at_once(&request) {
            return Some(verdict);
        }
        match self.queue.try_send(Job { request, respond: Box::new(respond) }) {
            Ok(()) => None,
            Err(_) => Some(Verdict::Refuse(TOO_MANY)),
        }
    }

    /// The verdict, if it used the current files. `Err`: the files were reloaded meanwhile; [ask](Self::ask) this request again.
    pub fn current(&self, answer: Answer) -> Result<Verdict, Box<Request>> {
        if answer.generation == self.authenticator.generation() { Ok(answer.verdict) } else { Err(answer.request) }
    }

    /// The access rights of a client that was accepted before: see [`Authenticator::access`].
    pub fn access(&self, client_id: &ClientId, user: Option<&str>) -> Arc<Access> {
        self.authenticator.access(client_id, user)
    }

    /// What the current files say about a connected client: see [`Authenticator::renew`].
    pub fn renew(&self, client_id: &ClientId, user: Option<&str>, password: Option<Fingerprint>) -> Renewal {
        self.authenticator.renew(client_id, user, password)
    }

    /// What an operator should know about the files: see [`Authenticator::notes`].
    pub fn notes(&self) -> Vec<String> {
        self.authenticator.notes()
    }

    /// Reads the files again. After an error, the previous contents stay in force.
    pub fn reload(&self) -> Result<(), AuthError> {
        self.authenticator.reload()
    }
}

/// Answers requests until the pool is dropped.
fn work(authenticator: &Authenticator, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { request, respond }) = job else { return };
        let (verdict, generation) = authenticator.authenticate(&request);
        respond(Answer { request: Box::new(request), verdict, generation });
    }
}

/// At 50 ms each, these requests take one thread about a minute. Further clients should retry later.
const QUEUED_MAX: usize = 1_024;
/// Each may need 46 MB while it hashes a password.
const THREADS_MAX: usize = 4;
const TOO_MANY: Refusal = Refusal::new(ReasonCode::ServerBusy, "too many passwords wait to be verified");

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::auth::tests::{PASSWORDS, alice, file};
    use crate::config::Security;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A pool whose password file knows `alice`, with the password `sesam`.
    fn pool() -> (Pool, tempfile::TempPath) {
        let passwords = file(PASSWORDS);
        let security = Security { password_file: Some(passwords.to_path_buf()), ..Security::default() };
        (Pool::start(Authenticator::new(&security, &[]).unwrap()).unwrap(), passwords)
    }

    fn answer_of(pool: &Pool, request: Request) -> Answer {
        let (sender, answers) = channel();
        assert_eq!(pool.ask(request, move |answer| sender.send(answer).unwrap()), None);
        answers.recv_timeout(PATIENCE).unwrap()
    }

    #[test]
    fn a_password_is_verified_on_a_thread_of_the_pool() {
        let (pool, _passwords) = pool();
        let verdict = pool.current(answer_of(&pool, alice(b"sesam"))).unwrap();
        assert!(matches!(&verdict, Verdict::Accept(decision) if decision.user.as_deref() == Some("alice")));
        let silent = Request { password: None, ..alice(b"") };
        assert!(matches!(pool.ask(silent, |_| panic!("needs no thread")), Some(Verdict::Refuse(_))));
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

    #[test]
    fn more_requests_than_the_queue_takes_are_refused_with_server_busy() {
        let (pool, _passwords) = pool();
        let (gate, closed) = channel::<()>();
        let closed = Arc::new(Mutex::new(closed));
        let mut refused = None;
        // Every thread blocks in its first answer until the gate opens.
        for _ in 0..QUEUED_MAX + THREADS_MAX + 1 {
            let closed = Arc::clone(&closed);
            let wait = move |_| _ = closed.lock().unwrap().recv();
            refused = pool.ask(alice(b"sesam"), wait);
            if refused.is_some() {
                break;
            }
        }
        assert_eq!(refused, Some(Verdict::Refuse(TOO_MANY)));
        drop(gate);
    }
}
