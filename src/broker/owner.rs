//! Whose a Session is, and who else gets it.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;

use crate::routing::PublishRight;
pub use crate::routing::User;
use crate::topic::MountPoint;

/// A user whose name a provider verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedUser {
    /// The name of the provider, such as `password`. The same name verified by another provider is another user.
    pub provider: ByteString,
    /// The user name.
    pub name: Arc<str>,
}

/// The owner of a Session: only its CONNECT gets the Session, its subscriptions and its queue. The mount point is a part of the owner, because
/// the subscriptions and the queue have its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// All clients without a verified user name and without a mount point together.
    Anonymous,
    /// All clients without a verified user name that have this mount point together.
    AnonymousBelow(MountPoint),
    /// The owner is not known: an earlier version stored the Session, without an owner, for a client that was not verified.
    Unknown,
    /// A user.
    User(Arc<User>),
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
            Some(VerifiedUser { provider, name }) => {
                Self::User(Arc::new(User { provider: Some(provider), name, mount_point: None }))
            }
            None => Self::Anonymous,
        }
    }

    /// The same with this mount point, or without one. It has no effect on an unknown owner.
    #[must_use]
    pub fn below(self, mount_point: Option<&MountPoint>) -> Self {
        match (self, mount_point) {
            (owner, _) if owner.mount_point() == mount_point => owner,
            (Self::Unknown, _) => Self::Unknown,
            (Self::Anonymous | Self::AnonymousBelow(_), None) => Self::Anonymous,
            (Self::Anonymous | Self::AnonymousBelow(_), Some(mount_point)) => Self::AnonymousBelow(mount_point.clone()),
            (Self::User(user), _) => {
                let User { provider, name, .. } = &*user;
                let (provider, name, mount_point) = (provider.clone(), Arc::clone(name), mount_point.cloned());
                Self::User(Arc::new(User { provider, name, mount_point }))
            }
        }
    }

    /// A user by name, whichever provider verifies it first.
    pub fn named(name: Arc<str>) -> Self {
        Self::User(Arc::new(User { provider: None, name, mount_point: None }))
    }

    /// From the fields of a record. A record of an earlier version has no provider.
    pub(in crate::broker) fn from_stored(
        user: Option<Arc<str>>,
        provider: Option<&str>,
        mount_point: Option<MountPoint>,
    ) -> Self {
        match (user, provider, mount_point) {
            (Some(name), provider, mount_point) => {
                let provider = provider.map(ByteString::from);
                Self::User(Arc::new(User { provider, name, mount_point }))
            }
            (None, _, Some(mount_point)) => Self::AnonymousBelow(mount_point),
            (None, Some(_), None) => Self::Anonymous,
            (None, None, None) => Self::Unknown,
        }
    }

    /// The verified user name.
    pub fn user(&self) -> Option<&Arc<str>> {
        match self {
            Self::User(user) => Some(&user.name),
            Self::Anonymous | Self::AnonymousBelow(_) | Self::Unknown => None,
        }
    }

    /// What is in front of the topics of its clients.
    pub fn mount_point(&self) -> Option<&MountPoint> {
        match self {
            Self::User(user) => user.mount_point.as_ref(),
            Self::AnonymousBelow(mount_point) => Some(mount_point),
            Self::Anonymous | Self::Unknown => None,
        }
    }

    /// The name of the provider; [`ANONYMOUS`] for anonymous clients. `None`: it is not known.
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::User(user) => user.provider.as_deref(),
            Self::Anonymous | Self::AnonymousBelow(_) => Some(ANONYMOUS),
            Self::Unknown => None,
        }
    }

    /// Whether it is a client of the broker's own, such as a bridge: the configuration names no provider with a `$`.
    pub fn is_of_broker(&self) -> bool {
        self.provider().is_some_and(|provider| provider.starts_with('$'))
    }

    /// The name under which what its clients send is counted and compared: the verified user name, or the Client Identifier without one, behind
    /// the mount point and the provider. It is stored with each `dedup-id`. That of the default provider of password files has neither,
    /// as in the stores of earlier versions.
    pub(in crate::broker) fn publisher_name(&self, client_id: &str) -> String {
        let name = match self {
            Self::User(user) => {
                let provider = user.provider.as_deref().filter(|provider| *provider != PASSWORD);
                let provider = provider.map(|provider| format!("{}/{provider}", provider.len())).unwrap_or_default();
                format!("{provider}user/{}", user.name)
            }
            Self::Anonymous | Self::AnonymousBelow(_) | Self::Unknown => format!("client/{client_id}"),
        };
        match self.mount_point().map(MountPoint::as_str) {
            Some(mount_point) => format!("{}/{mount_point}{name}", mount_point.len()),
            None => name,
        }
    }

    /// The client whose [name](Self::publisher_name) this is; `None`: it is that of a user.
    pub(in crate::broker) fn client_of(publisher_name: &str) -> Option<&str> {
        let mut rest = publisher_name;
        // Mount point and provider, each behind its length.
        while let Some((length, behind)) = rest.split_once('/')
            && let Ok(length) = length.parse()
        {
            rest = behind.get(length..)?;
        }
        rest.strip_prefix("client/")
    }

    /// What a retained message keeps of its publisher's owner: the user, and a right that is judged, unless the owner is not known.
    pub(in crate::broker) fn as_source(&self) -> (Option<Arc<User>>, PublishRight) {
        match self {
            Self::User(user) => (Some(Arc::clone(user)), PublishRight::unjudged()),
            Self::Anonymous | Self::AnonymousBelow(_) => (None, PublishRight::unjudged()),
            Self::Unknown => (None, PublishRight::always()),
        }
    }

    /// What a CONNECT of `claimant` does to a Session of this owner. `claimant` is known.
    pub(in crate::broker) fn succession(&self, claimant: &Self, anonymous: AnonymousSessions) -> Succession {
        if self.mount_point() != claimant.mount_point() {
            return self.succession_elsewhere(claimant);
        }
        match (self, claimant) {
            (Self::Anonymous | Self::AnonymousBelow(_), Self::User(_)) => match anonymous {
                AnonymousSessions::End => Succession::End,
                AnonymousSessions::Adopt => Succession::Adopt,
            },
            (Self::Unknown, Self::User(_)) => Succession::Adopt,
            (Self::User(user), Self::User(other)) => user.succession(other),
            (Self::User(_), Self::Anonymous | Self::AnonymousBelow(_) | Self::Unknown) => Succession::Refuse,
            (
                Self::Anonymous | Self::AnonymousBelow(_) | Self::Unknown,
                Self::Anonymous | Self::AnonymousBelow(_) | Self::Unknown,
            ) => Succession::Keep,
        }
    }

    /// What a CONNECT of a claimant with another mount point does: nobody gets the Session, because its topics are not those of the claimant.
    /// Only the user itself ends its Session, whose mount point has changed or who comes by another listener; and every verified user ends an
    /// anonymous Session without a mount point, as without mount points.
    fn succession_elsewhere(&self, claimant: &Self) -> Succession {
        match (self, claimant) {
            (Self::User(user), Self::User(other)) if user.succession(other) != Succession::Refuse => Succession::End,
            (Self::Anonymous | Self::Unknown, Self::User(_)) => Succession::End,
            _ => Succession::Refuse,
        }
    }
}

