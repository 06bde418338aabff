//! Limits of the clients of single users, in place of those of all clients.

use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};

use bytestring::ByteString;
use foldhash::fast::FixedState;

use crate::broker::detail::ClientPattern;
use crate::broker::owner::{Owner, User};
use crate::routing::LimitsClass;

/// The limits of some users. What is `None` is as for all clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserLimit {
    /// User names, and patterns of them: `*` stands for any characters, `?` for one.
    pub users: Vec<String>,
    /// The name of the provider that verifies them; `None`: any.
    pub provider: Option<ByteString>,
    /// The greatest number of Client Identifiers with which one of these users is connected, in all shards together. `None`: no limit.
    pub connections_max: Option<usize>,
    /// See [`Settings::client_messages_per_second_max`](super::Settings::client_messages_per_second_max): for each client by itself.
    pub messages_per_second_max: Option<NonZeroU32>,
    /// See [`Settings::client_bytes_per_second_max`](super::Settings::client_bytes_per_second_max): for each client by itself.
    pub bytes_per_second_max: Option<NonZeroU32>,
    /// See [`Settings::receive_maximum`](super::Settings::receive_maximum).
    pub receive_maximum: Option<NonZeroU16>,
    /// See [`Settings::inflight_messages_max`](super::Settings::inflight_messages_max).
    pub inflight_messages_max: Option<NonZeroU16>,
    /// See [`Settings::inflight_bytes_max`](super::Settings::inflight_bytes_max).
    pub inflight_bytes_max: Option<NonZeroUsize>,
    /// See [`Settings::subscriptions_per_session_max`](super::Settings::subscriptions_per_session_max).
    pub subscriptions_per_session_max: Option<usize>,
    /// See [`Settings::queued_messages_max`](super::Settings::queued_messages_max).
    pub queued_messages_max: Option<usize>,
    /// See [`Settings::queued_bytes_max`](super::Settings::queued_bytes_max).
    pub queued_bytes_max: Option<usize>,
}

/// The limits of single users: the first entry that names a user applies.
///
/// They are for users that a provider verified: a User Name alone is a claim, by which anybody could get out of the limits of all clients. The
/// entry of a user is found at its CONNECT and at a reload: by its name in constant time, then by the patterns of the entries before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserLimits {
    entries: Vec<UserLimit>,
    /// The entries that have a name, ascending.
    names: HashMap<String, Vec<usize>, FixedState>,
    /// The patterns, in the order of the entries that have them.
    patterns: Vec<(usize, ClientPattern)>,
    /// See [`limit_bytes`](Self::limit_bytes).
    limit_bytes: bool,
}

/// What is read per second from one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::broker) struct RateLimits {
    pub(in crate::broker) messages: Option<NonZeroU32>,
    pub(in crate::broker) bytes: Option<NonZeroU32>,
}

impl UserLimits {
    /// The greatest number of entries.
    pub const ENTRIES_MAX: usize = LimitsClass::EXCEPTIONS_MAX;

