use super::super::nearest::nearest;

/// A query that the operator has written, with `${…}` where values of a client belong.
///
/// A value is always a parameter of the prepared statement. It is never a part of the text of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The query for PostgreSQL, with `$1`, `$2`, ….
    pub sql: String,
    /// What `$1`, `$2`, … stand for, in this order. Each at most once.
    pub placeholders: Vec<Placeholder>,
}

/// A value of a client that a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// User Name of CONNECT.
    Username,
    /// Its Client Identifier.
    ClientId,
    /// Its IP address.
    Address,
    /// The name of its listener.
    Listener,
    /// The user name in its certificate.
    CertificateIdentity,
}

impl Placeholder {
    const ALL: [Self; 5] = [Self::Username, Self::ClientId, Self::Address, Self::Listener, Self::CertificateIdentity];

    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::ClientId => "client_id",
            Self::Address => "address",
            Self::Listener => "listener",
            Self::CertificateIdentity => "certificate_identity",
        }
    }

    /// The placeholder of this name. The error is a predicate about the query.
    fn named(name: &str) -> Result<Self, String> {
        if name == "password" {
            return Err("has ${password}: the password of a client is never sent to the database".to_owned());
        }
        let known = Self::ALL.iter().find(|placeholder| placeholder.name() == name);
        known.copied().ok_or_else(|| {
            let hint = nearest(name, Self::ALL.iter().map(|placeholder| placeholder.name()));
            let hint = hint.map(|name| format!("; did you mean ${{{name}}}?")).unwrap_or_default();
            let names = Self::ALL.map(|placeholder| format!("${{{}}}", placeholder.name())).join(", ");
            format!("has ${{{name}}}, which is none of {names}{hint}")
        })
    }
}

impl Query {
    /// Reads a query. Placeholders within quotes or comments would be text, so they are errors.
    ///
    /// # Errors
    /// A placeholder is unknown or quoted, or there is none: the text is a predicate about the query.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self { sql: String::with_capacity(text.len()), placeholders: Vec::new() };
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let quoted = quoted_length(rest, query.sql.chars().next_back())?;
            let (part, after) = match quoted {
                Some(length) => rest.split_at(length),
                None if next == '$' => {
                    rest = query.add_placeholder(rest)?;
                    continue;
                }
                None => rest.split_at(next.len_utf8()),
            };
            if part.contains("${") {
                return Err("has a placeholder within quotes or a comment: write it without, because it stands for the whole value".to_owned());
            }
            query.sql.push_str(part);
            rest = after;
        }
        if query.sql.contains('\0') {
            return Err("has a NUL character".to_owned());
        }
        if query.placeholders.is_empty() {
            return Err(
                "has no placeholder, such as ${username}: its answer would be the same for all clients".to_owned()
            );
        }
        Ok(query)
    }

    /// Adds the placeholder at the beginning of `rest`, and returns what follows it.
    fn add_placeholder<'a>(&mut self, rest: &'a str) -> Result<&'a str, String> {
        let Some((name, after)) = rest.strip_prefix("${").and_then(|rest| rest.split_once('}')) else {
            return Err(
                "has a $ that begins no placeholder: they are written ${username}; write text in single quotes"
                    .to_owned(),
            );
        };
        let placeholder = Placeholder::named(name)?;
        let known = self.placeholders.iter().position(|known| *known == placeholder);
        let place = known.unwrap_or_else(|| {
            self.placeholders.push(placeholder);
            self.placeholders.len() - 1
        });
        self.sql.push_str(&format!("${}", place + 1));
        Ok(after)
    }
}

/// The length of the quoted text or the comment at the beginning of `text`, which comes after the character `before`; `None`: there is none.
fn quoted_length(text: &str, before: Option<char>) -> Result<Option<usize>, String> {
    let length = match text.as_bytes() {
        [b'\'', ..] => until_quote(text, '\'', matches!(before, Some('e' | 'E'))),
        [b'"', ..] => until_quote(text, '"', false),
        [b'-', b'-', ..] => Some(text.find('\n').unwrap_or(text.len())),
        [b'/', b'*', ..] => comment_length(text),
        _ => return Ok(None),
    };
    length.map(Some).ok_or_else(|| "has a quote or a comment without an end".to_owned())
}

/// The length of a text in quotes. A doubled quote is two texts in a row here, which is the same for a search.
fn until_quote(text: &str, quote: char, has_escapes: bool) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' && has_escapes {
            characters.next();
        } else if character == quote {
            return Some(at + 1);
        }
    }
    None
}

/// The length of a comment. Comments within comments count, as in PostgreSQL.
fn comment_length(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_placeholder_is_a_parameter_wherever_it_stands() {
        let query = Query::parse(
            "SELECT password_hash FROM u -- who\nWHERE name = ${username} AND (id = ${client_id} OR ${username} = '$1' /* '/* */ */)\
             AND a = ${address}::inet AND l = ${listener} AND \"$\" = E'\\'' AND c=${certificate_identity}",
        );
        let expected = "SELECT password_hash FROM u -- who\nWHERE name = $1 AND (id = $2 OR $1 = '$1' /* '/* */ */)\
             AND a = $3::inet AND l = $4 AND \"$\" = E'\\'' AND c=$5";
        let query = query.unwrap();
        assert_eq!(query.sql, expected);
        assert_eq!(query.placeholders, Placeholder::ALL);
    }

    #[test]
    fn what_would_not_be_a_parameter_is_an_error() {
        for (text, cause) in [
            ("SELECT 1 WHERE a = '${username}'", "within quotes"),
            ("SELECT 1 WHERE a = \"${username}\"", "within quotes"),
            ("SELECT 1 -- ${username}", "within quotes"),
            ("SELECT 1 /* ${username} */", "within quotes"),
            ("SELECT 1 WHERE a = 'it''s ${username}'", "within quotes"),
            ("SELECT 1 WHERE a = E'\\'${username}'", "within quotes"),
            ("SELECT 1 WHERE a = ${password}", "never sent"),
            ("SELECT 1 WHERE a = ${clientid}", "did you mean ${client_id}?"),
            ("SELECT 1 WHERE a = ${xyz}", "which is none of ${username}, "),
            ("SELECT 1 WHERE a = $1", "begins no placeholder"),
            ("SELECT 1 WHERE a = $$x$$", "begins no placeholder"),
            ("SELECT 1 WHERE a = ${username", "begins no placeholder"),
            ("SELECT 1 WHERE a = 'x", "without an end"),
            ("SELECT 1 /* /* */", "without an end"),
            ("SELECT 1 WHERE a = 'x'", "no placeholder"),
            ("", "no placeholder"),
            ("SELECT ${username}\0", "NUL"),
        ] {
            let problem = Query::parse(text).unwrap_err();
            assert!(problem.contains(cause), "{text}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic_and_what_is_read_has_no_placeholder_left(
            parts in prop::collection::vec(
                prop::sample::select(vec!["${username}", "${client_id}", "'", "\"", "--", "\n", "/*", "*/", "E", "\\", "$", "ä", " a "]), 0..12),
        ) {
            if let Ok(query) = Query::parse(&parts.concat()) {
                let has_rest = query.sql.contains("${");
                prop_assert!(!has_rest);
                prop_assert!(!query.placeholders.is_empty());
            }
        }
    }
}
