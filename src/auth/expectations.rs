//! Expected decisions of an ACL file, to test its rules before a broker uses them.
//!
//! ```text
//! # allow or deny, user, Client Identifier, publish or subscribe, topic
//! allow alice device-7 publish home/alice/light
//! deny  -     -        subscribe secret/#          # (comments stand on lines of their own)
//! allow "bob builder" "pump 1" publish plant/hall 3
//! ```

use std::path::{Path, PathBuf};

use super::acl_file::{AclFile, AclSize};
use super::error::{AuthError, read};
use super::password_file::significant;
use crate::routing::{Access, RuleSource};
use crate::topic::{Filter, InvalidTopic, TopicName};

/// The rules of an ACL file.
#[derive(Debug)]
pub struct AclRules(AclFile);

/// What a line of a file expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The line, from 1.
    pub line: usize,
    /// Whether the rules must allow it.
    pub is_allowed: bool,
    /// The verified user name; `None`: the client is anonymous.
    pub user: Option<String>,
    /// The Client Identifier; if it is empty, no `%c` is filled in.
    pub client_id: String,
    /// What the client does.
    pub action: ExpectedAction,
}

/// The action of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedAction {
    /// Publish to a topic.
    Publish(TopicName),
    /// Subscribe to a filter, or receive the messages of a topic.
    Subscribe(Filter),
}

/// Why a file of expected decisions can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpectationError {
    /// The file can't be read.
    #[error(transparent)]
    Unreadable(#[from] AuthError),
    /// A line is invalid.
    #[error("{}:{line}: {cause}", path.display())]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is invalid.
        cause: ExpectationCause,
    },
}

/// Why a line with an expected decision is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpectationCause {
    /// It has not five words.
    #[error("a line must be allow|deny USER CLIENT publish|subscribe TOPIC, with - for an anonymous client")]
    Form,
    /// A quotation mark without another.
    #[error("a quotation mark has no end")]
    Quote,
    /// The topic is not valid.
    #[error("`{topic}` is not a valid topic here: {source}")]
    Topic {
        /// The topic.
        topic: String,
        /// Why it isn't valid.
        source: InvalidTopic,
    },
}

impl AclRules {
    /// Reads an ACL file.
    ///
    /// # Errors
    /// It can't be read, or has an invalid line.
    pub fn read(path: &Path) -> Result<Self, AuthError> {
        AclFile::read(path).map(Self)
    }

    /// How much it has.
    pub fn size(&self) -> AclSize {
        self.0.size()
    }

    /// What a client may do. `user` is its verified user name.
    pub fn access(&self, client_id: &str, user: Option<&str>) -> Access {
        self.0.access(client_id, user)
    }

    /// The line that makes a verified user a superuser.
    pub fn superuser_line(&self, user: Option<&str>) -> Option<&RuleSource> {
        self.0.superuser(user).map(|source| &**source)
    }
}

impl Expectation {
    /// Reads a file of expected decisions.
    ///
    /// # Errors
    /// It can't be read, or has an invalid line.
    pub fn read(path: &Path) -> Result<Vec<Self>, ExpectationError> {
        let invalid = |(line, cause)| ExpectationError::Invalid { path: path.to_owned(), line, cause };
        Self::parse(&read(path)?).map_err(invalid)
    }

    /// The expected decisions of a text.
    ///
    /// # Errors
    /// The first line that is invalid, from 1, and why.
    pub fn parse(text: &str) -> Result<Vec<Self>, (usize, ExpectationCause)> {
        let lines = (1..).zip(text.lines()).filter_map(|(number, line)| Some((number, significant(line)?)));
        lines.map(|(number, line)| Self::of(number, line).map_err(|cause| (number, cause))).collect()
    }

    fn of(line: usize, text: &str) -> Result<Self, ExpectationCause> {
        let (effect, rest) = word(text)?;
        let (user, rest) = word(rest)?;
        let (client_id, rest) = word(rest)?;
        let (action, topic) = word(rest)?;
        let is_allowed = match &effect {
            Word::Plain("allow") => true,
            Word::Plain("deny") => false,
            Word::Plain(_) | Word::Quoted(_) => return Err(ExpectationCause::Form),
        };
        let invalid = |source| ExpectationCause::Topic { topic: topic.to_owned(), source };
        let action = match &action {
            _ if topic.is_empty() => return Err(ExpectationCause::Form),
            Word::Plain("publish") => ExpectedAction::Publish(TopicName::new(topic.into()).map_err(invalid)?),
            Word::Plain("subscribe") => ExpectedAction::Subscribe(Filter::new(topic.into()).map_err(invalid)?),
            Word::Plain(_) | Word::Quoted(_) => return Err(ExpectationCause::Form),
        };
        Ok(Self { line, is_allowed, user: user.name(), client_id: client_id.name().unwrap_or_default(), action })
    }
}

