//! Rules that replace topics by others, and topics with placeholders.
//!
//! Of the rules whose source filter matches a topic, the last one decides, as in EMQX: if its pattern does not match, the topic stays as it is.
//! Patterns are matched in linear time, and are compiled once.

use std::fmt;

use regex::{Captures, Regex, RegexBuilder};

use crate::topic::{InvalidTopic, TopicFilter};

/// The packets whose topics a rule replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewriteAction {
    /// PUBLISH and Wills.
    Publish,
    /// SUBSCRIBE and UNSUBSCRIBE.
    Subscribe,
    /// All of them.
    All,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteRule {
    action: RewriteAction,
    source: TopicFilter,
    pattern: Pattern,
    destination: Template,
}

/// All rules, the last one first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RewriteRules(Vec<RewriteRule>);

/// A text with placeholders: `%c` for the Client Identifier, `%u` for the verified user name, and `$1` to `$99` for what a pattern captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    ClientId,
    User,
    Capture(usize),
}

/// A compiled regular expression.
#[derive(Debug, Clone)]
struct Pattern(Regex);

/// The client whose topic it is.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    /// Its Client Identifier.
    pub client_id: &'a str,
    /// Its user name, if a provider has verified it.
    pub user: Option<&'a str>,
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// The source is no Topic Filter.
    #[error("source: {0}")]
    Source(InvalidTopic),
    /// The pattern is no regular expression, or too large.
    #[error("pattern: {0}")]
    Pattern(String),
    /// The destination names something that the pattern does not capture.
    #[error("destination: ${0} is not a group of the pattern")]
    Group(usize),
    /// The destination is empty, or begins with `$SYS` or `$share/`.
    #[error("destination: must not be empty, and not begin with $SYS or $share/")]
    Destination,
    /// A text is longer than [`TEXT_BYTES_MAX`].
    #[error("must have at most 1,024 bytes")]
    Long,
}

/// Why a topic has no replacement, although a rule is for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The rule needs a user name, and no provider has verified one.
    #[error("the topic needs a user name (%u), which the client has not")]
    NoUser,
    /// A name with such a character would change the levels of the topic, or be a wildcard.
    #[error("a Client Identifier or user name with /, +, # or U+0000 can't be a part of a topic")]
    Character,
    /// Longer than a topic can be.
    #[error("the replaced topic is too long")]
    Long,
    /// The replacement begins with `$SYS` or `$share/`.
    #[error("a topic is not replaced by one below $SYS or $share")]
    Reserved,
}

impl RewriteRule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// See [`InvalidRule`].
    pub fn new(action: RewriteAction, source: &str, pattern: &str, destination: &str) -> Result<Self, InvalidRule> {
        if [source, pattern, destination].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(InvalidRule::Long);
        }
        let source = TopicFilter::new(source.into()).map_err(InvalidRule::Source)?;
        let mut builder = RegexBuilder::new(pattern);
        let builder = builder.size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).nest_limit(NESTING_MAX);
        let pattern = builder.build().map_err(|error| InvalidRule::Pattern(one_line(&error)))?;
        let destination = Template::new(destination);
        if destination.is_empty() || is_reserved(destination.beginning()) {
            return Err(InvalidRule::Destination);
        }
        match destination.last_group().filter(|group| *group >= pattern.captures_len()) {
            Some(group) => Err(InvalidRule::Group(group)),
            None => Ok(Self { action, source, pattern: Pattern(pattern), destination }),
        }
    }

    fn is_for(&self, action: RewriteAction) -> bool {
        self.action == action || self.action == RewriteAction::All
    }
}

