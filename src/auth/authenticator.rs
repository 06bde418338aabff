use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytestring::ByteString;

use super::account::Account;
use super::chain::Step;
use super::error::AuthError;
use super::files::Files;
use super::fingerprint::Fingerprint;
use super::job::Stage;
use super::jwt::{Jwks, JwtProvider};
use super::loaded::{Generation, Judge, Loaded};
use super::mounts::Mounted;
use super::provider::{Cost, Provider, Refusal, Request, Verdict};
use super::remote::Figures;
use super::scram::DecoySecret;
use super::terms::Terms;
use super::verified::Verified;
use crate::codec::{ClientId, ReasonCode};
use crate::config::{self, Listener, OnPasswordChange, Security};
use crate::routing::{Access, RuleSource};
use crate::topic::{MountPoint, TopicName};

/// Authenticates clients. Its settings and files can be reloaded while it is in use.
#[derive(Debug)]
pub struct Authenticator {
    /// The key of all fingerprints, the same for every load.
    key: RandomState,
    verified: Arc<Verified>,
    /// For all loads, too.
    decoys: Arc<DecoySecret>,
    loaded: ArcSwap<Loaded>,
    /// Held during a reload: of two at once, the later one reads the files after the earlier one has applied them.
    reloading: Mutex<()>,
}

/// What the current files say about a client that was accepted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// It stays connected, with this access.
    Stays(Arc<Access>),
    /// The file of its provider doesn't have its user any more. Its Session has this access.
    UserRemoved(Arc<Access>),
    /// Its user has another password there, and `on_password_change` is `close`. Its Session has this access.
    PasswordChanged(Arc<Access>),
    /// Its token was verified with another key, or by other settings. Its Session has this access.
    TokenVoid(Arc<Access>),
    /// The service that accepted it has other settings. Its Session has this access.
    ServiceChanged(Arc<Access>),
    /// Its listener has no such provider any more. Its Session has this access.
    ProviderRemoved(Arc<Access>),
    /// Its listener has another name now, so that its rules are not known. Its Session has this access.
    ListenerRenamed(Arc<Access>),
}

/// What a client may do by the current files, and whether it is accepted at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its access rights once it is accepted.
    pub access: Arc<Access>,
    /// Why it is not accepted; `None`: it is, with the right credentials.
    pub refusal: Option<&'static str>,
    /// What else decides whether it is accepted, or as whom.
    pub note: Option<&'static str>,
    /// The line that makes its user a superuser, to whom no rule applies.
    pub superuser: Option<Arc<RuleSource>>,
    /// Whether some listeners have rules of their own, and none was asked about.
    pub is_without_listener: bool,
}

impl Standing {
    const fn of(access: Arc<Access>) -> Self {
        Self { access, refusal: None, note: None, superuser: None, is_without_listener: false }
    }
}

const UNKNOWN_LISTENER: &str = "there is no listener of this name";
const UNKNOWN_USER: &str = "the files of the providers have no such user, so no client is accepted under this name";
const NO_PROVIDER: &str = "no provider verifies user names, so no client is accepted under one";
const NO_ANONYMOUS: &str = "anonymous clients are not accepted (allow_anonymous is never)";
const LOCAL_ANONYMOUS: &str =
    "as an anonymous client, which is accepted from this machine only (allow_anonymous is loopback)";
const UNVERIFIED_LOCAL: &str = "as an anonymous client, because nothing verifies user names, which is accepted from this machine only (allow_anonymous is loopback)";
const UNVERIFIED: &str = "as an anonymous client, because nothing verifies user names";
const BY_CERTIFICATE: &str = "if its certificate has this name";
const BY_TOKEN: &str = "if its token has this name; topics in the token replace these rules";
const BY_TOKEN_WITHOUT_TOPICS: &str = "if its token has this name";
const BY_TOKEN_OR_CERTIFICATE: &str =
    "if its token or its certificate has this name; topics in the token replace these rules";
const ALSO_BY_TOKEN: &str = "with its password; topics in a token with this name replace these rules";

const BY_SERVICE: &str = "if a service accepts it under this name; topics that the service grants replace these rules";
const ALSO_BY_SERVICE: &str = "with its password; topics that a service grants to this name replace these rules";
const NEEDS_SERVICE: Refusal = Refusal::new(ReasonCode::ServerUnavailable, "a service decides");

