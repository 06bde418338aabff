use std::path::PathBuf;

use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::problem::{Problem, unreadable};

/// Who may connect, and what they may do: `[security]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Who may connect without proving who they are.
    pub allow_anonymous: AllowAnonymous,
    /// File with users and the hashes of their passwords, kept with `oncemq passwd`. Read again on SIGHUP.
    pub password_file: Option<PathBuf>,
    /// File that says who may publish and subscribe to what, in mosquitto's syntax. Read again on SIGHUP.
    pub acl_file: Option<PathBuf>,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            // It works out of the box for whoever sits at the machine, and is closed to the network.
            allow_anonymous: AllowAnonymous::Loopback,
            // There are no users that everyone has.
            password_file: None,
            // Without it every client that is let in may do everything.
            acl_file: None,
        }
    }
}

/// Who may connect without proving who they are: `"loopback"`, `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowAnonymous {
    /// Those who come from the machine itself: loopback addresses and Unix sockets.
    Loopback,
    /// Everyone.
    Always,
    /// Nobody.
    Never,
}

impl Security {
    /// What the types can't rule out.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let files =
            [("security.password_file", self.password_file.as_ref()), ("security.acl_file", self.acl_file.as_ref())];
        files.iter().filter_map(|(key, path)| unreadable(key, (*path)?)).collect()
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
