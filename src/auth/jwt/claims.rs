//! What the claims of a verified token say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::provider::Request;
use super::super::topics::{FILTERS_MAX, rule};
use super::fault::Fault;
use super::form::object;
use super::time::numeric_date;
use crate::codec::ClientId;
use crate::config;
use crate::routing::{Access, AccessAction, RuleSource};
use crate::timestamp::Timestamp;

/// The claims of a token whose signature was verified.
#[derive(Debug)]
pub(super) struct Claims(pub(super) Map<String, Value>);

/// What the configuration says about claims.
#[derive(Debug)]
pub(super) struct Terms {
    user_claim: String,
    required: BTreeMap<String, String>,
    require_exp: bool,
    leeway: Duration,
    /// `None`: no claim has topics.
    acl_claim: Option<String>,
}

impl Terms {
    pub(super) fn new(settings: &config::Provider) -> Self {
        let acl_claim = settings.acl_claim.as_deref().unwrap_or(ACL_CLAIM);
        Self {
            user_claim: settings.user_claim.clone().unwrap_or_else(|| USER_CLAIM.to_owned()),
            required: settings.required_claims.clone().unwrap_or_default(),
            require_exp: settings.require_exp.unwrap_or(true),
            leeway: settings.leeway.unwrap_or_default(),
            acl_claim: (!acl_claim.is_empty()).then(|| acl_claim.to_owned()),
        }
    }

    pub(super) const fn reads_topics(&self) -> bool {
        self.acl_claim.is_some()
    }

    /// Whether a token says that another issuer than the required one has issued it. Nothing is verified yet: this only selects who judges
    /// it.
    pub(super) fn is_of_another_issuer(&self, token: &[u8]) -> bool {
        let Some(required) = self.required.get("iss") else { return false };
        let payload = token.split(|byte| *byte == b'.').nth(1).and_then(object);
        matches!(payload.as_ref().and_then(|claims| claims.get("iss")), Some(Value::String(issuer)) if issuer != required)
    }

    /// Checks `exp` and `nbf` by the wall clock. Returns when the token expires in the broker's time, if it does.
    pub(super) fn check_time(&self, Claims(claims): &Claims, request: &Request) -> Result<Option<Timestamp>, Fault> {
        let leeway = u64::try_from(self.leeway.as_millis()).unwrap_or(u64::MAX);
        let time = |name: &str| {
            let value = claims.get(name);
            value.map(|value| numeric_date(value).ok_or_else(|| Fault::Type(name.to_owned()))).transpose()
        };
        let (now, expires, begins) = (request.wall.0, time("exp")?, time("nbf")?);
        if begins.is_some_and(|begins| now.saturating_add(leeway) < begins) {
            return Err(Fault::NotYet);
        }
        let Some(expires) = expires else {
            return if self.require_exp { Err(Fault::Missing("exp".to_owned())) } else { Ok(None) };
        };
        let end = expires.saturating_add(leeway);
        if now >= end {
            return Err(Fault::Expired);
        }
        Ok(Some(request.at + Duration::from_millis(end - now)))
    }

    /// Checks the required claims, and that a token for others is not accepted: one with an audience (RFC 7519, section 4.1.3).
    pub(super) fn check_values(&self, Claims(claims): &Claims, request: &Request) -> Result<(), Fault> {
        for (name, expected) in &self.required {
            let expected = expected_value(expected, request).ok_or_else(|| Fault::Value(name.clone()))?;
            let found = claims.get(name).ok_or_else(|| Fault::Missing(name.clone()))?;
            if !has_value(found, &expected) {
                return Err(Fault::Value(name.clone()));
            }
        }
        if claims.contains_key("aud") && !self.required.contains_key("aud") {
            return Err(Fault::Audience);
        }
        Ok(())
    }

    /// The user name.
    pub(super) fn user(&self, Claims(claims): &Claims) -> Result<Arc<str>, Fault> {
        let name = claims.get(&self.user_claim).ok_or_else(|| Fault::Missing(self.user_claim.clone()))?;
        let name = name.as_str().ok_or_else(|| Fault::Type(self.user_claim.clone()))?;
        if name.is_empty() || name.contains(char::is_control) {
            return Err(Fault::Value(self.user_claim.clone()));
        }
        Ok(name.into())
    }

    /// The topics that the token allows; `None`: it doesn't say, and the ACL file decides.
    pub(super) fn access(
        &self,
        Claims(claims): &Claims,
        provider: &str,
        client_id: &ClientId,
        user: &str,
    ) -> Result<Option<Access>, Fault> {
        let Some(name) = &self.acl_claim else { return Ok(None) };
        let Some(value) = claims.get(name) else { return Ok(None) };
        let topics = value.as_object().ok_or_else(|| Fault::Type(name.clone()))?;
        let mut rules = Vec::new();
        for (key, filters) in topics {
            let claim = format!("{name}.{key}");
            let action = match key.as_str() {
                "publish" => AccessAction::Publish,
                "subscribe" => AccessAction::Subscribe,
                // It may take something back.
                _ => return Err(Fault::Topics { claim, cause: "only publish and subscribe are known".to_owned() }),
            };
            let filters = filters.as_array().ok_or_else(|| Fault::Type(claim.clone()))?;
            let source: Arc<str> = format!("{provider} {claim}").into();
            for (index, filter) in filters.iter().enumerate() {
                let filter = filter.as_str().ok_or_else(|| Fault::Type(claim.clone()))?;
                let source = RuleSource { file: Arc::clone(&source), line: index + 1, text: filter.into() };
                rules.extend(
                    rule(action, filter, source, (client_id.as_str(), user))
                        .map_err(|cause| Fault::Topics { claim: claim.clone(), cause })?,
                );
            }
        }
        if rules.len() > FILTERS_MAX {
            let cause = format!("more than {FILTERS_MAX}");
            return Err(Fault::Topics { claim: name.clone(), cause });
        }
        Ok(Some(Access::granted(rules)))
    }
}

/// A required value with `%u` and `%c` replaced; `None`: the client has sent no User Name.
fn expected_value(expected: &str, request: &Request) -> Option<String> {
    let mut value = String::with_capacity(expected.len());
    let mut rest = expected;
    while let Some(at) = rest.find('%') {
        let (before, placeholder) = rest.split_at(at);
        value.push_str(before);
        if let Some(after) = placeholder.strip_prefix("%u") {
            value.push_str(request.user_name.as_deref()?);
            rest = after;
        } else if let Some(after) = placeholder.strip_prefix("%c") {
            value.push_str(request.client_id.as_str());
            rest = after;
        } else {
            value.push('%');
            rest = placeholder.strip_prefix('%').unwrap_or_default();
        }
    }
    value.push_str(rest);
    Some(value)
}

/// Whether a claim is this text, or a list that has it. A number and a truth value are the text that JSON writes.
fn has_value(claim: &Value, expected: &str) -> bool {
    match claim {
        Value::String(text) => text == expected,
        Value::Array(values) => values.iter().any(|value| value.as_str() == Some(expected)),
        Value::Number(number) => number.to_string() == expected,
        Value::Bool(flag) => expected == if *flag { "true" } else { "false" },
        Value::Null | Value::Object(_) => false,
    }
}

const USER_CLAIM: &str = "sub";
const ACL_CLAIM: &str = "acl";
