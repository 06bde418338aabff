//! How much one client can get from a file: its rules are compared with the topic of each message, on the thread of a shard.

use super::super::error::AclCause;
use super::AclFile;

impl AclFile {
    /// Checks the number of rules of each user. The error names the first line that is about the first user with too many.
    pub(super) fn check_bounds(&self) -> Result<(), (usize, AclCause)> {
        let of_everybody = self.patterns.len();
        if self.anonymous.len() + of_everybody > RULES_MAX {
            return Err((1, AclCause::TooManyRules("anonymous clients".to_owned())));
        }
        let count = |user| self.groups_of(user).map(super::Group::len).sum::<usize>() + user.rules.len() + of_everybody;
        let excessive = self.users.iter().filter(|(_, user)| count(user) > RULES_MAX);
        match excessive.min_by_key(|(_, user)| user.line) {
            Some((name, user)) => Err((user.line, AclCause::TooManyRules(format!("the user {name:?}")))),
            None => Ok(()),
        }
    }
}

/// A decision on a PUBLISH takes 0.1 ms with them.
pub(super) const RULES_MAX: usize = 4_096;
