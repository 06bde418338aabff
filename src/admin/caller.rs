//! Who makes a request, and what that allows.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) use crate::config::Role;

/// Who makes a request. The middleware of the API puts it into the extensions of each request that it lets pass.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The name of the token or the certificate, or `local`.
    pub(super) name: Arc<str>,
    pub(super) role: Role,
    /// `None`: over the Unix socket.
    pub(super) address: Option<IpAddr>,
    is_recorded: Arc<AtomicBool>,
}

impl Caller {
    pub(super) fn new(name: Arc<str>, role: Role, address: Option<IpAddr>) -> Self {
        Self { name, role, address, is_recorded: Arc::default() }
    }

    /// Who has access to the Unix socket.
    pub(super) fn local() -> Self {
        Self::new("local".into(), Role::Admin, None)
    }

    /// Whether a handler has recorded what this request changes.
    pub(super) fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Relaxed)
    }

    pub(super) fn set_recorded(&self) {
        self.is_recorded.store(true, Ordering::Relaxed);
    }
}
