//! What is in force since a load: the settings, the contents of the files, and the providers made of both.

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytestring::ByteString;

use super::acl_file::AclFile;
use super::anonymous::{AllowedAnonymous, AnonymousProvider, Unjudged};
use super::certificate::CertificateProvider;
use super::chain::Chain;
use super::error::AuthError;
use super::jwt::{Jwks, JwtProvider, Keys, TokenKey};
use super::mounts::Mounts;
use super::password::{PasswordProvider, UnknownUsers};
use super::password_file::PasswordFile;
use super::provider::{Provider, Request};
use super::remote::{PostgreSql, Remote, Service, http_service};
use super::rules::Rules;
use super::scram::{DecoySecret, ScramDecoy, ScramFile, ScramProvider};
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

    /// Its number, which increases with every load.
    pub const fn number(self) -> u64 {
        self.0
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
    /// Those of all listeners, by name, if one of them has its own.
    pub(super) listener_rules: HashMap<Arc<str>, Arc<Rules>>,
}

/// A provider and its name.
#[derive(Debug, Clone)]
struct Named {
    name: ByteString,
    judge: Judge,
}

/// A provider, by its kind.
#[derive(Debug, Clone)]
pub(super) enum Judge {
    Certificate(Arc<CertificateProvider>),
    Password(Arc<PasswordProvider>),
    Jwt(Arc<JwtProvider>),
    Scram(Arc<ScramProvider>),
    /// Any provider that asks a service.
    Remote(Arc<Remote>),
}

/// What the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) security: Security,
    /// The providers, in order: those that apply without `[[auth]]`, if there is none; and then those of single listeners.
    providers: Vec<config::Provider>,
    /// How many of them are for every listener.
    shared: usize,
    /// Whether there is an `[[auth]]`.
    pub(super) is_explicit: bool,
    pub(super) allowed_anonymous: AllowedAnonymous,
    /// The names of the providers of each listener, by its name; `None`: those for every listener.
    pub(super) listeners: HashMap<Arc<str>, Option<Vec<String>>>,
    /// The ACL files of listeners with their own.
    pub(super) acl_files: HashMap<Arc<str>, PathBuf>,
    /// The listeners that take user names from certificates.
    pub(super) takes_identities: HashSet<Arc<str>>,
    pub(super) mounts: Mounts,
}

/// What the files say.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// That of each provider, by its name.
    proofs: HashMap<String, ProofFile>,
    pub(super) rules: Arc<Rules>,
    pub(super) acl: Option<Arc<AclFile>>,
    /// Those of single listeners.
    pub(super) listener_acls: HashMap<PathBuf, Arc<AclFile>>,
    pub(super) notes: Vec<String>,
}

/// The file of a provider.
#[derive(Debug, Clone)]
enum ProofFile {
    /// It has none.
    None,
    Passwords(Arc<PasswordFile>),
    Key(Arc<TokenKey>),
    Scram(Arc<ScramFile>),
    KeySet(Arc<Jwks>),
    Service(Arc<Service>),
}

