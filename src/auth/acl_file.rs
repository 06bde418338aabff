//! The ACL file, in mosquitto's syntax:
//!
//! ```text
//! topic read news/#                  # anonymous clients: rules before the first user
//! user alice
//! topic readwrite home/alice/#
//! topic deny home/alice/secret
//! pattern write sensors/%c/%u        # all clients: %c is the Client Identifier, %u the user name
//! ```
//!
//! (Comments stand on lines of their own: a topic may contain `#`.)

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytestring::ByteString;

use super::error::{AclCause, AuthError, read};
use super::password_file::significant;
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// The rules of the file, grouped by user.
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
    source: Arc<RuleSource>,
}

impl AclFile {
    /// Reads the file. An invalid line is an error.
    pub(super) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = read(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&text, &name).map_err(|(line, cause)| AuthError::Acl { path: path.to_owned(), line, cause })
    }

    /// Whether the file has any rule.
    pub(super) fn has_rules(&self) -> bool {
        !(self.anonymous.is_empty() && self.users.is_empty() && self.patterns.is_empty())
    }

    /// Whether the text could be that of the file at `path`. The error names the line.
    pub(super) fn check(path: &Path, text: &str) -> Result<(), AuthError> {
        let invalid = |(line, cause)| AuthError::Acl { path: path.to_owned(), line, cause };
        Self::parse(text, "").map(|_| ()).map_err(invalid)
    }

    fn parse(text: &str, name: &str) -> Result<Self, (usize, AclCause)> {
        let (mut acl, file) = (Self::default(), Arc::<str>::from(name));
        let mut user = None;
        for (index, line) in text.lines().enumerate() {
            let Some(line) = significant(line) else { continue };
            let source = RuleSource { file: Arc::clone(&file), line: index + 1, text: line.into() };
            acl.add(line, Arc::new(source), &mut user).map_err(|cause| (index + 1, cause))?;
        }
        Ok(acl)
    }

    /// Adds one line. `user` is the user of the current section; a `user` line changes it.
    fn add(&mut self, line: &str, source: Arc<RuleSource>, user: &mut Option<String>) -> Result<(), AclCause> {
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
                // Placeholders are filled with text without wildcards and slashes, so any sample text shows whether the
                // filter is valid.
                parse_filter(&fill(filter, "c", Some("u")).unwrap_or_default())?;
                self.patterns.push(Pattern { effect, action, filter: filter.to_owned(), source });
            }
            other => return Err(AclCause::UnknownKeyword(other.to_owned())),
        }
        Ok(())
    }

    /// The access rules of a client. `user` is its user name if that was verified.
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
    /// The rule with the placeholders filled in for one client.
    ///
    /// A client with the Client Identifier `+` must not get everyone's topics: if a name is missing, or contains a
    /// wildcard or a slash, a rule that allows does not apply, and a rule that denies applies to every name. It may
    /// deny too much, but no client can evade it by its name.
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

/// Parses `[read|write|readwrite|deny] FILTER`. A single word is always the filter.
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

/// Fills in the placeholders of `filter` in one pass, so a `%u` within a Client Identifier is not a placeholder. `None`
/// if a name is missing, or can't be a single level of a topic.
pub(super) fn fill(filter: &str, client_id: &str, user: Option<&str>) -> Option<String> {
    let mut filled = String::with_capacity(filter.len() + client_id.len());
    let mut rest = filter;
    while let Some(percent) = rest.find('%') {
        let (before, placeholder) = rest.split_at(percent);
        filled.push_str(before);
        let (text, after) = if let Some(after) = placeholder.strip_prefix("%c") {
            (single_level(client_id)?, after)
        } else if let Some(after) = placeholder.strip_prefix("%u") {
            (single_level(user?)?, after)
        } else {
            placeholder.split_at(1)
        };
        filled.push_str(text);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

fn single_level(name: &str) -> Option<&str> {
    (!name.is_empty() && !name.contains(['+', '#', '/'])).then_some(name)
}

/// `filter` with `+` in place of each level that has a placeholder.
pub(super) fn deny_every_name(filter: &str) -> String {
    let levels = filter.split('/');
    let levels = levels.map(|level| if level.contains("%c") || level.contains("%u") { "+" } else { level });
    levels.collect::<Vec<_>>().join("/")
}

/// The first word, and the rest of the text.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests;
