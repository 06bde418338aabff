use std::sync::Arc;

use super::acl_file::AclFile;
use crate::codec::ClientId;
use crate::routing::Access;

/// The access rules of the ACL file, which the providers of one chain share.
#[derive(Debug)]
pub(super) struct Rules {
    acl: Option<AclFile>,
    /// One allocation for all clients that may do everything.
    everything: Arc<Access>,
    /// One allocation for all clients that may do nothing.
    nothing: Arc<Access>,
}

impl Rules {
    /// The rules of an ACL file; without one every client may do everything.
    pub(super) fn new(acl: Option<AclFile>) -> Self {
        Self { acl, everything: Arc::new(Access::everything()), nothing: Arc::new(Access::new(Vec::new())) }
    }

    /// The access rights of a user that no longer exists.
    pub(super) fn nothing(&self) -> Arc<Access> {
        Arc::clone(&self.nothing)
    }

    /// The access rights of a client. `user` is its user name if that was verified.
    pub(super) fn access(&self, client_id: &ClientId, user: Option<&str>) -> Arc<Access> {
        let Some(acl) = &self.acl else { return Arc::clone(&self.everything) };
        let access = acl.access(client_id.as_str(), user);
        if access == *self.everything { Arc::clone(&self.everything) } else { Arc::new(access) }
    }
}
