use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::super::provider::Request;
use crate::timestamp::WallTime;

/// Asks one kind of service for one client.
pub(in crate::auth) trait Backend: Debug + Send + Sync {
    /// Asks the service. `None`: the client is not its own, and the next provider is asked. The future is dropped when the client has gone,
    /// or when the time of the provider is over.
    fn ask<'a>(&'a self, request: &'a Request) -> Asking<'a>;

    /// Whether this client is asked for at all; otherwise it is not its own. Must not block.
    fn concerns(&self, request: &Request) -> bool {
        request.method.is_none()
            && (request.user_name.is_some() || request.password.is_some() || request.certificate_identity.is_some())
    }

    /// Whether an answer may have topics.
    fn grants_topics(&self) -> bool {
        true
    }
}

/// An answer that is on its way.
pub(in crate::auth) type Asking<'a> = BoxFuture<'a, Result<Option<Reply>, BackendFault>>;

/// What a service says about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::auth) enum Reply {
    Allow(Grant),
    /// The client is refused (0x86). The text is the cause for the log.
    Deny(String),
}

/// What an accepted client may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::auth) struct Grant {
    /// Its user name; `None`: the User Name of CONNECT, or else the name in its certificate.
    pub(in crate::auth) user: Option<Arc<str>>,
    /// The topics that it may use; `None`: the ACL file decides.
    pub(in crate::auth) topics: Option<Topics>,
    /// Whether it may use all topics.
    pub(in crate::auth) is_superuser: bool,
    /// When its connection ends.
    pub(in crate::auth) expires: Option<Expiry>,
}

/// Topic Filters, with the placeholders `%c` and `%u`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::auth) struct Topics {
    pub(in crate::auth) publish: Vec<String>,
    pub(in crate::auth) subscribe: Vec<String>,
    /// What it may not do, whatever the others allow.
    pub(in crate::auth) deny_publish: Vec<String>,
    pub(in crate::auth) deny_subscribe: Vec<String>,
}

impl Topics {
    /// All of its lists.
    pub(super) fn lists(&self) -> [&[String]; 4] {
        [&self.publish, &self.subscribe, &self.deny_publish, &self.deny_subscribe]
    }
}

/// When an answer ends to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum Expiry {
    At(WallTime),
    /// After the client has asked.
    In(Duration),
}

/// Why a service gave no answer. No text has a secret, or what the client sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum BackendFault {
    #[error("the service can't be reached: {0}")]
    Unreachable(String),
    #[error("the service did not answer in time")]
    Timeout,
    #[error("the answer of the service is not valid: {0}")]
    Invalid(String),
}
