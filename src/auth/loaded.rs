//! What is in force since a load: the settings, the contents of the files, and the providers made of both.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;

use bytestring::ByteString;

use super::acl_file::AclFile;
use super::anonymous::{AllowedAnonymous, AnonymousProvider, Unjudged};
use super::certificate::CertificateProvider;
use super::chain::Chain;
use super::error::AuthError;
use super::jwt::{Jwks, JwtProvider, Keys, TokenKey};
use super::password::{PasswordProvider, UnknownUsers};
use super::password_file::PasswordFile;
use super::provider::{Provider, Request};
use super::remote::{PostgreSql, Remote, Service, http_service};
use super::rules::Rules;
use super::unavailable::UnavailableProvider;
use super::verified::Verified;
use crate::config::{self, Listener, ProviderKind, Security};

/// Identifies one load of the files. A reload creates the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    pub(super) const fn of(number: u64) -> Self {
        Self(number)
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The settings and the contents of the files at the last load.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) generation: Generation,
    pub(super) terms: Terms,
    pub(super) files: Files,
    /// In the order of the configuration.
    providers: Vec<Named>,
    chain: Chain,
    /// Those of listeners with their own, by the name of the listener.
    chains: HashMap<Arc<str>, Chain>,
}

/// A provider and its name.
#[derive(Debug)]
struct Named {
    name: ByteString,
    judge: Judge,
}

/// A provider, by its kind.
#[derive(Debug)]
pub(super) enum Judge {
    Certificate(Arc<CertificateProvider>),
    Password(Arc<PasswordProvider>),
    Jwt(Arc<JwtProvider>),
    /// Any provider that asks a service.
    Remote(Arc<Remote>),
}

/// What the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) security: Security,
    /// The providers, in order; those that apply without `[[auth]]`, if there is none.
    providers: Vec<config::Provider>,
    /// Whether there is an `[[auth]]`.
    pub(super) is_explicit: bool,
    pub(super) allowed_anonymous: AllowedAnonymous,
    /// The names of the providers of each listener, by its name; `None`: all.
    listeners: HashMap<Arc<str>, Option<Vec<String>>>,
    /// Whether a listener takes user names from certificates.
    takes_identities: bool,
}

/// What the files say.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// That of each provider, in the same order.
    proofs: Vec<ProofFile>,
    pub(super) rules: Arc<Rules>,
    pub(super) notes: Vec<String>,
}

/// The file of a provider.
#[derive(Debug, Clone)]
enum ProofFile {
    /// It has none.
    None,
    Passwords(Arc<PasswordFile>),
    Key(Arc<TokenKey>),
    KeySet(Arc<Jwks>),
    Service(Arc<Service>),
}

impl Loaded {
    pub(super) fn new(
        generation: Generation,
        terms: Terms,
        files: Files,
        (key, verified): (&RandomState, &Arc<Verified>),
    ) -> Self {
        let unknown = if terms.is_explicit { UnknownUsers::Abstain } else { UnknownUsers::Refuse };
        let pairs = terms.providers.iter().zip(&files.proofs);
        let named = pairs.map(|(settings, file)| {
            let (name, rules) = (ByteString::from(settings.label()), Arc::clone(&files.rules));
            let judge = match file {
                ProofFile::None => Judge::Certificate(Arc::new(CertificateProvider::new(name.clone(), rules))),
                ProofFile::Passwords(file) => {
                    let (file, memory) = ((Arc::clone(file), unknown), (key.clone(), Arc::clone(verified)));
                    Judge::Password(Arc::new(PasswordProvider::new(name.clone(), file, memory, rules)))
                }
                ProofFile::Key(file) => {
                    let keys = Keys::File(Arc::clone(file));
                    Judge::Jwt(Arc::new(JwtProvider::new(settings, keys, key, rules)))
                }
                ProofFile::KeySet(keys) => {
                    let keys = Keys::Url(Arc::clone(keys));
                    Judge::Jwt(Arc::new(JwtProvider::new(settings, keys, key, rules)))
                }
                ProofFile::Service(service) => {
                    Judge::Remote(Arc::new(Remote::new(name.clone(), Arc::clone(service), rules)))
                }
            };
            Named { name, judge }
        });
        let providers: Vec<Named> = named.collect();
        let last =
            |unjudged| AnonymousProvider::new(terms.allowed_anonymous.clone(), Arc::clone(&files.rules), unjudged);
        let unjudged = if terms.is_explicit { Unjudged::Refuse } else { Unjudged::Accept };
        let chain = chain(providers.iter().map(|named| named.judge.provider()), last(unjudged));
        let own = |(listener, names): (&Arc<str>, &Option<Vec<String>>)| {
            let judges = names.as_ref()?.iter().map(|name| match providers.iter().find(|named| named.name == **name) {
                Some(named) => named.judge.provider(),
                None => Arc::new(UnavailableProvider),
            });
            Some((Arc::clone(listener), self::chain(judges, last(Unjudged::Refuse))))
        };
        let chains = terms.listeners.iter().filter_map(own).collect();
        Self { generation, terms, files, providers, chain, chains }
    }

