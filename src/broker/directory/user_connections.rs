//! With which Client Identifiers each limited user is connected, in all shards together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use crate::broker::owner::User;
use crate::codec::ClientId;

/// The connections of the users that have a limit of them. It has an entry for a user as long as one of its connections is counted.
///
/// Counted are Client Identifiers, because each has one connection: a CONNECT with one of them is admitted at the limit too, since it takes
/// over the connection that there is. So a client that lost its connection comes back before the broker has noticed the loss. For the time of
/// a takeover, an identifier has several connections.
#[derive(Debug, Default)]
pub(in crate::broker) struct UserConnections {
    users: Mutex<HashMap<Arc<User>, Connected, RandomState>>,
}

/// The number of connections with each Client Identifier, at least 1.
type Connected = HashMap<ClientId, u32, RandomState>;

impl UserConnections {
    /// Counts a connection, unless the user is connected with `connections_max` other Client Identifiers: then returns `false`.
    /// [`release`](Self::release) must follow when the connection ends.
    pub(in crate::broker) fn admit(&self, user: &Arc<User>, client_id: &ClientId, connections_max: usize) -> bool {
        let mut users = self.users();
        let connected = users.get(user);
        let has_room =
            connected.is_none_or(|connected| connected.len() < connections_max || connected.contains_key(client_id));
        let is_admitted = has_room && connections_max > 0;
        if is_admitted {
            *users.entry(Arc::clone(user)).or_default().entry(client_id.clone()).or_default() += 1;
        }
        is_admitted
    }

    /// Counts the end of a connection.
    pub(in crate::broker) fn release(&self, user: &Arc<User>, client_id: &ClientId) {
        let mut users = self.users();
        let Some(connected) = users.get_mut(user) else { return };
        if let Some(connections) = connected.get_mut(client_id) {
            *connections -= 1;
            if *connections == 0 {
                connected.remove(client_id);
            }
        }
        if connected.is_empty() {
            users.remove(user);
        }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Arc<User>, Connected, RandomState>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of Client Identifiers with which each user is connected.
    #[cfg(test)]
    pub(in crate::broker) fn counts(&self) -> Vec<(String, usize)> {
        let users = self.users();
        let mut counts: Vec<_> =
            users.iter().map(|(user, connected)| (user.name.to_string(), connected.len())).collect();
        counts.sort();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Arc<User> {
        Arc::new(User { provider: Some("password".into()), name: name.into(), mount_point: None })
    }

    #[test]
    fn a_user_has_so_many_client_identifiers_and_each_may_be_taken_over() {
        let connections = UserConnections::default();
        let admit = |name: &str, client: &str| connections.admit(&user(name), &client.into(), 2);
        assert!(admit("alice", "a") && admit("alice", "b") && !admit("alice", "c"));
        assert!(admit("alice", "a"), "a takeover");
        assert!(admit("bob", "a"), "another user");
        connections.release(&user("alice"), &"a".into());
        assert!(!admit("alice", "c"), "the connection that took over is there");
        connections.release(&user("alice"), &"a".into());
        assert!(admit("alice", "c") && !admit("alice", "a"));
        for (name, client) in [("alice", "b"), ("alice", "c"), ("bob", "a")] {
            connections.release(&user(name), &client.into());
        }
        assert_eq!(connections.counts(), []);
    }

    #[test]
    fn a_refused_connection_leaves_nothing_behind() {
        let connections = UserConnections::default();
        assert!(!connections.admit(&user("alice"), &"a".into(), 0));
        assert_eq!(connections.counts(), []);
        connections.release(&user("alice"), &"a".into());
    }

    #[test]
    fn the_same_name_verified_by_another_provider_is_another_user() {
        let connections = UserConnections::default();
        let other = Arc::new(User { provider: Some("jwt".into()), name: "alice".into(), mount_point: None });
        assert!(connections.admit(&user("alice"), &"a".into(), 1) && connections.admit(&other, &"b".into(), 1));
    }
}
