//! The ACL file, in mosquitto's syntax:
//!
//! ```text
//! topic read news/#                  # anonymous clients: rules before the first user
//! user alice
//! topic readwrite home/alice/#
//! topic deny home/alice/secret
//! pattern write sensors/%c/%u        # everyone: %c is the Client Identifier, %u the user name
//! ```
//!
//! (Comments stand on lines of their own: a topic may contain `#`.)

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytestring::ByteString;

use super::error::{AclCause, AuthError, read};
use super::password_file::significant;
use crate::routing::{Access, AccessAction, AccessRule, Effect};
use crate::topic::TopicFilter;

/// The rules of the file, before it is known whom they are for.
#[derive(Debug, Default)]
pub(super) struct AclFile {
    anonymous: Vec<AccessRule>,
    users: HashMap<String, Vec<AccessRule>>,
    patterns: Vec<Pattern>,
}

/// A rule with placeholders.
#[derive(Debug)]
struct Pattern {
    effect: Effect,
    action: AccessAction,
    filter: String,
    source: Arc<str>,
}

impl AclFile {
    /// Reads the file; every line must be right.
    pub(super) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = read(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&text, &name).map_err(|(line, cause)| AuthError::Acl { path: path.to_owned(), line, cause })
    }

    fn parse(text: &str, name: &str) -> Result<Self, (usize, AclCause)> {
        let mut acl = Self::default();
        let mut user = None;
        for (index, line) in text.lines().enumerate() {
            let Some(line) = significant(line) else { continue };
            let source = format!("{name}:{}", index + 1).into();
            acl.add(line, source, &mut user).map_err(|cause| (index + 1, cause))?;
        }
        Ok(acl)
    }

    /// Adds one line; `user` is whose section it stands in.
    fn add(&mut self, line: &str, source: Arc<str>, user: &mut Option<String>) -> Result<(), AclCause> {
        let (keyword, rest) = split_word(line);
        match keyword {
            "user" if rest.is_empty() => return Err(AclCause::NoUser),
            "user" => *user = Some(rest.to_owned()),
            "topic" => {
                let (effect, action, filter) = parse_rule(rest)?;
                let topic_filter = parse_filter(filter)?;
                let rules = match user {
                    Some(user) => self.users.entry(user.clone()).or_default(),
                    None => &mut self.anonymous,
                };
                rules.push(AccessRule { effect, action, topic_filter, source });
            }
            "pattern" => {
                let (effect, action, filter) = parse_rule(rest)?;
                // Whether it is a filter doesn't depend on what is filled in: that has no wildcard and no slash.
                parse_filter(&fill(filter, "c", Some("u")).unwrap_or_default())?;
                self.patterns.push(Pattern { effect, action, filter: filter.to_owned(), source });
            }
            other => return Err(AclCause::UnknownKeyword(other.to_owned())),
        }
        Ok(())
    }

    /// What a client may do. `user` is its user name if that was verified.
    pub(super) fn access(&self, client_id: &str, user: Option<&str>) -> Access {
        let own = match user {
            Some(user) => self.users.get(user).map(Vec::as_slice).unwrap_or_default(),
            None => &self.anonymous,
        };
        let patterns = self.patterns.iter().filter_map(|pattern| pattern.rule(client_id, user));
        Access::new(own.iter().cloned().chain(patterns).collect())
    }
}

impl Pattern {
    /// The rule for one client.
    ///
    /// A client that calls itself `+` would be given everyone's topics: a rule that allows doesn't apply to a client whose
    /// name has a wildcard or a slash, or that has no name to fill in. One that denies then denies every name: it may deny
    /// too much, but nobody gets around it by a name.
    fn rule(&self, client_id: &str, user: Option<&str>) -> Option<AccessRule> {
        let filled = match (fill(&self.filter, client_id, user), self.effect) {
            (Some(filter), _) => filter,
            (None, Effect::Allow) => return None,
            (None, Effect::Deny) => deny_every_name(&self.filter),
        };
        let topic_filter = TopicFilter::new(ByteString::from(filled)).ok()?;
        let source = Arc::clone(&self.source);
        Some(AccessRule { effect: self.effect, action: self.action, topic_filter, source })
    }
}

/// `[read|write|readwrite|deny] FILTER`. A single word is always the filter.
fn parse_rule(rest: &str) -> Result<(Effect, AccessAction, &str), AclCause> {
    let (access, filter) = split_word(rest);
    match (access, filter) {
        ("", _) => Err(AclCause::NoFilter),
        (filter, "") => Ok((Effect::Allow, AccessAction::Both, filter)),
        ("read", filter) => Ok((Effect::Allow, AccessAction::Subscribe, filter)),
        ("write", filter) => Ok((Effect::Allow, AccessAction::Publish, filter)),
        ("readwrite", filter) => Ok((Effect::Allow, AccessAction::Both, filter)),
        ("deny", filter) => Ok((Effect::Deny, AccessAction::Both, filter)),
        (other, _) => Err(AclCause::UnknownAccess(other.to_owned())),
    }
}

fn parse_filter(filter: &str) -> Result<TopicFilter, AclCause> {
    let invalid = |source| AclCause::InvalidFilter { filter: filter.to_owned(), source };
    TopicFilter::new(ByteString::from(filter)).map_err(invalid)
}

/// `filter` with its placeholders filled in, in one pass: a `%u` within a Client Identifier is no placeholder. Nothing if a
/// name is missing or unfit for one level of a topic.
fn fill(filter: &str, client_id: &str, user: Option<&str>) -> Option<String> {
    let mut filled = String::with_capacity(filter.len() + client_id.len());
    let mut rest = filter;
    while let Some(percent) = rest.find('%') {
        let (before, placeholder) = rest.split_at(percent);
        filled.push_str(before);
        let (text, after) = if let Some(after) = placeholder.strip_prefix("%c") {
            (fit(client_id)?, after)
        } else if let Some(after) = placeholder.strip_prefix("%u") {
            (fit(user?)?, after)
        } else {
            placeholder.split_at(1)
        };
        filled.push_str(text);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

fn fit(name: &str) -> Option<&str> {
    (!name.is_empty() && !name.contains(['+', '#', '/'])).then_some(name)
}

/// `filter` with `+` for each level that has a placeholder.
fn deny_every_name(filter: &str) -> String {
    let levels = filter.split('/');
    let levels = levels.map(|level| if level.contains("%c") || level.contains("%u") { "+" } else { level });
    levels.collect::<Vec<_>>().join("/")
}

/// The first word, and what follows it.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests;