    /// The chain that judges a client.
    pub(super) fn chain(&self, request: &Request) -> &Chain {
        self.chains.get(&request.listener).unwrap_or(&self.chain)
    }

    /// The provider with this name.
    pub(super) fn judge(&self, name: &str) -> Option<&Judge> {
        self.providers.iter().find(|named| named.name == name).map(|named| &named.judge)
    }

    /// All providers.
    pub(super) fn judges(&self) -> impl Iterator<Item = &Judge> {
        self.providers.iter().map(|named| &named.judge)
    }

    /// Whether the clients of a listener are judged by the provider with this name. One of a listener that has another name now is.
    pub(super) fn is_asked(&self, listener: &str, name: &str) -> bool {
        let own = self.terms.listeners.get(listener).and_then(Option::as_ref);
        own.is_none_or(|names| names.iter().any(|own| own == name))
    }

    /// Whether a password file has this user.
    pub(super) fn has_password(&self, user: &str) -> bool {
        self.judges().any(|judge| matches!(judge, Judge::Password(provider) if provider.has_user(user)))
    }

    /// Whether a certificate can verify a user name.
    pub(super) fn trusts_certificates(&self) -> bool {
        self.terms.takes_identities && self.judges().any(|judge| matches!(judge, Judge::Certificate(_)))
    }

    /// The providers of tokens.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &JwtProvider> {
        self.judges().filter_map(|judge| match judge {
            Judge::Jwt(provider) => Some(&**provider),
            Judge::Certificate(_) | Judge::Password(_) | Judge::Remote(_) => None,
        })
    }

    /// The providers that ask a service.
    pub(super) fn services(&self) -> impl Iterator<Item = &Remote> {
        self.judges().filter_map(|judge| match judge {
            Judge::Remote(provider) => Some(&**provider),
            Judge::Certificate(_) | Judge::Password(_) | Judge::Jwt(_) => None,
        })
    }

    /// Whether a provider may say which topics a client may use.
    pub(super) fn grants_topics(&self) -> bool {
        self.tokens().any(JwtProvider::reads_topics) || self.services().any(Remote::grants_topics)
    }

    /// The file of the provider with this name.
    fn file(&self, name: &str) -> Option<&ProofFile> {
        let mut pairs = self.terms.providers.iter().zip(&self.files.proofs);
        pairs.find(|(settings, _)| settings.label() == name).map(|(_, file)| file)
    }

    /// Whether nothing verifies user names, so that they count as those of anonymous clients.
    pub(super) fn verifies_nothing(&self) -> bool {
        !self.terms.is_explicit && !self.judges().any(|judge| matches!(judge, Judge::Password(_)))
    }
}

impl Judge {
    fn provider(&self) -> Arc<dyn Provider> {
        match self {
            Self::Certificate(provider) => Arc::<CertificateProvider>::clone(provider),
            Self::Password(provider) => Arc::<PasswordProvider>::clone(provider),
            Self::Jwt(provider) => Arc::<JwtProvider>::clone(provider),
            Self::Remote(provider) => Arc::<Remote>::clone(provider),
        }
    }
}

fn chain(providers: impl Iterator<Item = Arc<dyn Provider>>, last: AnonymousProvider) -> Chain {
    let last: Arc<dyn Provider> = Arc::new(last);
    Chain::new(providers.chain([last]).collect())
}