impl User {
    /// Without regard to the mount points.
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
            Self::Anonymous | Self::AnonymousBelow(_) => formatter.write_str("anonymous clients")?,
            Self::Unknown => formatter.write_str("nobody")?,
            Self::User(user) => match &user.provider {
                Some(provider) => write!(formatter, "user {:?} ({provider})", &*user.name)?,
                None => write!(formatter, "user {:?}", &*user.name)?,
            },
        }
        match self.mount_point() {
            Some(mount_point) => write!(formatter, " below {:?}", mount_point.as_str()),
            None => Ok(()),
        }
    }
}

/// The name of the provider of anonymous clients.
pub const ANONYMOUS: &str = "anonymous";
/// The default name of the provider of a password file.
const PASSWORD: &str = "password";

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
    fn publishers_with_different_owners_have_different_names() {
        let mount_point = MountPoint::new("a/").unwrap();
        assert_eq!(user("password", "a").publisher_name("c"), "user/a", "as in the stores of earlier versions");
        assert_eq!(Owner::Anonymous.publisher_name("c"), "client/c", "as in the stores of earlier versions");
        let owners = [Owner::Anonymous, user("password", "a"), user("certificate", "a"), user("jwt", "a")];
        let below = owners.clone().map(|owner| owner.below(Some(&mount_point)));
        let names: std::collections::BTreeSet<_> =
            owners.iter().chain(&below).map(|owner| owner.publisher_name("a")).collect();
        assert_eq!(names.len(), 8, "{names:?}");
    }

    #[test]
    fn an_owner_is_the_same_after_it_was_stored() {
        let mount_point = MountPoint::new("a/").unwrap();
        for owner in [Owner::Anonymous, Owner::Unknown, Owner::named("a".into()), user("password", "a")] {
            for owner in [owner.clone(), owner.below(Some(&mount_point))] {
                let mount_point = owner.mount_point().cloned();
                assert_eq!(Owner::from_stored(owner.user().cloned(), owner.provider(), mount_point), owner);
            }
        }
    }

    #[test]
    fn nobody_gets_a_session_with_another_mount_point_and_only_its_own_user_ends_it() {
        use Succession::{Adopt, End, Keep, Refuse};
        let at = |owner: &Owner, mount: &str| owner.clone().below(MountPoint::new(mount).ok().as_ref());
        let (alice, other) = (user("password", "a"), user("certificate", "a"));
        let claimants = [
            Owner::Anonymous,
            at(&Owner::Anonymous, "x/"),
            at(&Owner::Anonymous, "y/"),
            alice.clone(),
            at(&alice, "x/"),
            at(&other, "x/"),
        ];
        for (owner, expected) in [
            (Owner::Anonymous, [Keep, Refuse, Refuse, End, End, End]),
            (Owner::Unknown, [Keep, Refuse, Refuse, Adopt, End, End]),
            (at(&Owner::Anonymous, "x/"), [Refuse, Keep, Refuse, Refuse, End, End]),
            (alice.clone(), [Refuse, Refuse, Refuse, Keep, End, Refuse]),
            (at(&alice, "x/"), [Refuse, Refuse, Refuse, End, Keep, Refuse]),
            (at(&alice, "y/"), [Refuse, Refuse, Refuse, End, End, Refuse]),
            (at(&Owner::named("a".into()), "x/"), [Refuse, Refuse, Refuse, End, Adopt, Adopt]),
        ] {
            let found = claimants.each_ref().map(|claimant| owner.succession(claimant, AnonymousSessions::End));
            assert_eq!(found, expected, "{owner}");
            let found = claimants.each_ref().map(|claimant| owner.succession(claimant, AnonymousSessions::Adopt));
            let adopted = |claimant: &Owner| owner.user().is_none() && owner.mount_point() == claimant.mount_point();
            let expected = std::array::from_fn(|place| match expected[place] {
                End if adopted(&claimants[place]) => Adopt,
                other @ (Keep | Adopt | End | Refuse) => other,
            });
            assert_eq!(found, expected, "{owner}");
        }
    }

    #[test]
    fn the_client_is_in_the_publisher_s_name_unless_a_user_is() {
        let at = |owner: &Owner, mount_point| owner.clone().below(MountPoint::new(mount_point).ok().as_ref());
        for client_id in ["", "a", "1/a", "client/a", "user/a", "3/x/yclient/z", "é"] {
            for name in ["a", "1/a", "client/a", "x/client/a"] {
                for owner in [user("password", name), user("2/client", name), Owner::named(name.into())] {
                    assert_eq!(Owner::client_of(&owner.publisher_name(client_id)), None);
                    assert_eq!(Owner::client_of(&at(&owner, "client/").publisher_name(client_id)), None);
                }
            }
            for owner in [Owner::Anonymous, Owner::Unknown, at(&Owner::Anonymous, "é/user/")] {
                assert_eq!(Owner::client_of(&owner.publisher_name(client_id)), Some(client_id));
            }
        }
    }
}