/// A word of a line.
#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    Plain(&'a str),
    /// Between quotation marks, where a backslash stands before a quotation mark or a backslash of the name.
    Quoted(String),
}

impl Word<'_> {
    /// A name; `None`: there is none.
    fn name(self) -> Option<String> {
        match self {
            Self::Plain("-") => None,
            Self::Plain(name) => Some(name.to_owned()),
            Self::Quoted(name) => Some(name),
        }
    }
}

/// The first word, and the rest of the text.
fn word(text: &str) -> Result<(Word<'_>, &str), ExpectationCause> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return if word.is_empty() { Err(ExpectationCause::Form) } else { Ok((Word::Plain(word), rest.trim_start())) };
    };
    let (mut name, mut letters) = (String::new(), quoted.char_indices());
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => {
                let rest = quoted.get(place + 1..).unwrap_or_default();
                let is_end = rest.is_empty() || rest.starts_with(char::is_whitespace);
                let found = is_end.then(|| (Word::Quoted(name), rest.trim_start()));
                return found.ok_or(ExpectationCause::Form);
            }
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            _ => name.push(letter),
        }
    }
    Err(ExpectationCause::Quote)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Result<(bool, Option<String>, String, String), ExpectationCause> {
        let Expectation { is_allowed, user, client_id, action, .. } = Expectation::of(1, line)?;
        let action = match action {
            ExpectedAction::Publish(topic) => format!("publish {}", topic.as_str()),
            ExpectedAction::Subscribe(filter) => format!("subscribe {filter}"),
        };
        Ok((is_allowed, user, client_id, action))
    }

    #[test]
    fn a_line_has_a_decision_a_client_and_a_topic() {
        let line = |is_allowed, user: Option<&str>, client_id: &str, action: &str| {
            Ok((is_allowed, user.map(str::to_owned), client_id.to_owned(), action.to_owned()))
        };
        for (text, expected) in [
            (
                "allow alice device-7 publish home/alice/light",
                line(true, Some("alice"), "device-7", "publish home/alice/light"),
            ),
            ("deny - - subscribe secret/#", line(false, None, "", "subscribe secret/#")),
            ("deny  \"-\"\t- \t subscribe  $share/g/a", line(false, Some("-"), "", "subscribe $share/g/a")),
            (
                r#"allow "bob builder" "a\\\"b" publish hall 3"#,
                line(true, Some("bob builder"), r#"a\"b"#, "publish hall 3"),
            ),
            ("allow \"\" é subscribe #", line(true, Some(""), "é", "subscribe #")),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        for text in [
            "allow",
            "allow a b publish",
            "permit a b publish t",
            "allow a b read t",
            "\"allow\" a b publish t",
            "allow \"a\"b c publish t",
        ] {
            assert_eq!(parsed(text), Err(ExpectationCause::Form), "{text}");
        }
        assert_eq!(parsed("allow \"a b publish t"), Err(ExpectationCause::Quote));
        assert!(matches!(parsed("allow a b publish t/#"), Err(ExpectationCause::Topic { .. })));
    }

    #[test]
    fn an_invalid_line_is_named() {
        assert_eq!(Expectation::parse("# x\n\nallow - - publish a\nallow"), Err((4, ExpectationCause::Form)));
        let found = Expectation::parse("# x\n\nallow - - publish a\n").unwrap();
        assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [3]);
    }

    proptest! {
        #[test]
        fn every_name_can_be_written(user: String, client_id: String) {
            prop_assume!(!user.contains(['\n', '\r']) && !client_id.contains(['\n', '\r']));
            let quoted = |name: &str| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
            let text = format!("allow {} {} publish a", quoted(&user), quoted(&client_id));
            let [found] = &Expectation::parse(&text).unwrap()[..] else { panic!("one line") };
            prop_assert_eq!((found.user.as_deref(), &*found.client_id), (Some(&*user), &*client_id));
        }

        #[test]
        fn no_text_causes_a_panic(text: String) {
            let _ = Expectation::parse(&text);
            let _ = Expectation::parse(&format!("allow {text} publish {text}"));
        }
    }
}
