//! The rules and providers of single listeners.

use std::collections::HashMap;
use std::sync::Arc;

use super::account::Account;
use super::acl_file::AclFile;
use super::authenticator::Authenticator;
use super::files::Files;
use super::loaded::Loaded;
use super::provider::Verdict;
use super::rules::Rules;
use super::terms::Terms;
use crate::codec::ClientId;
use crate::config::ClientIdRule;
use crate::routing::Access;

impl Terms {
    /// The rules of each listener, if one of them has an ACL file of its own. Clients of a listener whose file could not be read may do
    /// nothing.
    pub(super) fn listener_rules(&self, files: &Files) -> HashMap<Arc<str>, Arc<Rules>> {
        let listeners = self.listeners.keys().filter(|_| !self.acl_files.is_empty());
        let rules = listeners.map(|name| {
            let acl = match self.acl_files.get(name) {
                Some(path) => {
                    Some(files.listener_acls.get(path).cloned().unwrap_or_else(|| Arc::new(AclFile::default())))
                }
                None => files.acl.clone(),
            };
            (Arc::clone(name), Arc::new(Rules::at_listener(acl, name)))
        });
        rules.collect()
    }
}

impl Loaded {
    /// The rules for the clients of a listener. One of a listener that has another name now has those for every listener.
    pub(super) fn rules_of(&self, listener: &str) -> &Arc<Rules> {
        self.listener_rules.get(listener).unwrap_or(&self.files.rules)
    }

    /// Whether a listener has rules that others don't have.
    pub(super) fn has_listener_rules(&self) -> bool {
        !self.listener_rules.is_empty()
    }

    /// The access rights by the rules for the Sessions of an owner that are without connection. `listener` is that of its last connection, if
    /// it is known.
    ///
    /// Otherwise the rules are those of the listeners at which the owner can connect, if all these have the same. If they differ, the next
    /// connection decides about what is in the queue, before it is delivered, as it does for a user whose topics are in its token.
    pub(super) fn access_away(
        &self,
        client_id: &ClientId,
        user: Option<Account<'_>>,
        listener: Option<&str>,
    ) -> Arc<Access> {
        let by = |rules: &Rules| rules.access(client_id, user.map(|user| user.name));
        if !self.has_listener_rules() {
            return by(&self.files.rules);
        }
        if let Some(rules) = listener.and_then(|name| self.listener_rules.get(name)) {
            return by(rules);
        }
        let is_possible = |name: &str| match user {
            Some(user) => user.provider.is_none_or(|provider| self.is_asked(name, provider)),
            None => self.terms.allowed_anonymous.accepts_any(name),
        };
        let mut possible = self.listener_rules.iter().filter(|(name, _)| is_possible(name)).map(|(_, rules)| rules);
        let Some(first) = possible.next() else { return by(&self.files.rules) };
        if possible.all(|rules| rules.is_same_as(first)) {
            // Not those of a listener: the next one may be another.
            return first.access_anywhere(client_id, user.map(|user| user.name));
        }
        Arc::new(Access::undecided())
    }

    /// What is in force for the clients of one listener; `None`: there is none of this name.
    pub(super) fn at(&self, listener: &str) -> Option<Self> {
        let (mut terms, mut files) = (self.terms.clone(), self.files.clone());
        terms.is_explicit |= self.terms.listeners.get(listener)?.is_some();
        terms.allowed_anonymous = self.terms.allowed_anonymous.at(listener);
        terms.takes_identities.retain(|taking| &**taking == listener);
        files.rules = Arc::clone(self.rules_of(listener));
        Some(self.restricted(terms, files, |provider| self.is_asked(listener, provider)))
    }

    /// What is in force for the clients of the listeners without providers and rules of their own.
    pub(super) fn shared(&self) -> Self {
        let is_shared = |provider: &str| self.terms.shared().any(|shared| shared.label() == provider);
        self.restricted(self.terms.clone(), self.files.clone(), is_shared)
    }
}

impl Authenticator {
    /// A verdict with the access rights by the rules of the listener and below the mount point of the client, for the Client Identifier that the
    /// client will have. `client_id` is the one that it has sent.
    ///
    /// What a provider has granted stays: it depends on the Client Identifier by [`Request::named`](super::Request::named) alone.
    pub fn complete(&self, verdict: Verdict, (listener, rule): (&str, ClientIdRule), client_id: &ClientId) -> Verdict {
        let Verdict::Accept(mut decision) = verdict else { return verdict };
        let loaded = self.loaded();
        let user = decision.user.as_deref().filter(|_| decision.is_verified);
        let named = user.filter(|_| rule == ClientIdRule::UserName).map(ClientId::from);
        let client_id = named.as_ref().unwrap_or(client_id);
        if !decision.access.is_granted() && (named.is_some() || loaded.has_listener_rules()) {
            decision.access = loaded.rules_of(listener).access(client_id, user);
        }
        loaded.terms.mounts.mount(listener, client_id, decision)
    }
}

#[cfg(test)]
mod tests;
