//! The ACL file, in mosquitto's syntax, with groups and superusers:
//!
//! ```text
//! topic read news/#                  # anonymous clients: rules before the first section
//! pattern write sensors/%c/%u        # all clients: %c is the Client Identifier, %u the user name
//! user alice
//! topic readwrite home/alice/#
//! topic deny home/alice/secret
//! group staff
//! member alice                       # a user for each line; a group is never a member
//! topic read plant/#
//! pattern readwrite desks/%u         # in the section of a group: its members
//! group operators
//! member olga
//! superuser                          # may do everything
//! ```
//!
//! (Comments stand on lines of their own: a topic may contain `#`.)
//!
//! All rules of a client count together, whichever section and line they are in: one that denies takes precedence over all that allow.

mod bounds;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytestring::ByteString;

use super::error::{AclCause, AuthError, read};
use super::password_file::significant;
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// The rules of the file, by section.
#[derive(Debug, Default)]
pub(super) struct AclFile {
    anonymous: Vec<AccessRule>,
    users: HashMap<String, User>,
    groups: Vec<Group>,
    /// Those of all clients.
    patterns: Vec<Pattern>,
}

/// What the file says about a user.
#[derive(Debug, Default)]
struct User {
    rules: Vec<AccessRule>,
    /// The places of its groups in [`AclFile::groups`]; at most [`GROUPS_MAX`].
    groups: Vec<usize>,
    superuser: Option<Arc<RuleSource>>,
    /// The first line that names it.
    line: usize,
}

/// What the file gives to the members of a group.
#[derive(Debug, Default)]
struct Group {
    rules: Vec<AccessRule>,
    patterns: Vec<Pattern>,
    superuser: Option<Arc<RuleSource>>,
}

/// A rule with placeholders.
#[derive(Debug)]
struct Pattern {
    effect: Effect,
    action: AccessAction,
    filter: String,
    source: Arc<RuleSource>,
}

/// Where the lines of the file stand that follow.
#[derive(Debug, Default)]
enum Section {
    /// Before the first `user` and `group`.
    #[default]
    Anonymous,
    User(String),
    /// The place of a group.
    Group(usize),
}

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    file: &'a Arc<str>,
    /// From 1.
    line: usize,
}

/// How much a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclSize {
    /// Its users, with those that are only members of groups.
    pub users: usize,
    /// Its groups.
    pub groups: usize,
    /// Its lines with `topic` or `pattern`.
    pub rules: usize,
}

/// The places of the groups by name, while the file is read.
type Places = HashMap<String, usize>;