impl RewriteRules {
    /// The rules in the order of the configuration.
    pub fn new(rules: impl DoubleEndedIterator<Item = RewriteRule>) -> Self {
        Self(rules.rev().collect())
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a Topic Name or Topic Filter is replaced by; `None`: it stays as it is.
    ///
    /// # Errors
    /// See [`Unfit`]. The caller also validates the replacement.
    pub fn replace(&self, action: RewriteAction, topic: &str, whose: Whose<'_>) -> Result<Option<String>, Unfit> {
        if is_reserved(topic) {
            return Ok(None);
        }
        let rule = self.0.iter().find(|rule| rule.is_for(action) && matches(rule.source.as_str(), topic));
        let Some((rule, captures)) = rule.and_then(|rule| Some((rule, rule.pattern.0.captures(topic)?))) else {
            return Ok(None);
        };
        let replaced = rule.destination.fill(Some(&captures), whose)?;
        if is_reserved(&replaced) { Err(Unfit::Reserved) } else { Ok(Some(replaced)) }
    }
}

impl Template {
    /// Divides a text at its placeholders. Other uses of `%` and `$` are text.
    pub fn new(text: &str) -> Self {
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(first) = rest.chars().next() {
            let digits = rest.bytes().skip(1).take(GROUP_DIGITS_MAX).take_while(u8::is_ascii_digit).count();
            let (piece, length) = if rest.starts_with("%c") {
                (Some(Piece::ClientId), 2)
            } else if rest.starts_with("%u") {
                (Some(Piece::User), 2)
            } else if first == '$' && digits > 0 {
                let number = rest.get(1..=digits).and_then(|digits| digits.parse().ok());
                (number.map(Piece::Capture), 1 + digits)
            } else {
                (None, first.len_utf8())
            };
            let (taken, after) = rest.split_at(length);
            rest = after;
            match piece {
                None => literal.push_str(taken),
                Some(piece) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Self(pieces)
    }

    /// The text for a client.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub fn fill_for(&self, whose: Whose<'_>) -> Result<String, Unfit> {
        self.fill(None, whose)
    }

    fn fill(&self, captures: Option<&Captures<'_>>, whose: Whose<'_>) -> Result<String, Unfit> {
        let mut filled = String::new();
        for piece in &self.0 {
            let text = match piece {
                Piece::Text(text) => text,
                Piece::ClientId => name(whose.client_id)?,
                Piece::User => name(whose.user.ok_or(Unfit::NoUser)?)?,
                Piece::Capture(group) => {
                    captures.and_then(|captures| captures.get(*group)).map_or("", |found| found.as_str())
                }
            };
            if filled.len() + text.len() > TOPIC_BYTES_MAX {
                return Err(Unfit::Long);
            }
            filled.push_str(text);
        }
        Ok(filled)
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The highest number of a group that it names.
    pub fn last_group(&self) -> Option<usize> {
        let group = |piece: &Piece| if let Piece::Capture(group) = piece { Some(*group) } else { None };
        self.0.iter().filter_map(group).max()
    }

    /// The text before the first placeholder.
    fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::ClientId | Piece::User | Piece::Capture(_)) | None => "",
        }
    }
}

/// The same expression.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// A name that is a part of one level.
fn name(text: &str) -> Result<&str, Unfit> {
    if text.contains(['/', '+', '#', '\0']) { Err(Unfit::Character) } else { Ok(text) }
}

fn is_reserved(topic: &str) -> bool {
    let below_sys = topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below_sys || topic.starts_with("$share/")
}