impl Authenticator {
    /// Reads the files for the first time. An invalid line is an error.
    ///
    /// # Errors
    /// A file can't be read, or has an invalid line or an unusable key.
    pub fn new(security: &Security, auth: &[config::Provider], listeners: &[Listener]) -> Result<Self, AuthError> {
        let (key, verified, decoys) = (RandomState::new(), Arc::new(Verified::new()), Arc::new(DecoySecret::new()));
        let terms = Terms::new(security, auth, listeners);
        let files = Files::read(&terms, &key, None)?;
        let loaded = Loaded::new(Generation::of(0), terms, files, (&key, &verified, &decoys));
        Ok(Self { key, verified, decoys, loaded: ArcSwap::from_pointee(loaded), reloading: Mutex::new(()) })
    }

    /// Reads the files again, and starts a new generation. After an error, the previous contents stay in force.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn reload(&self) -> Result<(), AuthError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.loaded.load_full();
        let terms = before.terms.clone();
        let files = Files::read(&terms, &self.key, Some(&before.files))?;
        self.apply(terms, files);
        Ok(())
    }

    /// Applies other settings, reads the files that they name, and starts a new generation. After an error, the previous settings and
    /// contents stay in force; only what the listeners say for themselves applies, because they are there.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn reload_with(
        &self,
        security: &Security,
        auth: &[config::Provider],
        listeners: &[Listener],
    ) -> Result<(), AuthError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let terms = Terms::new(security, auth, listeners);
        let before = self.loaded.load_full();
        let result = Files::read(&terms, &self.key, Some(&before.files));
        match result {
            Ok(files) => {
                self.apply(terms, files);
                Ok(())
            }
            Err(error) => {
                let terms = before.terms.with_listeners(listeners);
                if terms != before.terms {
                    self.apply(terms, before.files.clone());
                }
                Err(error)
            }
        }
    }

    fn apply(&self, terms: Terms, files: Files) {
        let next = self.generation().next();
        self.loaded.store(Arc::new(Loaded::new(next, terms, files, (&self.key, &self.verified, &self.decoys))));
    }

    /// A sentence for each file that has no users or no rules, because no client can use it, and for each weak secret. No sentence names a
    /// user.
    pub fn notes(&self) -> Vec<String> {
        self.loaded.load().files.notes.clone()
    }

    /// The current generation.
    pub fn generation(&self) -> Generation {
        self.loaded.load().generation
    }

    /// What is in force.
    pub(super) fn loaded(&self) -> arc_swap::Guard<Arc<Loaded>> {
        self.loaded.load()
    }

    /// Authenticates a client, and returns the generation used. Blocks as long as the provider that decides blocks. A client whose provider
    /// asks a service is refused: only a [`Pool`](super::Pool) asks one.
    pub fn authenticate(&self, request: &Request) -> (Verdict, Generation) {
        let (step, generation) = self.step(request, None, Cost::Blocking);
        let verdict = match step {
            Step::Decided(verdict) => verdict,
            Step::Pending(_) => Verdict::Refuse(NEEDS_SERVICE),
        };
        (verdict, generation)
    }

    /// Authenticates a client by the current generation without blocking. `None`: the decision needs a provider that blocks or asks a service.
    pub fn authenticate_at_once(&self, request: &Request) -> Option<Verdict> {
        match self.step(request, None, Cost::Immediate).0 {
            Step::Decided(verdict) => Some(verdict),
            Step::Pending(_) => None,
        }
    }

    /// Asks the providers of the current generation from `stage`, if that is of the same generation, and from the first one otherwise.
    pub(super) fn step(&self, request: &Request, stage: Option<Stage>, affordable: Cost) -> (Step, Generation) {
        let loaded = self.loaded.load_full();
        let from = stage.filter(|stage| stage.generation == loaded.generation).map_or(0, |stage| stage.at);
        (loaded.chain(request).run(request, from, affordable), loaded.generation)
    }

    /// The provider at a stage; `None`: the generation is over.
    pub(super) fn provider(&self, request: &Request, stage: Stage) -> Option<Arc<dyn Provider>> {
        let loaded = self.loaded.load();
        let is_current = stage.generation == loaded.generation;
        loaded.chain(request).provider(stage.at).filter(|_| is_current).cloned()
    }

    /// The key sets of the providers of tokens, by the name of the provider.
    pub(super) fn key_sets(&self) -> Vec<(ByteString, Arc<Jwks>)> {
        self.loaded.load().tokens().filter_map(JwtProvider::key_set).collect()
    }

    /// The counters of the services, by the name of the provider.
    pub(super) fn remote_figures(&self) -> Vec<(ByteString, Arc<Figures>)> {
        let loaded = self.loaded.load();
        loaded.services().map(|remote| (remote.name().clone(), Arc::clone(remote.figures()))).collect()
    }

    /// Whether a connected client of `listener` would have another mount point than `current` if it connected now. `user` is its verified
    /// user name.
    pub fn moves(
        &self,
        (client_id, listener): (&ClientId, &str),
        user: Option<&str>,
        current: Option<&MountPoint>,
    ) -> bool {
        self.loaded.load().terms.mounts.moves(Mounted { listener, user, client_id }, current)
    }

    /// The access rights by the current files of a client that was accepted in an earlier run, or that an operator names. `user` is the owner
    /// of its Session. A user that no provider can verify any more has none.
    ///
    /// The topics in the token of an earlier run are not stored. Until its client connects with another token, the Session gets everything
    /// that it has subscribed to, and its Will, which was allowed when it was accepted, may be published. Nothing is delivered that the
    /// client may not receive, because what is in its queue is judged again by the token with which it connects; and nothing is lost that
    /// it may receive.
    pub fn access(&self, client_id: &ClientId, user: Option<Account<'_>>) -> Arc<Access> {
        self.access_at(client_id, user, (None, None))
    }

    /// The same. `at`: the listener of the last connection of the Session, if it is known; and the topic, if there is only one.
    pub(super) fn access_at(
        &self,
        client_id: &ClientId,
        user: Option<Account<'_>>,
        at: (Option<&str>, Option<&TopicName>),
    ) -> Arc<Access> {
        let loaded = self.loaded.load();
        let rules = &loaded.files.rules;
        let by_rules = || loaded.access_away(client_id, user, at);
        let Some(user) = user.filter(|user| !user.is_own()) else { return by_rules() };
        let undecided = || Arc::new(Access::undecided());
        match user.provider {
            Some(provider) => match loaded.judge(provider) {
                Some(judge) if judge.has_user(user.name) == Some(false) => rules.nothing(),
                Some(Judge::Password(_) | Judge::Scram(_) | Judge::Certificate(_)) => by_rules(),
                Some(Judge::Jwt(provider)) if provider.reads_topics() => undecided(),
                Some(Judge::Remote(provider)) if provider.grants_topics() => undecided(),
                Some(Judge::Jwt(_) | Judge::Remote(_)) => by_rules(),
                None => rules.nothing(),
            },
            None if loaded.has_password(user.name) || loaded.trusts_certificates() || loaded.verifies_nothing() => {
                by_rules()
            }
            None if loaded.grants_topics() => undecided(),
            None if loaded.tokens().next().is_some() || loaded.services().next().is_some() => by_rules(),
            None => rules.nothing(),
        }
    }

    /// The access rights by the current files of a Session without connection, which has had `current` since its client was connected or
    /// since the start.
    pub fn away(&self, client_id: &ClientId, user: Option<Account<'_>>, current: &Arc<Access>) -> Arc<Access> {
        let loaded = self.loaded.load();
        let judge = user.and_then(|user| user.provider).and_then(|provider| loaded.judge(provider));
        match judge {
            Some(Judge::Jwt(provider)) if provider.reads_topics() && current.is_granted() => Arc::clone(current),
            Some(Judge::Remote(provider)) if provider.grants_topics() && current.is_granted() => Arc::clone(current),
            Some(Judge::Jwt(_) | Judge::Remote(_)) => loaded.access_away(client_id, user, (current.listener(), None)),
            Some(Judge::Certificate(_) | Judge::Password(_) | Judge::Scram(_)) | None => {
                self.access_at(client_id, user, (current.listener(), None))
            }
        }
    }

    /// Whether an anonymous client that was accepted by this listener would be accepted again.
    pub fn keeps_anonymous(&self, listener: &str, is_local: bool) -> bool {
        self.loaded.load().terms.allowed_anonymous.keeps(listener, is_local)
    }

    /// What the current files say about a client, whether it is connected or not, at the listeners without providers and rules of their own.
    /// `user` is the name that it sends, or that its certificate or its token has.
    pub fn standing(&self, client_id: &ClientId, user: Option<&str>) -> Standing {
        let loaded = self.loaded.load();
        let is_without_listener = loaded.has_listener_rules();
        let standing = Self::standing_in(&loaded.shared(), client_id, user);
        Standing { is_without_listener, ..loaded.mounted(standing, "", client_id, user) }
    }

    /// The same at one listener.
    pub fn standing_at(&self, listener: &str, client_id: &ClientId, user: Option<&str>) -> Standing {
        let loaded = self.loaded.load();
        match loaded.at(listener) {
            Some(at) => at.mounted(Self::standing_in(&at, client_id, user), listener, client_id, user),
            None => Standing { refusal: Some(UNKNOWN_LISTENER), ..Standing::of(loaded.files.rules.nothing()) },
        }
    }

    /// The same by these settings and files, with the line that makes the user a superuser.
    fn standing_in(loaded: &Loaded, client_id: &ClientId, user: Option<&str>) -> Standing {
        let standing = Self::rights_in(loaded, client_id, user);
        let is_superuser = standing.access.is_superuser();
        let superuser = if is_superuser { loaded.files.rules.superuser_line(user) } else { None };
        Standing { superuser, ..standing }
    }

    fn rights_in(loaded: &Loaded, client_id: &ClientId, user: Option<&str>) -> Standing {
        let of_rules = |note| Standing { note, ..Standing::of(loaded.files.rules.access(client_id, user)) };
        let refused = |refusal| Standing { refusal: Some(refusal), ..Standing::of(loaded.files.rules.nothing()) };
        let has_tokens = loaded.tokens().next().is_some();
        let has_topics = loaded.tokens().any(|provider| provider.reads_topics());
        let has_service = loaded.services().next().is_some();
        match user {
            Some(name) if has_service && loaded.has_password(name) => of_rules(Some(ALSO_BY_SERVICE)),
            Some(_) if has_service => of_rules(Some(BY_SERVICE)),
            Some(name) if loaded.has_password(name) => of_rules(has_topics.then_some(ALSO_BY_TOKEN)),
            Some(_) if has_tokens && loaded.trusts_certificates() => of_rules(Some(BY_TOKEN_OR_CERTIFICATE)),
            Some(_) if has_topics => of_rules(Some(BY_TOKEN)),
            Some(_) if has_tokens => of_rules(Some(BY_TOKEN_WITHOUT_TOPICS)),
            Some(_) if loaded.trusts_certificates() => of_rules(Some(BY_CERTIFICATE)),
            Some(_) if loaded.judges().any(|judge| judge.has_user("").is_some()) => refused(UNKNOWN_USER),
            Some(_) if loaded.terms.is_explicit => refused(NO_PROVIDER),
            Some(_) | None => {
                let (refusal, note) = match (loaded.terms.allowed_anonymous.policies(), user) {
                    ([false, false], _) => (Some(NO_ANONYMOUS), None),
                    ([false, true], None) => (None, Some(LOCAL_ANONYMOUS)),
                    ([false, true], Some(_)) => (None, Some(UNVERIFIED_LOCAL)),
                    ([true, _], None) => (None, None),
                    ([true, _], Some(_)) => (None, Some(UNVERIFIED)),
                };
                Standing { refusal, note, ..Standing::of(loaded.files.rules.access(client_id, None)) }
            }
        }
    }

    /// What the current files say about a connected client of `listener`, which has the access rights `current`. `user` is the owner of its
    /// Session, and `proof` what it was accepted by.
    pub fn renew(
        &self,
        (client_id, listener): (&ClientId, &str),
        user: Option<Account<'_>>,
        proof: Option<Fingerprint>,
        current: &Arc<Access>,
    ) -> Renewal {
        if let Some(user) = user.filter(Account::is_own) {
            return Renewal::Stays(self.access_of_own(client_id, user.name));
        }
        let loaded = self.loaded.load();
        let rules = loaded.rules_of(listener);
        let by_rules = || rules.access(client_id, user.map(|user| user.name));
        let is_renamed = loaded.has_listener_rules() && loaded.is_unknown(listener) && !current.is_granted();
        let stays = |access| match is_renamed {
            true => Renewal::ListenerRenamed(Arc::clone(current)),
            false => Renewal::Stays(access),
        };
        let Some((user, provider)) = user.and_then(|user| Some((user, user.provider?))) else {
            return stays(by_rules());
        };
        let closes = loaded.terms.security.on_password_change == OnPasswordChange::Close;
        let of_line = |line: Option<Fingerprint>| match line {
            None => Renewal::UserRemoved(rules.nothing()),
            Some(_) if proof != line && closes => Renewal::PasswordChanged(by_rules()),
            Some(_) => stays(by_rules()),
        };
        let judge = loaded.judge(provider).filter(|_| loaded.is_asked(listener, provider));
        match judge {
            None if loaded.judge(provider).is_some() => Renewal::ProviderRemoved(Arc::clone(current)),
            None => Renewal::ProviderRemoved(rules.nothing()),
            Some(Judge::Certificate(_)) => stays(by_rules()),
            Some(Judge::Password(provider)) => of_line(provider.fingerprint(user.name)),
            Some(Judge::Scram(provider)) => of_line(provider.fingerprint(user.name)),
            Some(Judge::Jwt(provider)) => {
                let access = if current.is_granted() { Arc::clone(current) } else { by_rules() };
                match proof == Some(provider.fingerprint()) {
                    true => stays(access),
                    false => Renewal::TokenVoid(access),
                }
            }
            Some(Judge::Remote(provider)) => {
                let access = if current.is_granted() { Arc::clone(current) } else { by_rules() };
                match proof == Some(provider.fingerprint()) {
                    true => stays(access),
                    false => Renewal::ServiceChanged(access),
                }
            }
        }
    }
}
