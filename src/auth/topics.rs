//! Topics that a provider grants to one client, as in a token or in the answer of a service.

use std::sync::Arc;

use bytestring::ByteString;

use super::acl_file::fill;
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// The rules for the filters to publish and to subscribe to, granted by `provider` to a client with these names: its Client Identifier and its
/// user.
pub(super) fn granted(
    provider: &str,
    [publish, subscribe]: [&[String]; 2],
    names: (&str, &str),
) -> Result<Access, String> {
    if publish.len() + subscribe.len() > FILTERS_MAX {
        return Err(format!("more than {FILTERS_MAX} topic filters"));
    }
    let mut rules = Vec::with_capacity(publish.len() + subscribe.len());
    for (action, list, key) in
        [(AccessAction::Publish, publish, "publish"), (AccessAction::Subscribe, subscribe, "subscribe")]
    {
        let file: Arc<str> = format!("{provider} {key}").into();
        for (index, filter) in list.iter().enumerate() {
            let source = RuleSource { file: Arc::clone(&file), line: index + 1, text: filter.as_str().into() };
            let rule = rule(action, filter, source, names);
            rules.extend(rule.map_err(|cause| format!("{key} has a filter that is not valid: {cause}"))?);
        }
    }
    Ok(Access::granted(rules))
}

/// The rule for a filter; `None`: it has a placeholder for a name that can't be a level of a topic, and allows nothing.
pub(super) fn rule(
    action: AccessAction,
    filter: &str,
    source: RuleSource,
    (client_id, user): (&str, &str),
) -> Result<Option<AccessRule>, String> {
    // Any names show whether the filter is valid.
    let valid = |filter: String| TopicFilter::new(ByteString::from(filter)).map_err(|error| error.to_string());
    valid(fill(filter, "c", Some("u")).unwrap_or_default())?;
    let Some(filled) = fill(filter, client_id, Some(user)) else { return Ok(None) };
    let topic_filter = valid(filled)?;
    Ok(Some(AccessRule { effect: Effect::Allow, action, topic_filter, source: Arc::new(source) }))
}

/// Each rule is compared with the topic of each message.
pub(super) const FILTERS_MAX: usize = 1_024;
