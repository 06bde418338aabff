//! What the files say that the settings name.

use std::collections::HashMap;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::acl_file::AclFile;
use super::error::AuthError;
use super::jwt::{Jwks, TokenKey};
use super::password_file::PasswordFile;
use super::remote::{PostgreSql, Service, http_service};
use super::rules::Rules;
use super::scram::ScramFile;
use super::terms::Terms;
use crate::config::{self, ProviderKind, Security};

/// What the files say.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// That of each provider, by its name.
    pub(super) proofs: HashMap<String, ProofFile>,
    pub(super) rules: Arc<Rules>,
    pub(super) acl: Option<Arc<AclFile>>,
    /// Those of single listeners.
    pub(super) listener_acls: HashMap<PathBuf, Arc<AclFile>>,
    pub(super) notes: Vec<String>,
}

/// The file of a provider.
#[derive(Debug, Clone)]
pub(super) enum ProofFile {
    /// It has none.
    None,
    Passwords(Arc<PasswordFile>),
    Key(Arc<TokenKey>),
    Scram(Arc<ScramFile>),
    KeySet(Arc<Jwks>),
    Service(Arc<Service>),
}

impl Files {
    /// Reads the files that the settings name. `key` is that of all fingerprints, and `before` what is in force until now.
    pub(super) fn read(terms: &Terms, key: &RandomState, before: Option<&Self>) -> Result<Self, AuthError> {
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
        (key, before): (&RandomState, Option<&Files>),
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
                let before = before.and_then(|files| files.proofs.get(provider.label())?.key_set());
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
                let before = before.and_then(|files| files.proofs.get(provider.label())?.service());
                Ok(Self::Service(PostgreSql::service(provider, (key, before))?))
            }
            ProviderKind::Http => {
                let before = before.and_then(|files| files.proofs.get(provider.label())?.service());
                Ok(Self::Service(http_service(provider, (key, before))?))
            }
        }
    }
}