impl Terms {
    pub(super) fn new(security: &Security, auth: &[config::Provider], listeners: &[Listener]) -> Self {
        let takes_identities = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.identity_as_user_name);
        let own = |listener: &Listener| (Arc::from(&*listener.label()), listener.auth.clone());
        Self {
            security: security.clone(),
            providers: providers(security, auth),
            is_explicit: !auth.is_empty(),
            allowed_anonymous: AllowedAnonymous::new(security, listeners),
            listeners: listeners.iter().map(own).collect(),
            takes_identities: listeners.iter().any(takes_identities),
        }
    }

    /// The same with other listeners.
    pub(super) fn with_listeners(&self, listeners: &[Listener]) -> Self {
        let auth = if self.is_explicit { &*self.providers } else { &[] };
        Self::new(&self.security, auth, listeners)
    }
}

/// The providers that apply: without `[[auth]]`, certificates and the password file if one is set.
fn providers(security: &Security, auth: &[config::Provider]) -> Vec<config::Provider> {
    if !auth.is_empty() {
        return auth.to_vec();
    }
    let password_file = security.password_file.as_ref().map(|_| ProviderKind::PasswordFile);
    [ProviderKind::Certificate].into_iter().chain(password_file).map(config::Provider::new).collect()
}

impl Files {
    /// Reads the files that the settings name. `key` is that of all fingerprints, and `before` what is in force until now.
    pub(super) fn read(terms: &Terms, key: &RandomState, before: Option<&Loaded>) -> Result<Self, AuthError> {
        let (security, mut notes) = (&terms.security, Vec::new());
        let mut proofs = Vec::new();
        for provider in &terms.providers {
            proofs.push(ProofFile::read(security, provider, &mut notes, (key, before))?);
        }
        let acl = security.acl_file.as_deref().map(AclFile::read).transpose()?;
        if let (Some(path), Some(false)) = (&security.acl_file, acl.as_ref().map(AclFile::has_rules)) {
            notes.push(format!("{}: has no rules: no client may publish or subscribe to anything", path.display()));
        }
        Ok(Self { proofs, rules: Arc::new(Rules::new(acl)), notes })
    }
}

impl ProofFile {
    fn key_set(&self) -> Option<&Arc<Jwks>> {
        if let Self::KeySet(keys) = self { Some(keys) } else { None }
    }

    fn service(&self) -> Option<&Arc<Service>> {
        if let Self::Service(service) = self { Some(service) } else { None }
    }

    fn read(
        security: &Security,
        provider: &config::Provider,
        notes: &mut Vec<String>,
        (key, before): (&RandomState, Option<&Loaded>),
    ) -> Result<Self, AuthError> {
        match provider.kind {
            ProviderKind::Certificate => Ok(Self::None),
            ProviderKind::PasswordFile => {
                let path = provider.file.as_ref().or(security.password_file.as_ref());
                // The validation of the configuration has found one.
                let Some(path) = path else { return Ok(Self::Passwords(Arc::new(PasswordFile::empty()))) };
                let file = PasswordFile::read(path)?;
                if !file.has_users() {
                    notes.push(format!("{}: has no users: no client can log in with a password", path.display()));
                }
                Ok(Self::Passwords(Arc::new(file)))
            }
            ProviderKind::Jwt if provider.jwks_url.is_some() => {
                let before = before.and_then(|loaded| loaded.file(provider.label())?.key_set());
                Ok(Self::KeySet(Jwks::new(provider, (key, before))?))
            }
            ProviderKind::Jwt => {
                let key = TokenKey::read(provider)?;
                notes.extend(key.note());
                Ok(Self::Key(Arc::new(key)))
            }
            ProviderKind::PostgreSql => {
                let before = before.and_then(|loaded| loaded.file(provider.label())?.service());
                Ok(Self::Service(PostgreSql::service(provider, (key, before))?))
            }
            ProviderKind::Http => {
                let before = before.and_then(|loaded| loaded.file(provider.label())?.service());
                Ok(Self::Service(http_service(provider, (key, before))?))
            }
        }
    }
}
