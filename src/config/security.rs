use std::path::PathBuf;

use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::mount_points::UserMountPoint;
use super::problem::{Problem, unreadable};

/// Authentication and authorization: `[security]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Which clients may connect without authentication.
    pub allow_anonymous: AllowAnonymous,
    /// What happens to the session of an anonymous client when a verified user connects with its client identifier.
    pub anonymous_sessions: AnonymousSessions,
    /// File with user names and password hashes, edited by `oncemq passwd`. Read again at a reload.
    pub password_file: Option<PathBuf>,
    /// File with access rules, in mosquitto's ACL syntax. Read again at a reload.
    pub acl_file: Option<PathBuf>,
    /// What happens to the connections of a user whose password has changed in the password file.
    pub on_password_change: OnPasswordChange,
    /// Whether a retained message is sent to a new subscriber only if its publisher would still be allowed to publish it.
    pub check_retain_source: bool,
    /// The mount points of users, which precede those of their listeners. The first entry whose pattern matches applies.
    pub mount_points: Vec<UserMountPoint>,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            // The broker works for local clients without configuration and is closed to the network.
            allow_anonymous: AllowAnonymous::Loopback,
            // An anonymous client may have prepared the session for the user.
            anonymous_sessions: AnonymousSessions::End,
            // There are no default users.
            password_file: None,
            // Without a file, every accepted client may publish and subscribe to everything.
            acl_file: None,
            // A password is changed because somebody else may know it.
            on_password_change: OnPasswordChange::Close,
            // Who has lost a right has no influence on later subscribers. It is so in mosquitto, too.
            check_retain_source: true,
            mount_points: Vec::new(),
        }
    }
}

/// Which clients may connect without authentication: `"loopback"`, `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowAnonymous {
    /// Clients on this machine: loopback addresses and Unix sockets.
    Loopback,
    /// All clients.
    Always,
    /// No client.
    Never,
}

/// What happens to an anonymous session when a verified user connects with its client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnonymousSessions {
    /// It ends.
    End,
    /// It becomes the user's, with its subscriptions and its queue.
    Adopt,
}

/// What a reload does with the connections of a user whose password has changed: `"close"` or `"keep"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPasswordChange {
    /// They end with 0x87 Not authorized.
    Close,
    /// They stay until they end.
    Keep,
}

impl Security {
    /// Checks what the types do not express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let files =
            [("security.password_file", self.password_file.as_ref()), ("security.acl_file", self.acl_file.as_ref())];
        let unreadable = files.iter().filter_map(|(key, path)| unreadable(key, (*path)?));
        let entries = self.mount_points.iter().enumerate();
        unreadable
            .chain(entries.flat_map(|(place, one)| one.problems(&format!("security.mount_points[{place}]"))))
            .collect()
    }
}

impl Serialize for AllowAnonymous {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Loopback => serializer.serialize_str("loopback"),
            Self::Always => serializer.serialize_bool(true),
            Self::Never => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for AllowAnonymous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AllowAnonymousVisitor)
    }
}

struct AllowAnonymousVisitor;

impl de::Visitor<'_> for AllowAnonymousVisitor {
    type Value = AllowAnonymous;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("\"loopback\", true or false")
    }

    fn visit_bool<E: de::Error>(self, allowed: bool) -> Result<AllowAnonymous, E> {
        Ok(if allowed { AllowAnonymous::Always } else { AllowAnonymous::Never })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AllowAnonymous, E> {
        match text {
            "loopback" => Ok(AllowAnonymous::Loopback),
            "true" => Ok(AllowAnonymous::Always),
            "false" => Ok(AllowAnonymous::Never),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}