impl Loaded {
    pub(super) fn new(
        generation: Generation,
        terms: Terms,
        files: Files,
        (key, verified, secret): (&RandomState, &Arc<Verified>, &Arc<DecoySecret>),
    ) -> Self {
        let unknown = if terms.is_explicit { UnknownUsers::Abstain } else { UnknownUsers::Refuse };
        // A provider whose file could not be read is missing, and refuses everyone.
        let pairs = terms.providers.iter().filter_map(|settings| Some((settings, files.proofs.get(settings.label())?)));
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
                ProofFile::Scram(file) => {
                    let keys = (key.clone(), Arc::clone(secret));
                    Judge::Scram(Arc::new(ScramProvider::new(name.clone(), Arc::clone(file), keys, rules)))
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
        let decoy = |names: Option<&[String]>| decoy(&terms, &files, names, secret);
        let shared = terms.shared().map(|settings| judge_of(&providers, settings.label()));
        let chain = chain(shared, last(unjudged), decoy(None));
        let own = |(listener, names): (&Arc<str>, &Option<Vec<String>>)| {
            let judges = names.as_ref()?.iter().map(|name| judge_of(&providers, name));
            Some((Arc::clone(listener), self::chain(judges, last(Unjudged::Refuse), decoy(names.as_deref()))))
        };
        let chains = terms.listeners.iter().filter_map(own).collect();
        let listener_rules = terms.listener_rules(&files);
        Self { generation, terms, files, providers, chain, chains, listener_rules }
    }

    /// The same without some providers and with other settings, to look things up and not to judge clients.
    pub(super) fn restricted(&self, terms: Terms, files: Files, keeps: impl Fn(&str) -> bool) -> Self {
        let providers = self.providers.iter().filter(|named| keeps(&named.name)).cloned().collect();
        let (chain, chains) = (Chain::new(Vec::new()), HashMap::new());
        let listener_rules = self.listener_rules.clone();
        Self { generation: self.generation, terms, files, providers, chain, chains, listener_rules }
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
        match self.terms.listeners.get(listener) {
            None => true,
            Some(None) => self.terms.shared().any(|shared| shared.label() == name),
            Some(Some(names)) => names.iter().any(|own| own == name),
        }
    }

    /// Whether a file of passwords or of SCRAM credentials has this user.
    pub(super) fn has_password(&self, user: &str) -> bool {
        self.judges().any(|judge| judge.has_user(user) == Some(true))
    }

    /// Whether a certificate can verify a user name.
    pub(super) fn trusts_certificates(&self) -> bool {
        !self.terms.takes_identities.is_empty() && self.judges().any(|judge| matches!(judge, Judge::Certificate(_)))
    }

    /// The providers of tokens.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &JwtProvider> {
        self.judges().filter_map(|judge| match judge {
            Judge::Jwt(provider) => Some(&**provider),
            Judge::Certificate(_) | Judge::Password(_) | Judge::Scram(_) | Judge::Remote(_) => None,
        })
    }

    /// The providers that ask a service.
    pub(super) fn services(&self) -> impl Iterator<Item = &Remote> {
        self.judges().filter_map(|judge| match judge {
            Judge::Remote(provider) => Some(&**provider),
            Judge::Certificate(_) | Judge::Password(_) | Judge::Jwt(_) | Judge::Scram(_) => None,
        })
    }

    /// Whether a provider may say which topics a client may use.
    pub(super) fn grants_topics(&self) -> bool {
        self.tokens().any(JwtProvider::reads_topics) || self.services().any(Remote::grants_topics)
    }

    /// The file of the provider with this name.
    fn file(&self, name: &str) -> Option<&ProofFile> {
        self.files.proofs.get(name)
    }

    /// Whether nothing verifies user names, so that they count as those of anonymous clients.
    pub(super) fn verifies_nothing(&self) -> bool {
        !self.terms.is_explicit && !self.judges().any(|judge| matches!(judge, Judge::Password(_)))
    }
}

impl Judge {
    /// Whether its file has this user; `None`: it has no file of users.
    pub(super) fn has_user(&self, user: &str) -> Option<bool> {
        match self {
            Self::Password(provider) => Some(provider.has_user(user)),
            Self::Scram(provider) => Some(provider.has_user(user)),
            Self::Certificate(_) | Self::Jwt(_) | Self::Remote(_) => None,
        }
    }

    fn provider(&self) -> Arc<dyn Provider> {
        match self {
            Self::Certificate(provider) => Arc::<CertificateProvider>::clone(provider),
            Self::Password(provider) => Arc::<PasswordProvider>::clone(provider),
            Self::Jwt(provider) => Arc::<JwtProvider>::clone(provider),
            Self::Scram(provider) => Arc::<ScramProvider>::clone(provider),
            Self::Remote(provider) => Arc::<Remote>::clone(provider),
        }
    }
}

/// The provider with this name.
fn judge_of(providers: &[Named], name: &str) -> Arc<dyn Provider> {
    match providers.iter().find(|named| named.name == name) {
        Some(named) => named.judge.provider(),
        None => Arc::new(UnavailableProvider),
    }
}

fn chain(
    providers: impl Iterator<Item = Arc<dyn Provider>>,
    last: AnonymousProvider,
    decoy: Option<Arc<dyn Provider>>,
) -> Chain {
    let last: Arc<dyn Provider> = Arc::new(last);
    Chain::new(providers.chain([last]).chain(decoy).collect())
}

