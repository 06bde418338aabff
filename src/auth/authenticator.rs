use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::acl_file::AclFile;
use super::anonymous::{AllowedAnonymous, AnonymousProvider};
use super::certificate::CertificateProvider;
use super::chain::Chain;
use super::error::AuthError;
use super::password::PasswordProvider;
use super::password_file::{Fingerprint, PasswordFile};
use super::provider::{Provider, Request, Verdict};
use super::rules::Rules;
use super::verified::Verified;
use crate::codec::ClientId;
use crate::config::{Listener, OnPasswordChange, Security};
use crate::routing::Access;

/// Authenticates clients. Its settings and files can be reloaded while it is in use.
#[derive(Debug)]
pub struct Authenticator {
    /// The key of all fingerprints, the same for every load.
    key: RandomState,
    verified: Arc<Verified>,
    loaded: ArcSwap<Loaded>,
    /// Held during a reload: of two at once, the later one reads the files after the earlier one has applied them.
    reloading: Mutex<()>,
}

#[cfg(test)]
impl Generation {
    pub(super) const fn of(number: u64) -> Self {
        Self(number)
    }
}

/// What the current files say about a client that was accepted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// It stays connected, with this access.
    Stays(Arc<Access>),
    /// The password file doesn't have its user any more. Its Session has this access.
    UserRemoved(Arc<Access>),
    /// Its user has another password, and `on_password_change` is `close`. Its Session has this access.
    PasswordChanged(Arc<Access>),
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
}

impl Standing {
    const fn of(access: Arc<Access>) -> Self {
        Self { access, refusal: None, note: None }
    }
}

const UNKNOWN_USER: &str = "the password file has no such user, so no client is accepted under this name";
const NO_ANONYMOUS: &str = "anonymous clients are not accepted (allow_anonymous is never)";
const LOCAL_ANONYMOUS: &str =
    "as an anonymous client, which is accepted from this machine only (allow_anonymous is loopback)";
const UNVERIFIED_LOCAL: &str = "as an anonymous client, because nothing verifies user names, which is accepted from this machine only (allow_anonymous is loopback)";
const UNVERIFIED: &str = "as an anonymous client, because nothing verifies user names";
const BY_CERTIFICATE: &str = "if its certificate has this name";

/// Identifies one load of the files. A reload creates the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

/// The settings and the contents of the files at the last load.
#[derive(Debug)]
struct Loaded {
    generation: Generation,
    chain: Chain,
    terms: Terms,
    files: Files,
}

/// What the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    security: Security,
    allowed_anonymous: AllowedAnonymous,
    /// Whether a listener takes user names from certificates.
    trusts_certificates: bool,
}

/// What the files say.
#[derive(Debug, Clone)]
struct Files {
    /// `None`: no password file is set.
    passwords: Option<Arc<PasswordFile>>,
    rules: Arc<Rules>,
    notes: Vec<String>,
}

impl Authenticator {
    /// Reads the files for the first time. An invalid line is an error.
    pub fn new(security: &Security, listeners: &[Listener]) -> Result<Self, AuthError> {
        let (key, verified) = (RandomState::new(), Arc::new(Verified::new()));
        let files = Files::read(security)?;
        let loaded = Loaded::new(Generation(0), Terms::new(security, listeners), files, (&key, &verified));
        Ok(Self { key, verified, loaded: ArcSwap::from_pointee(loaded), reloading: Mutex::new(()) })
    }

