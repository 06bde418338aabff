use std::collections::HashSet;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::routing::user::User;

/// The users that published retained messages, each in one allocation, however often its clients have connected.
///
/// Users without messages leave when the set has doubled. So it has at most twice as many as have retained messages or Sessions, and a few.
#[derive(Debug, Default)]
pub(crate) struct RetainedUsers {
    users: HashSet<Arc<User>, RandomState>,
    /// At this number of users, those without messages leave.
    sweep_at: usize,
}

impl RetainedUsers {
    /// The same user, in the allocation that all its messages share.
    pub(crate) fn intern(&mut self, user: Arc<User>) -> Arc<User> {
        if let Some(known) = self.users.get(&user) {
            return Arc::clone(known);
        }
        if self.users.len() >= self.sweep_at {
            self.users.retain(|user| Arc::strong_count(user) > 1);
            self.sweep_at = (2 * self.users.len()).max(USERS_MIN);
        }
        self.users.insert(Arc::clone(&user));
        user
    }
}

/// So many users are kept in any case.
const USERS_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> Arc<User> {
        Arc::new(User { provider: Some("password".into()), name: number.to_string().into(), mount_point: None })
    }

    #[test]
    fn a_user_has_one_allocation_and_leaves_without_messages() {
        let mut users = RetainedUsers::default();
        let kept: Vec<_> = (0..10).map(|number| users.intern(user(number))).collect();
        for number in 10..10_000 {
            users.intern(user(number));
            assert!(users.users.len() <= USERS_MIN);
        }
        for (number, kept) in kept.iter().enumerate() {
            assert!(Arc::ptr_eq(&users.intern(user(number)), kept));
        }
    }
}
