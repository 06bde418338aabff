//! What is in force since a load: the settings, the contents of the files, and the providers made of both.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;

use bytestring::ByteString;

use super::anonymous::{AnonymousProvider, Unjudged};
use super::certificate::CertificateProvider;
use super::chain::Chain;
use super::files::{Files, ProofFile};
use super::jwt::{JwtProvider, Keys};
use super::password::{PasswordProvider, UnknownUsers};
use super::provider::{Provider, Request};
use super::remote::Remote;
use super::rules::Rules;
use super::scram::{DecoySecret, ScramDecoy, ScramProvider};
use super::terms::Terms;
use super::unavailable::UnavailableProvider;
use super::verified::Verified;

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
