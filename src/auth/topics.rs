//! Topics that a provider grants to one client, as in a token or in the answer of a service.

use std::sync::Arc;

use bytestring::ByteString;

use super::acl_file::{deny_every_name, fill};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// The rules for the filters to publish and to subscribe to, and for those to do neither, granted by `provider` to a client with these names: its
/// Client Identifier and its user.
pub(super) fn granted(provider: &str, lists: [&[String]; 4], names: (&str, &str)) -> Result<Access, String> {
    let count = lists.iter().map(|list| list.len()).sum();
    if count > FILTERS_MAX {
        return Err(format!("more than {FILTERS_MAX} topic filters"));
    }
    let mut rules = Vec::with_capacity(count);
    let kinds = [
        (AccessAction::Publish, Effect::Allow, "publish"),
        (AccessAction::Subscribe, Effect::Allow, "subscribe"),
        (AccessAction::Publish, Effect::Deny, "deny publish"),
        (AccessAction::Subscribe, Effect::Deny, "deny subscribe"),
    ];
    for ((action, effect, key), list) in kinds.into_iter().zip(lists) {
        let file: Arc<str> = format!("{provider} {key}").into();
        for (index, filter) in list.iter().enumerate() {
            let source = RuleSource { file: Arc::clone(&file), line: index + 1, text: filter.as_str().into() };
            let rule = match effect {
                Effect::Allow => rule(action, filter, source, names),
                Effect::Deny => denial(action, filter, source, names).map(Some),
            };
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

/// The rule for a filter that denies. One with a placeholder for a name that can't be a level of a topic denies every name: no client evades it by
/// its name.
fn denial(action: AccessAction, filter: &str, source: RuleSource, names: (&str, &str)) -> Result<AccessRule, String> {
    let of_every_name = deny_every_name(filter);
    let named = rule(action, filter, source.clone(), names)?;
    let rule = match named {
        Some(rule) => Some(rule),
        None => rule(action, &of_every_name, source, names)?,
    };
    rule.map(|rule| AccessRule { effect: Effect::Deny, ..rule }).ok_or_else(|| "it can't be filled in".to_owned())
}

/// Each rule is compared with the topic of each message.
pub(super) const FILTERS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicName;

    fn may_publish(lists: [&[&str]; 4], names: (&str, &str), topic: &str) -> bool {
        let lists = lists.map(|list| list.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>());
        let access = granted("p", lists.each_ref().map(Vec::as_slice), names).unwrap();
        access.publish(&TopicName::try_from(topic).unwrap()).is_ok()
    }

    #[test]
    fn what_is_denied_is_denied_whatever_is_allowed_and_whatever_the_name() {
        let lists: [&[&str]; 4] = [&["a/#"], &["b"], &["a/%u/secret"], &["a/c"]];
        assert!(may_publish(lists, ("c", "alice"), "a/c"), "only subscribing is denied");
        assert!(!may_publish(lists, ("c", "alice"), "a/alice/secret"));
        assert!(may_publish(lists, ("c", "alice"), "a/bob/secret"));
        assert!(!may_publish(lists, ("c", "alice"), "b"));
        for name in ["+", "#", "a/b", ""] {
            assert!(!may_publish(lists, ("c", name), "a/alice/secret"), "{name}");
        }
    }

    #[test]
    fn too_many_filters_and_one_that_is_not_valid_grant_nothing() {
        let many = vec!["a".to_owned(); FILTERS_MAX];
        let one = ["b".to_owned()];
        assert!(granted("p", [&many, &[], &[], &[]], ("c", "u")).is_ok());
        assert!(granted("p", [&many, &[], &[], &one], ("c", "u")).unwrap_err().contains("1024"));
        let wrong = ["a/#/b".to_owned()];
        for lists in [[&wrong[..], &[], &[], &[]], [&[], &[], &wrong, &[]]] {
            assert!(granted("p", lists, ("c", "u")).is_err());
        }
    }
}
