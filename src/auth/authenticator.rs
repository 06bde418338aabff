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

/// Authenticates clients. Its files can be reloaded while it is in use.
#[derive(Debug)]
pub struct Authenticator {
    security: Security,
    allowed_anonymous: AllowedAnonymous,
    /// The key of all fingerprints, the same for every load.
    key: RandomState,
    /// Whether a listener takes user names from certificates.
    trusts_certificates: bool,
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

/// The contents of the files at the last load.
#[derive(Debug)]
struct Loaded {
    generation: Generation,
    chain: Chain,
    /// `None`: no password file is set.
    passwords: Option<Arc<PasswordFile>>,
    rules: Arc<Rules>,
    notes: Vec<String>,
}

impl Authenticator {
    /// Reads the files for the first time. An invalid line is an error.
    pub fn new(security: &Security, listeners: &[Listener]) -> Result<Self, AuthError> {
        let allowed_anonymous = AllowedAnonymous::new(security, listeners);
        let key = RandomState::new();
        let verified = Arc::new(Verified::new());
        let loaded = Loaded::read(security, &allowed_anonymous, (&key, &verified), Generation(0))?;
        let is_named = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.identity_as_user_name);
        Ok(Self {
            security: security.clone(),
            allowed_anonymous,
            key,
            trusts_certificates: listeners.iter().any(is_named),
            verified,
            loaded: ArcSwap::from_pointee(loaded),
            reloading: Mutex::new(()),
        })
    }

    /// Reads the files again, and starts a new generation. After an error, the previous contents stay in force.
    pub fn reload(&self) -> Result<(), AuthError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Generation(self.generation().0 + 1);
        let loaded = Loaded::read(&self.security, &self.allowed_anonymous, (&self.key, &self.verified), next)?;
        self.loaded.store(loaded.into());
        Ok(())
    }

    /// A sentence for each file that has no users or no rules, because no client can use it. No sentence names a user.
    pub fn notes(&self) -> Vec<String> {
        self.loaded.load().notes.clone()
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
        let is_unknown = |user| loaded.passwords.as_ref().is_some_and(|file| !file.has_user(user));
        if !self.trusts_certificates && user.is_some_and(is_unknown) {
            return loaded.rules.nothing();
        }
        loaded.rules.access(client_id, user)
    }

    /// What the current files say about a client, whether it is connected or not. `user` is the name that it sends, or that its certificate has.
    pub fn standing(&self, client_id: &ClientId, user: Option<&str>) -> Standing {
        let loaded = self.loaded.load();
        let by_password = |user| loaded.passwords.as_ref().is_some_and(|file| file.has_user(user));
        match user {
            Some(name) if by_password(name) => Standing::of(self.access(client_id, user)),
            Some(_) if self.trusts_certificates => {
                Standing { note: Some(BY_CERTIFICATE), ..Standing::of(self.access(client_id, user)) }
            }
            Some(_) if loaded.passwords.is_some() => {
                Standing { refusal: Some(UNKNOWN_USER), ..Standing::of(loaded.rules.nothing()) }
            }
            Some(_) | None => {
                let (refusal, note) = match (self.allowed_anonymous.policies(), user) {
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
            return Renewal::Stays(self.loaded.load().rules.access(client_id, user));
        };
        let loaded = self.loaded.load();
        let current = loaded.passwords.as_ref().and_then(|file| file.fingerprint(user, &self.key));
        match current {
            None => Renewal::UserRemoved(loaded.rules.nothing()),
            Some(current) if current != password && self.security.on_password_change == OnPasswordChange::Close => {
                Renewal::PasswordChanged(loaded.rules.access(client_id, Some(user)))
            }
            Some(_) => Renewal::Stays(loaded.rules.access(client_id, Some(user))),
        }
    }
}

impl Loaded {
    /// Reads the files that `security` names, and builds the chain: certificate, password file if there is one, anonymous.
    fn read(
        security: &Security,
        allowed_anonymous: &AllowedAnonymous,
        (key, verified): (&RandomState, &Arc<Verified>),
        generation: Generation,
    ) -> Result<Self, AuthError> {
        let passwords = security.password_file.as_deref().map(PasswordFile::read).transpose()?.map(Arc::new);
        let acl = security.acl_file.as_deref().map(AclFile::read).transpose()?;
        let mut notes = Vec::new();
        if let (Some(path), Some(false)) = (&security.password_file, passwords.as_ref().map(|file| file.has_users())) {
            notes.push(format!("{}: has no users: no client can log in with a password", path.display()));
        }
        if let (Some(path), Some(false)) = (&security.acl_file, acl.as_ref().map(AclFile::has_rules)) {
            notes.push(format!("{}: has no rules: no client may publish or subscribe to anything", path.display()));
        }
        let rules = Arc::new(Rules::new(acl));
        let mut providers: Vec<Box<dyn Provider>> = vec![Box::new(CertificateProvider::new(Arc::clone(&rules)))];
        if let Some(passwords) = &passwords {
            let provider =
                PasswordProvider::new(Arc::clone(passwords), key.clone(), Arc::clone(&rules), Arc::clone(verified));
            providers.push(Box::new(provider));
        }
        providers.push(Box::new(AnonymousProvider::new(allowed_anonymous.clone(), Arc::clone(&rules))));
        Ok(Self { generation, chain: Chain::new(providers), passwords, rules, notes })
    }
}