impl AclFile {
    /// Reads the file. An invalid line is an error.
    pub(super) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = read(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&text, &name).map_err(|(line, cause)| AuthError::Acl { path: path.to_owned(), line, cause })
    }

    /// Whether the file gives anything to anyone.
    pub(super) fn has_rules(&self) -> bool {
        let has_superuser = self.users.values().any(|user| user.superuser.is_some())
            || self.groups.iter().any(|group| group.superuser.is_some());
        has_superuser || self.size().rules > 0
    }

    /// How much it has.
    pub(super) fn size(&self) -> AclSize {
        let of_users: usize = self.users.values().map(|user| user.rules.len()).sum();
        let of_groups: usize = self.groups.iter().map(Group::len).sum();
        let rules = self.anonymous.len() + self.patterns.len() + of_users + of_groups;
        AclSize { users: self.users.len(), groups: self.groups.len(), rules }
    }

    /// Whether the text could be that of the file at `path`. The error names the line.
    pub(super) fn check(path: &Path, text: &str) -> Result<(), AuthError> {
        let invalid = |(line, cause)| AuthError::Acl { path: path.to_owned(), line, cause };
        Self::parse(text, "").map(|_| ()).map_err(invalid)
    }

    fn parse(text: &str, name: &str) -> Result<Self, (usize, AclCause)> {
        let (mut acl, file) = (Self::default(), Arc::<str>::from(name));
        let (mut section, mut places) = (Section::default(), Places::new());
        for (index, line) in text.lines().enumerate() {
            let Some(line) = significant(line) else { continue };
            let place = Place { file: &file, line: index + 1 };
            acl.add(line, place, &mut section, &mut places).map_err(|cause| (index + 1, cause))?;
        }
        acl.check_bounds()?;
        Ok(acl)
    }

    /// Adds one line. `section` is the current one; a `user` or `group` line begins another.
    fn add(
        &mut self,
        line: &str,
        place: Place<'_>,
        section: &mut Section,
        places: &mut Places,
    ) -> Result<(), AclCause> {
        let (keyword, rest) = split_word(line);
        match keyword {
            "user" if rest.is_empty() => return Err(AclCause::NoUser),
            "user" => *section = Section::User(rest.to_owned()),
            "group" if rest.is_empty() => return Err(AclCause::NoGroup),
            "group" => *section = Section::Group(self.group(rest, places)),
            "member" => self.add_member(rest, place.line, section)?,
            "superuser" if !rest.is_empty() => return Err(AclCause::AfterSuperuser(rest.to_owned())),
            "superuser" => *self.superuser_of(section, place.line)? = Some(place.source(line)),
            "topic" => {
                let (effect, action, filter) = parse_rule(rest)?;
                let topic_filter = parse_filter(filter)?;
                if matches!(section, Section::Group(_)) && has_placeholder(filter) {
                    return Err(AclCause::Placeholder);
                }
                let rule = AccessRule { effect, action, topic_filter, source: place.source(line) };
                self.rules_of(section, place.line).push(rule);
            }
            "pattern" => {
                let (effect, action, filter) = parse_rule(rest)?;
                // Placeholders are filled with text without wildcards and slashes, so any sample text shows whether the
                // filter is valid.
                parse_filter(&fill(filter, "c", Some("u")).unwrap_or_default())?;
                let patterns = match section {
                    Section::Group(group) => &mut self.group_at(*group).patterns,
                    // mosquitto's files have them after a `user`, too.
                    Section::Anonymous | Section::User(_) => &mut self.patterns,
                };
                patterns.push(Pattern { effect, action, filter: filter.to_owned(), source: place.source(line) });
            }
            other => return Err(AclCause::UnknownKeyword(other.to_owned())),
        }
        Ok(())
    }

    /// The place of a group, which may be new.
    fn group(&mut self, name: &str, places: &mut Places) -> usize {
        let next = self.groups.len();
        let place = *places.entry(name.to_owned()).or_insert(next);
        if place == next {
            self.groups.push(Group::default());
        }
        place
    }

    #[expect(clippy::indexing_slicing, reason = "a section has the place of a group that was added with it")]
    fn group_at(&mut self, place: usize) -> &mut Group {
        &mut self.groups[place]
    }

    /// What is said about a user, who may be named for the first time in this line.
    fn user(&mut self, name: &str, line: usize) -> &mut User {
        self.users.entry(name.to_owned()).or_insert_with(|| User { line, ..User::default() })
    }

    fn add_member(&mut self, name: &str, line: usize, section: &Section) -> Result<(), AclCause> {
        let Section::Group(place) = section else { return Err(AclCause::OutsideGroup) };
        if name.is_empty() {
            return Err(AclCause::NoMember);
        }
        let user = self.user(name, line);
        if !user.groups.contains(place) {
            if user.groups.len() >= GROUPS_MAX {
                return Err(AclCause::TooManyGroups(name.to_owned()));
            }
            user.groups.push(*place);
        }
        Ok(())
    }

    fn superuser_of(&mut self, section: &Section, line: usize) -> Result<&mut Option<Arc<RuleSource>>, AclCause> {
        match section {
            Section::Anonymous => Err(AclCause::AnonymousSuperuser),
            Section::User(name) => Ok(&mut self.user(name, line).superuser),
            Section::Group(place) => Ok(&mut self.group_at(*place).superuser),
        }
    }

    fn rules_of(&mut self, section: &Section, line: usize) -> &mut Vec<AccessRule> {
        match section {
            Section::Anonymous => &mut self.anonymous,
            Section::User(name) => &mut self.user(name, line).rules,
            Section::Group(place) => &mut self.group_at(*place).rules,
        }
    }

    /// The access rules of a client. `user` is its user name if that was verified.
    pub(super) fn access(&self, client_id: &str, user: Option<&str>) -> Access {
        if self.superuser(user).is_some() {
            return Access::superuser();
        }
        let named = user.and_then(|name| self.users.get(name));
        let own = match user {
            Some(_) => named.map(|user| &*user.rules).unwrap_or_default(),
            None => &self.anonymous,
        };
        let groups = || named.into_iter().flat_map(|user| self.groups_of(user));
        let of_groups = groups().flat_map(|group| group.rules.iter());
        let patterns = groups().flat_map(|group| group.patterns.iter()).chain(&self.patterns);
        let filled = patterns.filter_map(|pattern| pattern.rule(client_id, user));
        Access::new(own.iter().chain(of_groups).cloned().chain(filled).collect())
    }

    /// The line that makes a verified user a superuser.
    pub(super) fn superuser(&self, user: Option<&str>) -> Option<&Arc<RuleSource>> {
        let user = self.users.get(user?)?;
        let by_group = || self.groups_of(user).find_map(|group| group.superuser.as_ref());
        user.superuser.as_ref().or_else(by_group)
    }

    fn groups_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Group> {
        user.groups.iter().filter_map(|place| self.groups.get(*place))
    }
}

impl Place<'_> {
    fn source(self, text: &str) -> Arc<RuleSource> {
        Arc::new(RuleSource { file: Arc::clone(self.file), line: self.line, text: text.into() })
    }
}

impl Group {
    /// The number of its rules.
    const fn len(&self) -> usize {
        self.rules.len() + self.patterns.len()
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

/// Parses `[read|write|readwrite|deny|deny-read|deny-write] FILTER`. A single word is always the filter.
fn parse_rule(rest: &str) -> Result<(Effect, AccessAction, &str), AclCause> {
    let (access, filter) = split_word(rest);
    match (access, filter) {
        ("", _) => Err(AclCause::NoFilter),
        (filter, "") => Ok((Effect::Allow, AccessAction::Both, filter)),
        ("read", filter) => Ok((Effect::Allow, AccessAction::Subscribe, filter)),
        ("write", filter) => Ok((Effect::Allow, AccessAction::Publish, filter)),
        ("readwrite", filter) => Ok((Effect::Allow, AccessAction::Both, filter)),
        ("deny", filter) => Ok((Effect::Deny, AccessAction::Both, filter)),
        ("deny-read", filter) => Ok((Effect::Deny, AccessAction::Subscribe, filter)),
        ("deny-write", filter) => Ok((Effect::Deny, AccessAction::Publish, filter)),
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

/// Whether a filter has what a `pattern` fills in.
fn has_placeholder(filter: &str) -> bool {
    filter.contains("%c") || filter.contains("%u")
}

/// `filter` with `+` in place of each level that has a placeholder.
pub(super) fn deny_every_name(filter: &str) -> String {
    let levels = filter.split('/');
    let levels = levels.map(|level| if has_placeholder(level) { "+" } else { level });
    levels.collect::<Vec<_>>().join("/")
}

/// The first word, and the rest of the text.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// Groups of one user.
const GROUPS_MAX: usize = 256;

#[cfg(test)]
mod tests;