/// Whether a source filter matches a Topic Name or Topic Filter. Wildcards of the latter are texts like others.
fn matches(filter: &str, topic: &str) -> bool {
    if filter.starts_with(['+', '#']) && topic.starts_with('$') {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        let level = levels.next();
        match wanted {
            "#" => return true,
            "+" if level.is_some() => {}
            _ if level == Some(wanted) => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// The last line of a multi-line error of the library, which says what is wrong.
fn one_line(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().to_owned()
}

/// The longest source, pattern and destination.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The memory of a compiled pattern, and of what it computes while it matches, for each thread.
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// Groups within groups.
const NESTING_MAX: u32 = 32;
/// The longest topic.
const TOPIC_BYTES_MAX: usize = 65_535;
/// The digits of the number of a group.
const GROUP_DIGITS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALICE: Whose<'_> = Whose { client_id: "pump-7", user: Some("alice") };

    fn rules(rules: &[(RewriteAction, &str, &str, &str)]) -> RewriteRules {
        let rule = |(action, source, pattern, destination): &(RewriteAction, &str, &str, &str)| {
            RewriteRule::new(*action, source, pattern, destination).unwrap()
        };
        RewriteRules::new(rules.iter().map(rule))
    }

    #[test]
    fn the_last_rule_whose_source_matches_decides() {
        use RewriteAction::{All, Publish, Subscribe};
        let rules = rules(&[
            (All, "y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2"),
            (All, "x/#", "^x/y/(.+)$", "z/y/x/$1"),
            (All, "x/y/+", r"^x/y/(\d+)$", "z/y/$1"),
            (Publish, "p/#", "^p/(.+)$", "q/$1"),
            (Subscribe, "p/#", "^p/(.+)$", "r/$1"),
            (All, "$SYS/#", "^.*$", "seized"),
        ]);
        let replaced = |action, topic| rules.replace(action, topic, ALICE).unwrap();
        for (topic, expected) in [
            ("y/def", None),
            ("y/a/z/b", Some("y/z/b")),
            ("x/1/2", None),
            ("x/y/2", Some("z/y/2")),
            ("x/y/z", None), // the last rule decides, and its pattern does not match
            ("x/y/z/w", Some("z/y/x/z/w")),
            ("p/1", Some("q/1")),
            ("$SYS/x", None),
        ] {
            assert_eq!(replaced(Publish, topic).as_deref(), expected, "{topic}");
        }
        assert_eq!(replaced(Subscribe, "p/+/#").as_deref(), Some("r/+/#"));
        assert_eq!(replaced(Subscribe, "$SYS/#"), None);
    }

    #[test]
    fn names_of_the_client_are_single_levels() {
        use RewriteAction::All;
        let rules = rules(&[(All, "a", "^a$", "devices/%c/%u"), (All, "b", "^b$", "100%/$x/%%c")]);
        let replaced = |topic, client_id, user| rules.replace(All, topic, Whose { client_id, user });
        assert_eq!(replaced("a", "c", Some("u")), Ok(Some("devices/c/u".into())));
        assert_eq!(replaced("a", "c", None), Err(Unfit::NoUser));
        assert_eq!(replaced("b", "c", None), Ok(Some("100%/$x/%c".into())));
        for bad in ["+", "#", "a/b", "a\0"] {
            assert_eq!(replaced("a", bad, Some("u")), Err(Unfit::Character));
            assert_eq!(replaced("a", "c", Some(bad)), Err(Unfit::Character));
        }
    }

    #[test]
    fn a_topic_never_becomes_one_of_the_broker_or_of_a_share_or_too_long() {
        use RewriteAction::All;
        let rules = rules(&[
            (All, "a/#", "^a/(.*)$", "$1"),
            (All, "long/#", "^long/(.*)$", "$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1"),
        ]);
        let replaced = |topic: &str| rules.replace(All, topic, ALICE);
        for topic in ["a/$SYS", "a/$SYS/broker", "a/$share/g/t"] {
            assert_eq!(replaced(topic), Err(Unfit::Reserved));
        }
        assert_eq!(replaced("a/$SYSTEM"), Ok(Some("$SYSTEM".into())));
        assert_eq!(replaced(&format!("long/{}", "x".repeat(5_000))), Err(Unfit::Long));
    }

    #[test]
    fn a_rule_that_cannot_be_used_is_named() {
        let error = |source: &str, pattern: &str, destination: &str| {
            RewriteRule::new(RewriteAction::All, source, pattern, destination).unwrap_err()
        };
        assert!(matches!(error("a/#/b", "a", "b"), InvalidRule::Source(_)));
        assert!(matches!(error("#", "a(", "b"), InvalidRule::Pattern(_)));
        assert!(matches!(error("#", "(a{1000}){1000}", "b"), InvalidRule::Pattern(_)));
        assert!(matches!(error("#", &"(".repeat(100), "b"), InvalidRule::Pattern(_)));
        assert_eq!(error("#", "^(a)$", "b/$2"), InvalidRule::Group(2));
        for destination in ["", "$SYS/a", "$share/g/a"] {
            assert_eq!(error("#", "a", destination), InvalidRule::Destination);
        }
        assert_eq!(error("#", &"a".repeat(1_025), "b"), InvalidRule::Long);
    }

    #[test]
    fn matching_takes_linear_time_where_backtracking_would_not_end() {
        let rules = rules(&[(RewriteAction::All, "#", "^(a+)+$", "b/$1")]);
        let topic = format!("{}!", "a".repeat(60_000));
        assert_eq!(rules.replace(RewriteAction::All, &topic, ALICE), Ok(None));
    }

    proptest! {
        #[test]
        fn no_template_and_no_topic_panics(template in "[$%cu0-9a/é]{0,20}", topic in "[a-c/$é]{0,20}") {
            let _ = Template::new(&template).fill_for(ALICE);
            if let Ok(rule) = RewriteRule::new(RewriteAction::All, "#", "(.*)/(.*)", &template) {
                let _ = RewriteRules::new([rule].into_iter()).replace(RewriteAction::All, &topic, ALICE);
            }
        }

        #[test]
        fn a_source_matches_topics_as_a_subscription_does(filter in "[ab+#$/]{1,8}", topic in "[ab$/]{1,8}") {
            if let (Ok(source), Ok(name)) =
                (TopicFilter::try_from(&*filter), crate::topic::TopicName::try_from(&*topic))
            {
                prop_assert_eq!(matches(&filter, &topic), source.matches(&name));
            }
        }
    }
}
