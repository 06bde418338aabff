use std::sync::Arc;

use bytestring::ByteString;

use crate::topic::MountPoint;

/// A user that owns Sessions, and that published retained messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// The provider that verified the name; `None`: the first that verifies it becomes part of the owner. That is so for a Session that an
    /// operator gave to a user, or that an earlier version stored.
    pub provider: Option<ByteString>,
    /// The user name.
    pub name: Arc<str>,
    /// The mount point.
    pub mount_point: Option<MountPoint>,
}