    /// These entries; those beyond [`ENTRIES_MAX`](Self::ENTRIES_MAX) have no effect.
    pub fn new(mut entries: Vec<UserLimit>) -> Self {
        entries.truncate(Self::ENTRIES_MAX);
        let mut names: HashMap<String, Vec<usize>, FixedState> = HashMap::default();
        let mut patterns = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            for user in &entry.users {
                if user.contains(['*', '?']) {
                    patterns.push((index, ClientPattern::new(user.as_str())));
                } else {
                    names.entry(user.clone()).or_default().push(index);
                }
            }
        }
        let limit_bytes = entries.iter().any(|entry| entry.bytes_per_second_max.is_some());
        Self { entries, names, patterns, limit_bytes }
    }

    /// The class of the Sessions of an owner.
    pub(in crate::broker) fn class_of(&self, owner: &Owner) -> LimitsClass {
        match owner {
            Owner::User(_) if owner.is_link() => LimitsClass::LINK,
            Owner::User(user) if !self.entries.is_empty() => self.class_of_user(user),
            Owner::User(_) | Owner::Anonymous | Owner::AnonymousBelow(_) | Owner::Unknown => LimitsClass::GENERAL,
        }
    }

    fn class_of_user(&self, user: &User) -> LimitsClass {
        let is_asked = |index: &usize| {
            let provider = self.entries.get(*index).and_then(|entry| entry.provider.as_ref());
            provider.is_none_or(|provider| user.provider.as_ref() == Some(provider))
        };
        let named = self.names.get(&*user.name).into_iter().flatten().find(|index| is_asked(index)).copied();
        let before = |index: usize| named.is_none_or(|named| index < named);
        let mut candidates = self.patterns.iter().take_while(|(index, _)| before(*index));
        let matching =
            candidates.find(|(index, pattern)| is_asked(index) && pattern.matches(&user.name)).map(|(index, _)| *index);
        matching.or(named).map_or(LimitsClass::GENERAL, LimitsClass::exception)
    }

    /// The limits of a class, if it is not that of all clients.
    pub(in crate::broker) fn of(&self, class: LimitsClass) -> Option<&UserLimit> {
        self.entries.get(class.index()?)
    }

    /// The classes beside that of all clients.
    pub(in crate::broker) fn classes(&self) -> impl Iterator<Item = LimitsClass> + use<> {
        (0..self.entries.len()).map(LimitsClass::exception)
    }

    /// Whether a client of any of these users has a limit of bytes.
    #[inline]
    pub(in crate::broker) const fn limit_bytes(&self) -> bool {
        self.limit_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::owner::VerifiedUser;

    fn owner(provider: &'static str, name: &str) -> Owner {
        Owner::of(Some(VerifiedUser { provider: provider.into(), name: name.into() }))
    }

    fn entry(users: &[&str], provider: Option<&'static str>) -> UserLimit {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        UserLimit { users, provider: provider.map(ByteString::from_static), ..UserLimit::default() }
    }

    #[test]
    fn the_first_entry_that_names_a_verified_user_applies() {
        let limits = UserLimits::new(vec![
            entry(&["alice"], Some("jwt")),
            entry(&["sensor-*", "bob"], None),
            entry(&["alice", "sensor-7"], None),
            entry(&["*"], None),
        ]);
        for (provider, name, expected) in [
            ("jwt", "alice", 0),
            ("password", "alice", 2),
            ("password", "bob", 1),
            ("jwt", "sensor-7", 1),
            ("jwt", "sensor-", 1),
            ("jwt", "carol", 3),
        ] {
            assert_eq!(limits.class_of(&owner(provider, name)).index(), Some(expected), "{provider} {name}");
        }
        for nobody in [Owner::Anonymous, Owner::Unknown] {
            assert_eq!(limits.class_of(&nobody), LimitsClass::GENERAL);
        }
        assert_eq!(limits.class_of(&Owner::named("alice".into())).index(), Some(2), "its provider is not known");
    }

    #[test]
    fn without_an_entry_the_limits_are_those_of_all_clients() {
        for limits in [UserLimits::default(), UserLimits::new(vec![entry(&["a*"], None)])] {
            assert_eq!(limits.class_of(&owner("password", "b")), LimitsClass::GENERAL);
            assert!(limits.of(LimitsClass::GENERAL).is_none());
        }
    }

    #[test]
    fn more_entries_than_there_are_classes_have_no_effect() {
        let entries = (0..5_000).map(|number| entry(&[&format!("u{number}")], None)).collect();
        let limits = UserLimits::new(entries);
        assert_eq!(limits.classes().count(), UserLimits::ENTRIES_MAX);
        let last = UserLimits::ENTRIES_MAX - 1;
        assert_eq!(limits.class_of(&owner("p", &format!("u{last}"))).index(), Some(last));
        assert_eq!(limits.class_of(&owner("p", &format!("u{}", last + 1))), LimitsClass::GENERAL);
    }

    proptest! {
        #[test]
        fn the_look_up_finds_what_a_search_in_order_finds(
            users in prop::collection::vec(prop::collection::vec("[ab]{1,2}|[ab]\\*|\\*|\\?b", 1..4), 0..8),
            providers in prop::collection::vec(prop::option::of(prop::sample::select(vec!["p", "q"])), 8),
            name in "[ab]{1,3}",
        ) {
            let entries: Vec<UserLimit> = users
                .iter()
                .zip(providers)
                .map(|(users, provider)| UserLimit {
                    users: users.clone(),
                    provider: provider.map(ByteString::from_static),
                    ..UserLimit::default()
                })
                .collect();
            let expected = entries.iter().position(|entry| {
                let is_asked = entry.provider.as_ref().is_none_or(|provider| provider == "p");
                is_asked && entry.users.iter().any(|user| ClientPattern::new(user.as_str()).matches(&name))
            });
            let found = UserLimits::new(entries).class_of(&owner("p", &name)).index();
            prop_assert_eq!(found, expected);
        }
    }
}