/// Who answers for the users that no SCRAM provider of a chain has; `None`: the chain has no such provider. `names` are the providers of the
/// chain; `None`: all.
fn decoy(
    terms: &Terms,
    files: &Files,
    names: Option<&[String]>,
    secret: &Arc<DecoySecret>,
) -> Option<Arc<dyn Provider>> {
    let is_asked = |name: &str| match names {
        Some(names) => names.iter().any(|asked| asked == name),
        None => terms.shared().any(|shared| shared.label() == name),
    };
    let of_chain = terms.providers.iter().filter_map(|provider| match files.proofs.get(provider.label())? {
        ProofFile::Scram(file) if is_asked(provider.label()) => Some(Arc::clone(file)),
        ProofFile::Scram(_)
        | ProofFile::None
        | ProofFile::Passwords(_)
        | ProofFile::Key(_)
        | ProofFile::KeySet(_)
        | ProofFile::Service(_) => None,
    });
    let files: Vec<_> = of_chain.collect();
    if files.is_empty() { None } else { Some(Arc::new(ScramDecoy::new(files, Arc::clone(secret)))) }
}

impl Terms {
    pub(super) fn new(security: &Security, auth: &[config::Provider], listeners: &[Listener]) -> Self {
        let takes_identities =
            |listener: &&Listener| listener.tls.as_ref().is_some_and(|tls| tls.identity_as_user_name);
        let name = |listener: &Listener| Arc::<str>::from(&*listener.label());
        let mut providers = providers(security, auth);
        let (shared, certificate) = (providers.len(), certificate(&providers));
        let own = |listener: &Listener| (name(listener), provider_names(listener, certificate.as_deref()));
        let acl_file = |listener: &Listener| Some((name(listener), listener.acl_file.clone()?));
        providers.extend(listeners.iter().filter_map(Listener::own_provider));
        Self {
            security: security.clone(),
            providers,
            shared,
            is_explicit: !auth.is_empty(),
            allowed_anonymous: AllowedAnonymous::new(security, listeners),
            listeners: listeners.iter().map(own).collect(),
            acl_files: listeners.iter().filter_map(acl_file).collect(),
            takes_identities: listeners.iter().filter(takes_identities).map(name).collect(),
            mounts: Mounts::new(security, listeners),
        }
    }

    /// The providers for every listener.
    pub(super) fn shared(&self) -> impl Iterator<Item = &config::Provider> {
        self.providers.iter().take(self.shared)
    }

    /// The same with other listeners.
    pub(super) fn with_listeners(&self, listeners: &[Listener]) -> Self {
        let auth: Vec<_> = self.shared().filter(|_| self.is_explicit).cloned().collect();
        Self::new(&self.security, &auth, listeners)
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

/// The name of the provider of certificates.
fn certificate(providers: &[config::Provider]) -> Option<String> {
    let found = providers.iter().find(|provider| provider.kind == ProviderKind::Certificate);
    found.map(|provider| provider.label().to_owned())
}

/// The names of the providers of a listener, if it has its own: `auth`, or certificates and its password file.
fn provider_names(listener: &Listener, certificate: Option<&str>) -> Option<Vec<String>> {
    let Some(own) = listener.own_provider() else { return listener.auth.clone() };
    Some(certificate.into_iter().chain([own.label()]).map(str::to_owned).collect())
}

impl Files {
    /// Reads the files that the settings name. `key` is that of all fingerprints, and `before` what is in force until now.
    pub(super) fn read(terms: &Terms, key: &RandomState, before: Option<&Loaded>) -> Result<Self, AuthError> {
        let (security, mut notes) = (&terms.security, Vec::new());
        let mut proofs = HashMap::new();
        for provider in &terms.providers {
            let proof = ProofFile::read(security, provider, &mut notes, (key, before))?;
            proofs.insert(provider.label().to_owned(), proof);
        }
        let acl = security.acl_file.as_deref().map(|path| read_acl(path, &mut notes)).transpose()?;
        let mut listener_acls = HashMap::new();
        for path in terms.acl_files.values() {
            if !listener_acls.contains_key(path) {
                listener_acls.insert(path.clone(), read_acl(path, &mut notes)?);
            }
        }
        Ok(Self { proofs, rules: Arc::new(Rules::new(acl.clone())), acl, listener_acls, notes })
    }
}

fn read_acl(path: &Path, notes: &mut Vec<String>) -> Result<Arc<AclFile>, AuthError> {
    let acl = AclFile::read(path)?;
    if !acl.has_rules() {
        notes.push(format!("{}: has no rules: no client may publish or subscribe to anything", path.display()));
    }
    Ok(Arc::new(acl))
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
            ProviderKind::Scram => {
                // The validation of the configuration has found one.
                let file = provider.file.as_deref().map(ScramFile::read).transpose()?.unwrap_or_default();
                if file.len() == 0 {
                    notes.push(format!("the provider {} has no users: its file is empty", provider.label()));
                }
                Ok(Self::Scram(Arc::new(file)))
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
