use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::auth::{AuthError, Authenticator, Credentials};
use crate::broker::{AuthenticationOutcome, AuthenticationRequest, ConnectionId, Peer};
use crate::codec::{ClientId, ReasonCode};
use crate::config::{AllowAnonymous, Listener};
use crate::routing::{Access, ShardId};
use crate::server::shard::mailbox::{Mail, Mailbox};

/// Asks who may connect: at once where that is quick, by a few threads of its own where a password must be hashed.
#[derive(Debug)]
pub(super) struct Authentication {
    provider: Arc<Provider>,
    queue: SyncSender<Question>,
}

/// Who wants to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) shard: ShardId,
    pub(super) connection: ConnectionId,
}

/// When the answer comes.
#[derive(Debug)]
pub(super) enum Answer {
    /// This is it.
    Now(AuthenticationOutcome),
    /// As [`Mail::Authenticated`].
    Later,
}

#[derive(Debug)]
struct Provider {
    authenticator: Authenticator,
    /// By the listener's name.
    allow_anonymous: HashMap<Arc<str>, AllowAnonymous>,
    /// What clients may do without rules: one for all of them.
    everything: Arc<Access>,
}

#[derive(Debug)]
struct Question {
    asker: Asker,
    peer: Peer,
    request: AuthenticationRequest,
}

impl Authentication {
    /// Starts the threads.
    pub(super) fn start(
        authenticator: Authenticator,
        listeners: &[Listener],
        mailboxes: &Arc<[Mailbox]>,
    ) -> io::Result<Self> {
        let by_name = |listener: &Listener| Some((listener.label().into(), listener.allow_anonymous?));
        let allow_anonymous = listeners.iter().filter_map(by_name).collect();
        let everything = Arc::new(Access::everything());
        let provider = Arc::new(Provider { authenticator, allow_anonymous, everything });
        let (queue, questions) = sync_channel(QUESTIONS_MAX);
        let questions = Arc::new(Mutex::new(questions));
        let cores = thread::available_parallelism()?.get();
        for number in 0..(cores / 2).clamp(1, THREADS_MAX) {
            let (provider, questions, mailboxes) =
                (Arc::clone(&provider), Arc::clone(&questions), Arc::clone(mailboxes));
            thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || answer_questions(&provider, &questions, &mailboxes))?;
        }
        Ok(Self { provider, queue })
    }

    /// Asks whether a client may connect.
    pub(super) fn ask(&self, asker: Asker, peer: &Peer, request: AuthenticationRequest) -> Answer {
        if !self.provider.needs_hashing(peer, &request) {
            return Answer::Now(self.provider.answer(peer, &request));
        }
        match self.queue.try_send(Question { asker, peer: peer.clone(), request }) {
            Ok(()) => Answer::Later,
            Err(_) => Answer::Now(refused(ReasonCode::ServerBusy, "too many passwords wait to be verified")),
        }
    }

    /// What a client may do by the rules as they are and the name that it proved when it connected; nothing, if nobody may by
    /// that name any more.
    pub(super) fn access_of(&self, client_id: &ClientId, verified_user: Option<&str>) -> Arc<Access> {
        let credentials = Credentials {
            client_id: client_id.as_str(),
            user_name: None,
            password: None,
            address: None,
            certificate_identity: verified_user,
            allow_anonymous: Some(AllowAnonymous::Always),
        };
        let access = self.provider.authenticator.authenticate(&credentials);
        self.provider.share(access.unwrap_or_else(|_| Access::new(Vec::new())))
    }

    /// Reads the password and ACL files again. After an error everything stays as it was.
    pub(super) fn reload(&self) -> Result<(), AuthError> {
        self.provider.authenticator.reload()
    }
}

impl Provider {
    fn credentials<'a>(&self, peer: &'a Peer, request: &'a AuthenticationRequest) -> Credentials<'a> {
        Credentials {
            client_id: request.client_id.as_str(),
            user_name: request.user_name.as_deref(),
            password: request.password.as_deref(),
            address: peer.address.map(|address| address.ip()),
            certificate_identity: peer.certificate_identity.as_deref(),
            allow_anonymous: self.allow_anonymous.get(&peer.listener).copied(),
        }
    }

    fn needs_hashing(&self, peer: &Peer, request: &AuthenticationRequest) -> bool {
        request.method.is_none() && self.authenticator.needs_hashing(&self.credentials(peer, request))
    }

    fn share(&self, access: Access) -> Arc<Access> {
        if access == *self.everything { Arc::clone(&self.everything) } else { Arc::new(access) }
    }

    fn answer(&self, peer: &Peer, request: &AuthenticationRequest) -> AuthenticationOutcome {
        if request.method.is_some() {
            return refused(ReasonCode::BadAuthenticationMethod, "no such Authentication Method");
        }
        let credentials = self.credentials(peer, request);
        let is_password_verified = self.authenticator.needs_hashing(&credentials);
        let access = match self.authenticator.authenticate(&credentials) {
            Ok(access) => self.share(access),
            Err(refusal) => return refused(refusal.reason_code(), &refusal.to_string()),
        };
        let user_name = || request.user_name.as_deref().map(Arc::from);
        let verified_user = peer.certificate_identity.clone().or_else(|| user_name().filter(|_| is_password_verified));
        let user = verified_user.clone().or_else(user_name);
        AuthenticationOutcome::Granted { access, user, verified_user, authentication_data: None }
    }
}

fn refused(reason_code: ReasonCode, cause: &str) -> AuthenticationOutcome {
    AuthenticationOutcome::Refused { reason_code, cause: cause.into() }
}

/// Until nobody can ask any more.
fn answer_questions(provider: &Provider, questions: &Mutex<Receiver<Question>>, mailboxes: &[Mailbox]) {
    loop {
        let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Question { asker, peer, request }) = question else { return };
        let outcome = provider.answer(&peer, &request);
        if let Some(mailbox) = mailboxes.get(usize::from(asker.shard.0)) {
            mailbox.put(Mail::Authenticated { connection: asker.connection, outcome });
        }
    }
}

/// At 50 ms each these are about a minute's work for one thread: who comes later is told to come again.
const QUESTIONS_MAX: usize = 1_024;
/// Each may need 46 MB while it hashes.
const THREADS_MAX: usize = 4;
