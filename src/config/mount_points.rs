use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::topic::{InvalidMountPoint, MountPoint};

/// The mount point of users, whatever their listener has: one `[[security.mount_points]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserMountPoint {
    /// The verified user name; `*` stands for any text.
    pub user: String,
    /// The mount point, with `%u` and `%c` as in that of a listener; empty: none.
    pub mount_point: String,
}

/// A mount point with placeholders: `%u` stands for the verified user name, `%c` for the Client Identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountTemplate(Box<str>);

/// Why a client has no mount point, where it must have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfillable {
    /// The template has `%u`, and the client is anonymous.
    NoUser,
    /// The user name can't be a level of a topic.
    User,
    /// The Client Identifier can't be a level of a topic.
    ClientId,
    /// It would begin with `$`, or be too long.
    Invalid(InvalidMountPoint),
}

impl MountTemplate {
    /// Checks a template.
    ///
    /// # Errors
    /// A sentence about what is wrong, without a subject.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut example = String::new();
        for level in text.split_inclusive('/') {
            let mut parts = level.split('%');
            example.extend(parts.next());
            let mut placeholders = 0;
            for part in parts {
                let Some(rest) = part.strip_prefix(['u', 'c']) else {
                    return Err("knows the placeholders %u (user name) and %c (client identifier) alone".to_owned());
                };
                placeholders += 1;
                example.push('x');
                example.push_str(rest);
            }
            if placeholders > 1 {
                // `a` and `bc` would have the same mount point as `ab` and `c`.
                return Err("must not have two placeholders in one level".to_owned());
            }
        }
        MountPoint::new(&example).map(|_| Self(text.into())).map_err(|error| error.to_string())
    }

    /// The mount point of a client. `user` is its verified user name.
    ///
    /// # Errors
    /// See [`Unfillable`].
    pub fn fill(&self, user: Option<&str>, client_id: &str) -> Result<MountPoint, Unfillable> {
        let mut parts = self.0.split('%');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (value, rest) = match part.strip_prefix('u') {
                Some(rest) => {
                    let user = user.ok_or(Unfillable::NoUser)?;
                    (level(user).ok_or(Unfillable::User)?, rest)
                }
                None => {
                    let rest = part.strip_prefix('c').unwrap_or_default();
                    (level(client_id).ok_or(Unfillable::ClientId)?, rest)
                }
            };
            filled.push_str(value);
            filled.push_str(rest);
        }
        MountPoint::new(&filled).map_err(Unfillable::Invalid)
    }
}

/// The text, if it can be a part of a level: nothing in it makes another level or a wildcard of it.
fn level(text: &str) -> Option<&str> {
    let is_plain = |character: char| !matches!(character, '/' | '+' | '#') && !character.is_control();
    (!text.is_empty() && text.chars().all(is_plain)).then_some(text)
}

impl UserMountPoint {
    /// Checks what the types do not express. `key` is the path of this entry.
    pub(super) fn problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.user.is_empty() {
            problems.push(Problem::new(&format!("{key}.user"), "must be a user name, or a pattern with *"));
        }
        if let Err(text) = self.template() {
            problems.push(Problem::new(&format!("{key}.mount_point"), &text));
        }
        problems
    }

    /// The template; `None`: these users have no mount point.
    ///
    /// # Errors
    /// See [`MountTemplate::new`].
    pub fn template(&self) -> Result<Option<MountTemplate>, String> {
        if self.mount_point.is_empty() { Ok(None) } else { MountTemplate::new(&self.mount_point).map(Some) }
    }

    /// Whether this is about a user with this name.
    pub fn is_of(&self, name: &str) -> bool {
        matches(&self.user, name)
    }
}

/// Whether `name` matches a pattern in which `*` stands for any text. Takes time proportional to the length of the name for each part of the
/// pattern.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Listener};
    use super::*;

    fn fill(template: &str, user: Option<&str>, client_id: &str) -> Result<String, Unfillable> {
        MountTemplate::new(template).unwrap().fill(user, client_id).map(|mount_point| mount_point.to_string())
    }

    #[test]
    fn placeholders_are_filled_with_one_level() {
        assert_eq!(fill("tenants/a/", None, "c"), Ok("tenants/a/".to_owned()));
        assert_eq!(fill("t/%u/d/%c/", Some("alice"), "pump 7"), Ok("t/alice/d/pump 7/".to_owned()));
        assert_eq!(fill("x-%u-y/", Some("%c"), "c"), Ok("x-%c-y/".to_owned()), "a value is not a template");
        assert_eq!(fill("%u/", None, "c"), Err(Unfillable::NoUser));
        for name in ["a/b", "/", "+", "a+", "#", "", "a\0", "a\n", "\u{7F}"] {
            assert_eq!(fill("t/%u/", Some(name), "c"), Err(Unfillable::User), "{name:?}");
            assert_eq!(fill("t/%c/", None, name), Err(Unfillable::ClientId), "{name:?}");
        }
        for name in ["$SYS", "$share", "$"] {
            assert_eq!(fill("%u/", Some(name), "c"), Err(Unfillable::Invalid(InvalidMountPoint::Reserved)));
            assert!(fill("t/%u/", Some(name), "c").is_ok());
        }
        let long = "x".repeat(2_000);
        assert_eq!(fill("%u/", Some(&long), "c"), Err(Unfillable::Invalid(InvalidMountPoint::TooLong)));
    }

    #[test]
    fn templates_that_would_mix_namespaces_are_refused() {
        for (template, part) in [
            ("tenant", "must end with /"),
            ("", "must end with /"),
            ("%u", "must end with /"),
            ("%u%c/", "two placeholders"),
            ("a/%u-%c/", "two placeholders"),
            ("%x/", "%u (user name)"),
            ("%/", "%u (user name)"),
            ("a%", "%u (user name)"),
            ("$SYS/%u/", "must not begin with $"),
            ("a/+/", "must not contain"),
            ("a/#/", "must not contain"),
        ] {
            let error = MountTemplate::new(template).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, yes, no) in [
            ("alice", &["alice"][..], &["alice2", "xalice", ""][..]),
            ("acme-*", &["acme-", "acme-1"], &["acme", "xacme-1"]),
            ("*-acme", &["1-acme", "-acme"], &["1-acme-"]),
            ("*", &["", "a"], &[]),
            ("a*b*c", &["abc", "a1b2c", "abbcc"], &["ab", "acb", "abcd"]),
            ("a*a", &["aa", "aba"], &["a"]),
            ("**a", &["a", "ba"], &["ab"]),
        ] {
            assert!(yes.iter().all(|name| matches(pattern, name)), "{pattern}");
            assert!(!no.iter().any(|name| matches(pattern, name)), "{pattern}");
        }
    }

    #[test]
    fn wrong_mount_points_are_problems_at_their_setting() {
        let listener =
            Listener { mount_point: Some("tenant".to_owned()), ..Listener::new("127.0.0.1:1".parse().unwrap()) };
        let mut config = Config { listeners: vec![listener], ..Config::default() };
        config.security.mount_points = vec![
            UserMountPoint { user: String::new(), mount_point: "a/".to_owned() },
            UserMountPoint { user: "*".to_owned(), mount_point: "%u".to_owned() },
            UserMountPoint { user: "staff".to_owned(), mount_point: String::new() },
        ];
        let mut problems = config.problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>();
        problems.sort();
        let expected =
            ["listeners[0].mount_point", "security.mount_points[0].user", "security.mount_points[1].mount_point"];
        assert_eq!(problems, expected);
    }
}
