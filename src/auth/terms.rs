//! What the settings say about who may connect.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::anonymous::AllowedAnonymous;
use super::mounts::Mounts;
use crate::config::{self, Listener, ProviderKind, Security};

/// What the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) security: Security,
    /// The providers, in order: those that apply without `[[auth]]`, if there is none; and then those of single listeners.
    pub(super) providers: Vec<config::Provider>,
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

impl Terms {
    pub(super) fn new(security: &Security, auth: &[config::Provider], listeners: &[Listener]) -> Self {
        let takes_identities = |listener: &&Listener| listener.has_certificate_identity();
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
