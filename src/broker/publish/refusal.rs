//! Why a PUBLISH or a Will is not accepted.

use std::sync::Arc;

use bytestring::ByteString;

use crate::codec::ReasonCode;
use crate::routing::{Denied, RuleSource};

/// Why a PUBLISH is not accepted, whatever else is in the queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct Refusal {
    pub(in crate::broker) reason_code: ReasonCode,
    /// The access rule or the limit, for the log.
    pub(in crate::broker) rule: ByteString,
    /// The Reason String.
    pub(in crate::broker) sentence: ByteString,
    /// Whether a limit of the broker refuses the message, and not the rules for this client.
    pub(in crate::broker) is_limit: bool,
    /// The line of the access rule that denies it.
    pub(in crate::broker) source: Option<Arc<RuleSource>>,
}

impl Refusal {
    /// An access rule denies the topic to this client, which is not told the rule.
    pub(in crate::broker) fn by_rule(rule: impl Into<ByteString>) -> Self {
        let (reason_code, rule) = (ReasonCode::NotAuthorized, rule.into());
        Self { reason_code, rule, sentence: NOT_AUTHORIZED, is_limit: false, source: None }
    }

    /// The access rules deny the topic to this client, which is not told the rule.
    pub(in crate::broker) fn by_access(denied: Denied) -> Self {
        Self { source: denied.rule.clone(), ..Self::by_rule(denied.to_string()) }
    }

    /// The topic is beyond a limit.
    pub(in crate::broker) fn by_limit(limit: impl Into<ByteString>) -> Self {
        let limit = limit.into();
        let reason_code = ReasonCode::TopicNameInvalid;
        Self { reason_code, rule: limit.clone(), sentence: limit, is_limit: true, source: None }
    }

    /// A rule of the broker for topics below `$SYS`, which the client may know.
    pub(in crate::broker) fn below_sys(reason_code: ReasonCode, rule: &'static str) -> Self {
        let rule = ByteString::from_static(rule);
        Self { reason_code, rule: rule.clone(), sentence: rule, is_limit: false, source: None }
    }
}

/// No access rule is named.
const NOT_AUTHORIZED: ByteString = ByteString::from_static("not authorized to publish to this topic");