    /// Reads the files again, and starts a new generation. After an error, the previous contents stay in force.
    pub fn reload(&self) -> Result<(), AuthError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let terms = self.loaded.load().terms.clone();
        let files = Files::read(&terms.security)?;
        self.apply(terms, files);
        Ok(())
    }

    /// Applies other settings, reads the files that they name, and starts a new generation. After an error, the previous settings and
    /// contents stay in force; only what the listeners say for themselves applies, because they are there.
    pub fn reload_with(&self, security: &Security, listeners: &[Listener]) -> Result<(), AuthError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let result = Files::read(security);
        let before = self.loaded.load_full();
        match result {
            Ok(files) => {
                self.apply(Terms::new(security, listeners), files);
                Ok(())
            }
            Err(error) => {
                let terms = Terms::new(&before.terms.security, listeners);
                if terms != before.terms {
                    self.apply(terms, before.files.clone());
                }
                Err(error)
            }
        }
    }

    fn apply(&self, terms: Terms, files: Files) {
        let next = Generation(self.generation().0 + 1);
        self.loaded.store(Arc::new(Loaded::new(next, terms, files, (&self.key, &self.verified))));
    }

    /// A sentence for each file that has no users or no rules, because no client can use it. No sentence names a user.
    pub fn notes(&self) -> Vec<String> {
        self.loaded.load().files.notes.clone()
    }

    /// The current generation.
    pub fn generation(&self) -> Generation {
        self.loaded.load().generation
    }

    /// Authenticates a client, and returns the generation used. Blocks as long as the provider that decides blocks.
    pub fn authenticate(&self, request: &Request) -> (Verdict, Generation) {
        let loaded = self.loaded.load_full();
        (loaded.chain.authenticate(request), loaded.generation)
    }

    /// Authenticates a client by the current generation without blocking. `None`: the decision needs a provider that blocks.
    pub fn authenticate_at_once(&self, request: &Request) -> Option<Verdict> {
        self.loaded.load().chain.authenticate_at_once(request)
    }

    /// The access rights by the current files of a client that was accepted before, perhaps in an earlier run. `user` is its name if that
    /// was verified. A user that no provider can verify any more has none.
    pub fn access(&self, client_id: &ClientId, user: Option<&str>) -> Arc<Access> {
        let loaded = self.loaded.load();
        let is_unknown = |user| loaded.files.passwords.as_ref().is_some_and(|file| !file.has_user(user));
        if !loaded.terms.trusts_certificates && user.is_some_and(is_unknown) {
            return loaded.files.rules.nothing();
        }
        loaded.files.rules.access(client_id, user)
    }

    /// Whether an anonymous client that was accepted by this listener would be accepted again.
    pub fn keeps_anonymous(&self, listener: &str, is_local: bool) -> bool {
        self.loaded.load().terms.allowed_anonymous.keeps(listener, is_local)
    }

    /// What the current files say about a client, whether it is connected or not. `user` is the name that it sends, or that its certificate has.
    pub fn standing(&self, client_id: &ClientId, user: Option<&str>) -> Standing {
        let loaded = self.loaded.load();
        let by_password = |user| loaded.files.passwords.as_ref().is_some_and(|file| file.has_user(user));
        match user {
            Some(name) if by_password(name) => Standing::of(self.access(client_id, user)),
            Some(_) if loaded.terms.trusts_certificates => {
                Standing { note: Some(BY_CERTIFICATE), ..Standing::of(self.access(client_id, user)) }
            }
            Some(_) if loaded.files.passwords.is_some() => {
                Standing { refusal: Some(UNKNOWN_USER), ..Standing::of(loaded.files.rules.nothing()) }
            }
            Some(_) | None => {
                let (refusal, note) = match (loaded.terms.allowed_anonymous.policies(), user) {
                    ([false, false], _) => (Some(NO_ANONYMOUS), None),
                    ([false, true], None) => (None, Some(LOCAL_ANONYMOUS)),
                    ([false, true], Some(_)) => (None, Some(UNVERIFIED_LOCAL)),
                    ([true, _], None) => (None, None),
                    ([true, _], Some(_)) => (None, Some(UNVERIFIED)),
                };
                Standing { refusal, note, ..Standing::of(self.access(client_id, None)) }
            }
        }
    }

    /// What the current files say about a connected client. `user` is its name if that was verified, and `password` the line of the
    /// password file by which.
    pub fn renew(&self, client_id: &ClientId, user: Option<&str>, password: Option<Fingerprint>) -> Renewal {
        let (Some(user), Some(password)) = (user, password) else {
            return Renewal::Stays(self.loaded.load().files.rules.access(client_id, user));
        };
        let loaded = self.loaded.load();
        let current = loaded.files.passwords.as_ref().and_then(|file| file.fingerprint(user, &self.key));
        match current {
            None => Renewal::UserRemoved(loaded.files.rules.nothing()),
            Some(current)
                if current != password && loaded.terms.security.on_password_change == OnPasswordChange::Close =>
            {
                Renewal::PasswordChanged(loaded.files.rules.access(client_id, Some(user)))
            }
            Some(_) => Renewal::Stays(loaded.files.rules.access(client_id, Some(user))),
        }
    }
}

impl Loaded {
    /// Builds the chain: certificate, password file if there is one, anonymous.
    fn new(
        generation: Generation,
        terms: Terms,
        files: Files,
        (key, verified): (&RandomState, &Arc<Verified>),
    ) -> Self {
        let rules = &files.rules;
        let mut providers: Vec<Box<dyn Provider>> = vec![Box::new(CertificateProvider::new(Arc::clone(rules)))];
        if let Some(passwords) = &files.passwords {
            let provider =
                PasswordProvider::new(Arc::clone(passwords), key.clone(), Arc::clone(rules), Arc::clone(verified));
            providers.push(Box::new(provider));
        }
        providers.push(Box::new(AnonymousProvider::new(terms.allowed_anonymous.clone(), Arc::clone(rules))));
        Self { generation, chain: Chain::new(providers), terms, files }
    }
}

impl Terms {
    fn new(security: &Security, listeners: &[Listener]) -> Self {
        let is_named = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.identity_as_user_name);
        Self {
            security: security.clone(),
            allowed_anonymous: AllowedAnonymous::new(security, listeners),
            trusts_certificates: listeners.iter().any(is_named),
        }
    }
}

impl Files {
    /// Reads the files that `security` names.
    fn read(security: &Security) -> Result<Self, AuthError> {
        let passwords = security.password_file.as_deref().map(PasswordFile::read).transpose()?.map(Arc::new);
        let acl = security.acl_file.as_deref().map(AclFile::read).transpose()?;
        let mut notes = Vec::new();
        if let (Some(path), Some(false)) = (&security.password_file, passwords.as_ref().map(|file| file.has_users())) {
            notes.push(format!("{}: has no users: no client can log in with a password", path.display()));
        }
        if let (Some(path), Some(false)) = (&security.acl_file, acl.as_ref().map(AclFile::has_rules)) {
            notes.push(format!("{}: has no rules: no client may publish or subscribe to anything", path.display()));
        }
        Ok(Self { passwords, rules: Arc::new(Rules::new(acl)), notes })
    }
}
