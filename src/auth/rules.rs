use std::sync::Arc;

use super::acl_file::AclFile;
use crate::codec::ClientId;
use crate::routing::{Access, RuleSource};

/// The access rules of an ACL file, which the providers of one chain share.
#[derive(Debug)]
pub(super) struct Rules {
    acl: Option<Arc<AclFile>>,
    /// The listener whose rules they are; `None`: those of every listener, as far as it has no others.
    listener: Option<Arc<str>>,
    /// One allocation for all clients that may do everything.
    everything: Arc<Access>,
    /// One allocation for all superusers.
    superuser: Arc<Access>,
    /// One allocation for all clients that may do nothing.
    nothing: Arc<Access>,
}

impl Rules {
    /// The rules of an ACL file; without one every client may do everything.
    pub(super) fn new(acl: Option<Arc<AclFile>>) -> Self {
        Self::with(acl, None, Arc::new)
    }

    /// The same for the clients of one listener.
    pub(super) fn at_listener(acl: Option<Arc<AclFile>>, listener: &Arc<str>) -> Self {
        Self::with(acl, Some(Arc::clone(listener)), |access| Arc::new(access.at_listener(Arc::clone(listener))))
    }

    fn with(acl: Option<Arc<AclFile>>, listener: Option<Arc<str>>, shared: impl Fn(Access) -> Arc<Access>) -> Self {
        let (everything, superuser) = (shared(Access::everything()), shared(Access::superuser()));
        Self { acl, listener, everything, superuser, nothing: shared(Access::new(Vec::new())) }
    }

    /// The access rights of a user that no longer exists.
    pub(super) fn nothing(&self) -> Arc<Access> {
        Arc::clone(&self.nothing)
    }

    /// The access rights of a client. `user` is its user name if that was verified.
    pub(super) fn access(&self, client_id: &ClientId, user: Option<&str>) -> Arc<Access> {
        let Some(acl) = &self.acl else { return Arc::clone(&self.everything) };
        let access = acl.access(client_id.as_str(), user);
        if access.is_superuser() {
            return Arc::clone(&self.superuser);
        }
        match &self.listener {
            Some(listener) => Arc::new(access.at_listener(Arc::clone(listener))),
            None => Arc::new(access),
        }
    }

    /// The access rights of a client that may be at any of several listeners with these rules.
    pub(super) fn access_anywhere(&self, client_id: &ClientId, user: Option<&str>) -> Arc<Access> {
        let access = self.acl.as_ref().map(|acl| acl.access(client_id.as_str(), user));
        Arc::new(access.unwrap_or(Access::everything()))
    }

    /// The line that makes a verified user a superuser.
    pub(super) fn superuser_line(&self, user: Option<&str>) -> Option<Arc<RuleSource>> {
        self.acl.as_ref()?.superuser(user).cloned()
    }

    /// Whether both have the same file, or none.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (&self.acl, &other.acl) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        }
    }
}
