use std::sync::Arc;

use arc_swap::ArcSwap;

use super::acl_file::AclFile;
use super::anonymous::{AllowedAnonymous, AnonymousProvider};
use super::certificate::CertificateProvider;
use super::chain::Chain;
use super::error::AuthError;
use super::password::PasswordProvider;
use super::password_file::PasswordFile;
use super::provider::{Provider, Request, Verdict};
use super::rules::Rules;
use super::verified::Verified;
use crate::codec::ClientId;
use crate::config::{Listener, Security};
use crate::routing::Access;

/// Authenticates clients. Its files can be reloaded while it is in use.
#[derive(Debug)]
pub struct Authenticator {
    security: Security,
    allowed_anonymous: AllowedAnonymous,
    verified: Arc<Verified>,
    loaded: ArcSwap<Loaded>,
}

/// Identifies one load of the files. A reload creates the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

/// The contents of the files at the last load.
#[derive(Debug)]
struct Loaded {
    generation: Generation,
    chain: Chain,
    rules: Arc<Rules>,
    notes: Vec<String>,
}

impl Authenticator {
    /// Reads the files for the first time. An invalid line is an error.
    pub fn new(security: &Security, listeners: &[Listener]) -> Result<Self, AuthError> {
        let allowed_anonymous = AllowedAnonymous::new(security, listeners);
        let verified = Arc::new(Verified::new());
        let loaded = Loaded::read(security, &allowed_anonymous, &verified, Generation(0))?;
        Ok(Self { security: security.clone(), allowed_anonymous, verified, loaded: ArcSwap::from_pointee(loaded) })
    }

    /// Reads the files again, and starts a new generation. After an error, the previous contents stay in force.
    pub fn reload(&self) -> Result<(), AuthError> {
        let next = Generation(self.generation().0 + 1);
        let loaded = Loaded::read(&self.security, &self.allowed_anonymous, &self.verified, next)?;
        self.loaded.store(loaded.into());
        Ok(())
    }

    /// What an operator should know about the files: each that lets nobody in, and names no one.
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

    /// The access rights of an authenticated client by the current rules. `user` is its name if that was verified.
    pub fn access(&self, client_id: &ClientId, user: Option<&str>) -> Arc<Access> {
        self.loaded.load().rules.access(client_id, user)
    }
}

impl Loaded {
    /// Reads the files that `security` names, and builds the chain: certificate, password file if there is one, anonymous.
    fn read(
        security: &Security,
        allowed_anonymous: &AllowedAnonymous,
        verified: &Arc<Verified>,
        generation: Generation,
    ) -> Result<Self, AuthError> {
        let passwords = security.password_file.as_deref().map(PasswordFile::read).transpose()?;
        let acl = security.acl_file.as_deref().map(AclFile::read).transpose()?;
        let mut notes = Vec::new();
        if let (Some(path), Some(false)) = (&security.password_file, passwords.as_ref().map(PasswordFile::has_users)) {
            notes.push(format!("{}: has no users: no client can log in with a password", path.display()));
        }
        if let (Some(path), Some(false)) = (&security.acl_file, acl.as_ref().map(AclFile::has_rules)) {
            notes.push(format!("{}: has no rules: no client may publish or subscribe to anything", path.display()));
        }
        let rules = Arc::new(Rules::new(acl));
        let mut providers: Vec<Box<dyn Provider>> = vec![Box::new(CertificateProvider::new(Arc::clone(&rules)))];
        if let Some(passwords) = passwords {
            providers.push(Box::new(PasswordProvider::new(passwords, Arc::clone(&rules), Arc::clone(verified))));
        }
        providers.push(Box::new(AnonymousProvider::new(allowed_anonymous.clone(), Arc::clone(&rules))));
        Ok(Self { generation, chain: Chain::new(providers), rules, notes })
    }
}
