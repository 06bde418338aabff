//! Whose a Session is, and who else gets it.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;

/// A user whose name a provider verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedUser {
    /// The name of the provider, such as `password`. The same name verified by another provider is another user.
    pub provider: ByteString,
    /// The user name.
    pub name: Arc<str>,
}

/// The owner of a Session: only its CONNECT gets the Session, its subscriptions and its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// All clients without a verified user name together.
    Anonymous,
    /// The owner is not known: an earlier version stored the Session, without an owner, for a client that was not verified.
    Unknown,
    /// A user.
    User(Arc<User>),
}

/// A user that owns Sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// The provider that verified the name; `None`: the first that verifies it becomes part of the owner. That is so for a Session that an
    /// operator gave to a user, or that an earlier version stored.
    pub provider: Option<ByteString>,
    /// The user name.
    pub name: Arc<str>,
}

/// What happens to an anonymous Session when a verified user connects with its Client Identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnonymousSessions {
    /// It ends: an anonymous client may have prepared it for the user.
    #[default]
    End,
    /// It becomes the user's.
    Adopt,
}

/// What a CONNECT does to the Session that exists with its Client Identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Succession {
    /// The Session is the client's.
    Keep,
    /// The Session becomes the client's.
    Adopt,
    /// The Session ends.
    End,
    /// The Session belongs to someone else: the CONNECT is refused.
    Refuse,
}

impl Owner {
    /// The owner of the Sessions of a client, by the user that a provider verified.
    pub fn of(user: Option<VerifiedUser>) -> Self {
        match user {
            Some(VerifiedUser { provider, name }) => Self::User(Arc::new(User { provider: Some(provider), name })),
            None => Self::Anonymous,
        }
    }

    /// A user by name, whichever provider verifies it first.
    pub fn named(name: Arc<str>) -> Self {
        Self::User(Arc::new(User { provider: None, name }))
    }

    /// From the fields of a record. A record of an earlier version has no provider.
    pub(in crate::broker) fn from_stored(user: Option<Arc<str>>, provider: Option<&str>) -> Self {
        match (user, provider) {
            (Some(name), provider) => Self::User(Arc::new(User { provider: provider.map(ByteString::from), name })),
            (None, Some(_)) => Self::Anonymous,
            (None, None) => Self::Unknown,
        }
    }

    /// The verified user name.
    pub fn user(&self) -> Option<&Arc<str>> {
        match self {
            Self::User(user) => Some(&user.name),
            Self::Anonymous | Self::Unknown => None,
        }
    }

    /// The name of the provider; [`ANONYMOUS`] for anonymous clients. `None`: it is not known.
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::User(user) => user.provider.as_deref(),
            Self::Anonymous => Some(ANONYMOUS),
            Self::Unknown => None,
        }
    }

    /// What a CONNECT of `claimant` does to a Session of this owner. `claimant` is known.
    pub(in crate::broker) fn succession(&self, claimant: &Self, anonymous: AnonymousSessions) -> Succession {
        match (self, claimant) {
            (Self::Anonymous, Self::User(_)) => match anonymous {
                AnonymousSessions::End => Succession::End,
                AnonymousSessions::Adopt => Succession::Adopt,
            },
            (Self::Unknown, Self::User(_)) => Succession::Adopt,
            (Self::Anonymous | Self::Unknown, Self::Anonymous | Self::Unknown) => Succession::Keep,
            (Self::User(_), Self::Anonymous | Self::Unknown) => Succession::Refuse,
            (Self::User(user), Self::User(other)) => user.succession(other),
        }
    }
}

impl User {
    fn succession(&self, claimant: &Self) -> Succession {
        match &self.provider {
            _ if self.name != claimant.name => Succession::Refuse,
            None => Succession::Adopt,
            provider if *provider == claimant.provider => Succession::Keep,
            Some(_) => Succession::Refuse,
        }
    }
}

/// For a log line.
impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymous clients"),
            Self::Unknown => formatter.write_str("nobody"),
            Self::User(user) => match &user.provider {
                Some(provider) => write!(formatter, "user {:?} ({provider})", &*user.name),
                None => write!(formatter, "user {:?}", &*user.name),
            },
        }
    }
}

/// The name of the provider of anonymous clients.
pub const ANONYMOUS: &str = "anonymous";

#[cfg(test)]
mod tests {
    use super::*;

    fn user(provider: &'static str, name: &str) -> Owner {
        Owner::of(Some(VerifiedUser { provider: provider.into(), name: name.into() }))
    }

    #[test]
    fn every_pair_of_owner_and_client_has_its_succession() {
        use Succession::{Adopt, End, Keep, Refuse};
        let claimants = [Owner::Anonymous, user("password", "a"), user("password", "b"), user("certificate", "a")];
        for (owner, expected) in [
            (Owner::Anonymous, [Keep, End, End, End]),
            (Owner::Unknown, [Keep, Adopt, Adopt, Adopt]),
            (Owner::named("a".into()), [Refuse, Adopt, Refuse, Adopt]),
            (user("password", "a"), [Refuse, Keep, Refuse, Refuse]),
            (user("certificate", "a"), [Refuse, Refuse, Refuse, Keep]),
        ] {
            let found = claimants.each_ref().map(|claimant| owner.succession(claimant, AnonymousSessions::End));
            assert_eq!(found, expected, "{owner}");
            let found = claimants.each_ref().map(|claimant| owner.succession(claimant, AnonymousSessions::Adopt));
            assert_eq!(found, expected.map(|one| if one == End { Adopt } else { one }), "{owner}");
        }
    }

    #[test]
    fn an_owner_is_the_same_after_it_was_stored() {
        for owner in [Owner::Anonymous, Owner::Unknown, Owner::named("a".into()), user("password", "a")] {
            assert_eq!(Owner::from_stored(owner.user().cloned(), owner.provider()), owner);
        }
    }
}
