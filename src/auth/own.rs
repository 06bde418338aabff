//! The users of the broker's own clients, such as bridges: no provider of the configuration verifies them.

use std::sync::Arc;

use super::account::Account;
use super::authenticator::Authenticator;
use crate::codec::ClientId;
use crate::routing::Access;

/// Whether this provider stands for the broker's own clients. A name in the configuration has no `$`, so no client from outside has a user of
/// such a provider.
pub fn is_own_provider(name: &str) -> bool {
    name.starts_with('$')
}

impl Account<'_> {
    /// Whether the user is one of the broker's own clients.
    pub(super) fn is_own(&self) -> bool {
        self.provider.is_some_and(is_own_provider)
    }
}

impl Authenticator {
    /// The access rights of a client of the broker's own: those of `user` in the ACL file; without one, everything. No listener and no mount
    /// point applies to it.
    pub fn access_of_own(&self, client_id: &ClientId, user: &str) -> Arc<Access> {
        self.loaded().files.rules.access(client_id, Some(user))
    }
}

#[cfg(test)]
mod tests {
    use super::super::authenticator::Renewal;
    use super::super::tests::file;
    use super::*;
    use crate::config::{Listener, Provider, ProviderKind, Security};
    use crate::topic::TopicName;

    fn topic(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    #[test]
    fn an_own_client_has_the_rules_of_its_user_connected_or_not_whatever_the_listeners_say() {
        let acl = file("user cloud\ntopic a/#\n");
        let security = Security { acl_file: Some(acl.to_path_buf()), ..Security::default() };
        let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
        let other = file("topic x/#\n");
        (listener.name, listener.acl_file) = (Some("front".to_owned()), Some(other.to_path_buf()));
        listener.mount_point = Some("m/".to_owned());
        let auth = [Provider::new(ProviderKind::Certificate)];
        let authenticator = Authenticator::new(&security, &auth, &[listener]).unwrap();
        let client_id = ClientId::from("$bridge/cloud");
        let account = Some(Account { name: "cloud", provider: Some("$bridge") });
        let connected = authenticator.access_of_own(&client_id, "cloud");
        let away = authenticator.access(&client_id, account);
        let away_again = authenticator.away(&client_id, account, &connected);
        let Renewal::Stays(renewed) = authenticator.renew((&client_id, "bridge cloud"), account, None, &connected)
        else {
            panic!("revoked")
        };
        for access in [connected, away, away_again, renewed] {
            assert!(access.publish(&topic("a/b")).is_ok());
            assert!(access.publish(&topic("x/b")).is_err());
            assert!(access.mount_point().is_none());
        }
        let foreign = Some(Account { name: "cloud", provider: Some("bridge") });
        assert!(authenticator.access(&client_id, foreign).publish(&topic("a/b")).is_err(), "no such provider");
    }
}
