use std::collections::HashMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::provider::{Decision, Refusal, Verdict};
use crate::codec::{ClientId, ReasonCode};
use crate::config::{Listener, MountTemplate, Security, Unfillable, UserMountPoint};
use crate::topic::MountPoint;

/// The mount points of all clients, by user and by listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounts {
    users: Vec<UserMountPoint>,
    /// Those of the listeners by name; `None`: the listener has none.
    listeners: HashMap<Arc<str>, Option<String>>,
}

/// A client, as far as its mount point depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mounted<'a> {
    pub(super) listener: &'a str,
    /// The verified user name.
    pub(super) user: Option<&'a str>,
    pub(super) client_id: &'a ClientId,
}

impl Mounts {
    pub(super) fn new(security: &Security, listeners: &[Listener]) -> Self {
        let own = |listener: &Listener| (Arc::from(&*listener.label()), listener.mount_point.clone());
        Self { users: security.mount_points.clone(), listeners: listeners.iter().map(own).collect() }
    }

    /// Whether a listener has a mount point.
    pub(super) fn has_listeners(&self) -> bool {
        self.listeners.values().any(Option::is_some)
    }

    /// Puts an accepted client below its mount point, or refuses it if that has none for it: without it, the client would be in the topics
    /// of all.
    pub(super) fn mount(&self, listener: &str, client_id: &ClientId, decision: Decision) -> Verdict {
        let user = decision.user.as_deref().filter(|_| decision.is_verified);
        match self.of(Mounted { listener, user, client_id }) {
            Ok(mount_point) => {
                let access = Arc::clone(&decision.access).below(mount_point.as_ref());
                Verdict::Accept(Decision { access, ..decision })
            }
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    /// Whether a client that was accepted with the mount point `current` would have another one. One of a listener that is not there any more
    /// keeps its own.
    pub(super) fn moves(&self, client: Mounted<'_>, current: Option<&MountPoint>) -> bool {
        let is_known = self.listeners.contains_key(client.listener) || self.of_user(client.user).is_some();
        is_known && self.of(client).map_or(true, |mount_point| mount_point.as_ref() != current)
    }

    /// The mount point of a client: that of the first pattern that its user matches, else that of its listener.
    pub(super) fn of(&self, client: Mounted<'_>) -> Result<Option<MountPoint>, Refusal> {
        let template = match self.of_user(client.user) {
            Some(entry) => entry.template(),
            None => {
                let of_listener = self.listeners.get(client.listener).and_then(Option::as_deref);
                of_listener.map(MountTemplate::new).transpose()
            }
        };
        // The validation of the configuration has found no fault.
        let template = template.map_err(|_| refusal(ReasonCode::NotAuthorized, "the mount point is not valid"))?;
        let filled = template.map(|template| template.fill(client.user, client.client_id.as_str())).transpose();
        filled.map_err(|fault| match fault {
            Unfillable::NoUser => refusal(ReasonCode::NotAuthorized, "its mount point needs a verified user name"),
            Unfillable::User => refusal(ReasonCode::NotAuthorized, "its user name can't be a level of its mount point"),
            Unfillable::ClientId => {
                let cause = "its Client Identifier can't be a level of its mount point";
                refusal(ReasonCode::ClientIdentifierNotValid, cause)
            }
            Unfillable::Invalid(fault) => {
                let cause = ByteString::from(format!("its mount point {fault}"));
                Refusal { reason_code: ReasonCode::NotAuthorized, cause }
            }
        })
    }

    fn of_user(&self, user: Option<&str>) -> Option<&UserMountPoint> {
        let user = user?;
        self.users.iter().find(|entry| entry.is_of(user))
    }
}

const fn refusal(reason_code: ReasonCode, cause: &'static str) -> Refusal {
    Refusal::new(reason_code, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(users: &[(&str, &str)], listeners: &[(&str, Option<&str>)]) -> Mounts {
        let users = users.iter().map(|(user, mount_point)| UserMountPoint {
            user: (*user).to_owned(),
            mount_point: (*mount_point).to_owned(),
        });
        let listeners = listeners.iter().map(|(name, mount_point)| Listener {
            name: Some((*name).to_owned()),
            mount_point: mount_point.map(str::to_owned),
            ..Listener::new("127.0.0.1:1".parse().unwrap())
        });
        let security = Security { mount_points: users.collect(), ..Security::default() };
        Mounts::new(&security, &listeners.collect::<Vec<_>>())
    }

    fn of(mounts: &Mounts, listener: &str, user: Option<&str>) -> Result<Option<String>, ReasonCode> {
        let client_id = ClientId::from("c");
        let found = mounts.of(Mounted { listener, user, client_id: &client_id });
        found.map(|found| found.map(|found| found.to_string())).map_err(|refusal| refusal.reason_code)
    }

    #[test]
    fn the_first_pattern_of_the_user_decides_before_the_listener() {
        let users = [("staff", ""), ("acme-*", "acme/"), ("*-7", "seven/%u/")];
        let mounts = mounts(&users, &[("devices", Some("t/%u/")), ("plain", None)]);
        for (listener, user, expected) in [
            ("plain", None, Ok(None)),
            ("plain", Some("bob"), Ok(None)),
            ("plain", Some("acme-7"), Ok(Some("acme/"))),
            ("plain", Some("x-7"), Ok(Some("seven/x-7/"))),
            ("devices", Some("staff"), Ok(None)),
            ("devices", Some("bob"), Ok(Some("t/bob/"))),
            ("devices", None, Err(ReasonCode::NotAuthorized)),
            ("devices", Some("a/b"), Err(ReasonCode::NotAuthorized)),
        ] {
            assert_eq!(
                of(&mounts, listener, user),
                expected.map(|text| text.map(str::to_owned)),
                "{listener} {user:?}"
            );
        }
    }

    #[test]
    fn a_client_moves_if_its_mount_point_is_another_one_now() {
        let mounts = mounts(&[("staff", "")], &[("devices", Some("t/%u/")), ("plain", None)]);
        let client_id = ClientId::from("c");
        let moves = |listener, user, current: &str| {
            let current = MountPoint::new(current).ok();
            mounts.moves(Mounted { listener, user, client_id: &client_id }, current.as_ref())
        };
        assert!(!moves("devices", Some("bob"), "t/bob/") && !moves("plain", Some("bob"), ""));
        assert!(moves("devices", Some("bob"), "") && moves("devices", Some("bob"), "t/"));
        assert!(moves("plain", Some("bob"), "t/bob/") && moves("plain", Some("staff"), "t/staff/"));
        assert!(moves("devices", None, ""), "anonymous clients are not accepted there any more");
        assert!(!moves("removed", Some("bob"), "t/bob/") && moves("removed", Some("staff"), "t/staff/"));
    }
}
