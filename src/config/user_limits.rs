use std::num::{NonZeroU16, NonZeroU32};

use serde::{Deserialize, Serialize};

use super::limits::PACKET_SIZE_MIN;
use super::nearest::nearest;
use super::problem::{Problem, at_least};
use super::value::optional_size;

/// Limits of the clients of some users, in place of those of `[limits]`: one `[[user_limits]]`. The first that names a user applies; what it does
/// not set is as for all clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLimit {
    /// The users: names, and patterns with `*` for any characters and `?` for one. Only users that a provider verified.
    pub users: Vec<String>,
    /// The name of the provider that verifies them; by default any.
    #[serde(default)]
    pub provider: Option<String>,
    /// Maximum number of connections of one of these users, with different Client Identifiers.
    #[serde(default)]
    pub connections_max: Option<usize>,
    /// In place of `limits.client_messages_per_second_max`: for each client of a user by itself.
    #[serde(default)]
    pub client_messages_per_second_max: Option<NonZeroU32>,
    /// In place of `limits.client_bytes_per_second_max`: for each client of a user by itself.
    #[serde(default)]
    pub client_bytes_per_second_max: Option<NonZeroU32>,
    /// In place of `limits.receive_maximum`.
    #[serde(default)]
    pub receive_maximum: Option<NonZeroU16>,
    /// In place of `limits.inflight_messages_max`.
    #[serde(default)]
    pub inflight_messages_max: Option<NonZeroU16>,
    /// In place of `limits.inflight_bytes_max`.
    #[serde(default, with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub inflight_bytes_max: Option<u32>,
    /// In place of `limits.subscriptions_per_session_max`.
    #[serde(default)]
    pub subscriptions_per_session_max: Option<usize>,
    /// In place of `limits.queued_messages_max`.
    #[serde(default)]
    pub queued_messages_max: Option<usize>,
    /// In place of `limits.queued_bytes_max`.
    #[serde(default, with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub queued_bytes_max: Option<u32>,
}

impl UserLimit {
    /// Checks what the types do not express. `key` is the path of this entry, such as `user_limits[0]`; `providers` are the names of the providers
    /// that verify users.
    fn problems(&self, key: &str, providers: &[String]) -> Vec<Problem> {
        let problem = |setting: &str, text: &str| Problem::new(&format!("{key}.{setting}"), text);
        let is_fit = |user: &String| (1..=USER_BYTES_MAX).contains(&user.len());
        let unknown = self.provider.as_deref().filter(|name| !providers.iter().any(|known| known == name));
        let limit = |setting: &str, value: Option<usize>, least| {
            at_least(&format!("{key}.{setting}"), value.unwrap_or(least), least)
        };
        [
            self.users.is_empty().then(|| problem("users", "must have at least one user or pattern")),
            (!self.users.iter().all(is_fit))
                .then(|| problem("users", &format!("must be names or patterns of 1 to {USER_BYTES_MAX} bytes"))),
            unknown.map(|name| {
                let hint = nearest(name, providers.iter());
                let hint = hint.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                problem("provider", &format!("is {name:?}, which is not the name of an [[auth]]{hint}"))
            }),
            limit("connections_max", self.connections_max, 1),
            limit("inflight_bytes_max", self.inflight_bytes_max.map(|bytes| bytes as usize), 1),
            limit("subscriptions_per_session_max", self.subscriptions_per_session_max, 1),
            limit("queued_messages_max", self.queued_messages_max, 1),
            limit("queued_bytes_max", self.queued_bytes_max.map(|bytes| bytes as usize), PACKET_SIZE_MIN),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Checks all entries: what each of them says, and their numbers.
pub(super) fn problems(entries: &[UserLimit], providers: &[String]) -> Vec<Problem> {
    let own = |(index, entry): (usize, &UserLimit)| entry.problems(&format!("user_limits[{index}]"), providers);
    let mut problems: Vec<Problem> = entries.iter().enumerate().flat_map(own).collect();
    if entries.len() > ENTRIES_MAX {
        problems.push(Problem::new("user_limits", &format!("must be at most {ENTRIES_MAX}")));
    }
    let patterns = entries.iter().flat_map(|entry| &entry.users).filter(|user| user.contains(['*', '?'])).count();
    if patterns > PATTERNS_MAX {
        let text = format!("must have at most {PATTERNS_MAX} patterns: each CONNECT is compared with them");
        problems.push(Problem::new("user_limits", &text));
    }
    problems
}

/// The class of a session is a number of 12 bits; 0 is that of all clients.
const ENTRIES_MAX: usize = 4_095;
/// Each CONNECT of a user is compared with the patterns before the entry that has its name.
const PATTERNS_MAX: usize = 1_000;
/// A User Name may be longer, but nobody gives such a name.
const USER_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn entry(user: &str) -> UserLimit {
        UserLimit { users: vec![user.to_owned()], connections_max: Some(1), ..UserLimit::default() }
    }

    fn keys(user_limits: Vec<UserLimit>) -> Vec<String> {
        let config = Config { user_limits, ..Config::default() };
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn an_entry_names_users_and_a_provider_that_there_is() {
        assert_eq!(keys(vec![entry("alice"), entry("sensor-*")]), [""; 0]);
        assert_eq!(keys(vec![entry("")]), ["user_limits[0].users"]);
        assert_eq!(keys(vec![entry(&"a".repeat(USER_BYTES_MAX + 1))]), ["user_limits[0].users"]);
        assert_eq!(keys(vec![entry("a"), UserLimit::default()]), ["user_limits[1].users"]);
        for (provider, expected) in [("password", &[][..]), ("passwords", &["user_limits[0].provider"])] {
            assert_eq!(keys(vec![UserLimit { provider: Some(provider.to_owned()), ..entry("a") }]), expected);
        }
    }

    #[test]
    fn limits_that_permit_nothing_are_a_problem() {
        let all = UserLimit {
            connections_max: Some(0),
            inflight_bytes_max: Some(0),
            subscriptions_per_session_max: Some(0),
            queued_messages_max: Some(0),
            queued_bytes_max: Some(255),
            ..entry("a")
        };
        let names = [
            "connections_max",
            "inflight_bytes_max",
            "subscriptions_per_session_max",
            "queued_messages_max",
            "queued_bytes_max",
        ];
        assert_eq!(keys(vec![all]), names.map(|name| format!("user_limits[0].{name}")));
    }

    #[test]
    fn an_entry_may_set_nothing_to_except_its_users_from_the_following() {
        assert_eq!(keys(vec![UserLimit { connections_max: None, ..entry("admin") }, entry("*")]), [""; 0]);
    }

    #[test]
    fn the_numbers_of_entries_and_of_patterns_are_bounded() {
        assert_eq!(keys(vec![entry("a"); ENTRIES_MAX]), [""; 0]);
        assert_eq!(keys(vec![entry("a"); ENTRIES_MAX + 1]), ["user_limits"]);
        assert_eq!(keys(vec![entry("a*"); PATTERNS_MAX]), [""; 0]);
        assert_eq!(keys(vec![entry("a*"); PATTERNS_MAX + 1]), ["user_limits"]);
    }
}
