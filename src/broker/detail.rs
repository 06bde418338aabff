use std::sync::Arc;

use crate::codec::ClientId;

/// Which details the caller wants as [`Report`](crate::broker::Report)s, and about which clients. Without any, none is built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    level: DetailLevel,
    /// Patterns of Client Identifiers; none: all clients.
    clients: Arc<[ClientPattern]>,
}

/// How much detail the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DetailLevel {
    /// None.
    #[default]
    Off,
    /// Publishes, subscriptions, and the life of Sessions and Wills.
    Debug,
    /// Every packet too. The caller reports packets itself.
    Trace,
}

/// A pattern of Client Identifiers: `*` stands for any characters, `?` for one, every other character for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPattern(Box<str>);

impl Detail {
    /// The details of `level` about clients that match one of the patterns, or about all clients if there is no pattern.
    pub fn new(level: DetailLevel, patterns: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self { level, clients: patterns.into_iter().map(|pattern| ClientPattern(pattern.into())).collect() }
    }

    /// These details, and at least [`DetailLevel::Debug`] about the clients that others want by one of their patterns each; `None`: about all.
    #[must_use]
    pub fn with(&self, others: &[Option<&ClientPattern>]) -> Self {
        if others.is_empty() {
            return self.clone();
        }
        let own = if self.level == DetailLevel::Off { None } else { Some(&*self.clients) };
        let wants_all = own.is_some_and(<[_]>::is_empty) || others.contains(&None);
        let clients = own.into_iter().flatten().chain(others.iter().copied().flatten()).filter(|_| !wants_all);
        Self { level: self.level.max(DetailLevel::Debug), clients: clients.cloned().collect() }
    }

    /// How much detail.
    pub const fn level(&self) -> DetailLevel {
        self.level
    }

    /// Whether any detail is wanted. The path of a message asks this alone while the details are off.
    #[inline]
    pub(in crate::broker) fn is_on(&self) -> bool {
        self.level != DetailLevel::Off
    }

    /// Whether details about this client are wanted. With patterns, a connection without Client Identifier is left out.
    pub fn wants(&self, client_id: Option<&ClientId>) -> bool {
        self.level != DetailLevel::Off
            && (self.clients.is_empty()
                || client_id.is_some_and(|id| self.clients.iter().any(|pattern| pattern.matches(id.as_str()))))
    }
}

impl ClientPattern {
    /// A pattern.
    pub fn new(pattern: impl Into<Box<str>>) -> Self {
        Self(pattern.into())
    }

    /// The steps that [`matches`](Self::matches) takes at most; one is about a nanosecond.
    pub(in crate::broker) const fn steps(&self, name: &str) -> usize {
        self.0.len() * name.len()
    }

    /// Whether `name` matches. The time is at most proportional to the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut of) = (0, 0);
        // After a `*`: the rest of the pattern, and the part of the name where it is tried next.
        let mut retry = None;
        loop {
            match (pattern.get(at), name.get(of)) {
                (Some(b'*'), _) => {
                    at += 1;
                    retry = Some((at, of));
                }
                (None, None) => return true,
                (Some(b'?'), Some(first)) => (at, of) = (at + 1, of + character_len(*first)),
                (Some(expected), Some(found)) if expected == found => (at, of) = (at + 1, of + 1),
                (Some(_), _) | (None, Some(_)) => {
                    let Some((after, from)) = &mut retry else { return false };
                    let Some(next) = next_place(pattern.get(*after).copied(), name, *from) else { return false };
                    *from = next;
                    (at, of) = (*after, next);
                }
            }
        }
    }
}

/// Where a pattern that goes on with `expected` after a `*`, and does not match at `from`, may match next.
fn next_place(expected: Option<u8>, name: &[u8], from: usize) -> Option<usize> {
    match expected {
        None => Some(name.len()),
        Some(b'?') => Some(from + character_len(*name.get(from)?)),
        // A byte that begins a character, because the pattern is text, too.
        Some(expected) => Some(from + 1 + name.get(from + 1..)?.iter().position(|byte| *byte == expected)?),
    }
}

/// The bytes of a character of UTF-8 text that begins with this byte.
const fn character_len(first: u8) -> usize {
    match first.leading_ones() {
        0 => 1,
        bytes => bytes as usize,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_has_stars_and_question_marks() {
        for (pattern, name, matches) in [
            ("", "", true),
            ("", "a", false),
            ("sensor-*", "sensor-7", true),
            ("sensor-*", "sensor-", true),
            ("sensor-*", "Sensor-7", false),
            ("*-7", "sensor-7", true),
            ("*-7", "sensor-77", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*aab", "aaaaab", true),
            ("s?n", "sün", true),
            ("s?n", "sn", false),
            ("**", "", true),
            ("?", "", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(ClientPattern(pattern.into()).matches(name), matches, "{pattern:?} {name:?}");
        }
    }

    /// What a pattern means, word for word.
    fn means(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|from| means(rest, &name[from..])),
            (['?', rest @ ..], [_, name @ ..]) => means(rest, name),
            ([expected, rest @ ..], [found, name @ ..]) => expected == found && means(rest, name),
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_means(pattern in "[ab?*üヅ𝄞]{0,8}", name in "[abüヅ𝄞]{0,8}") {
            let (wanted, of) = (pattern.chars().collect::<Vec<_>>(), name.chars().collect::<Vec<_>>());
            prop_assert_eq!(ClientPattern::new(&*pattern).matches(&name), means(&wanted, &of));
        }
    }

    #[test]
    fn a_filter_selects_clients_and_leaves_out_who_has_no_name() {
        let id = |id: &str| ClientId(id.into());
        let all = Detail::new(DetailLevel::Debug, [""; 0]);
        assert!(all.wants(None) && all.wants(Some(&id("a"))));
        let some = Detail::new(DetailLevel::Trace, ["a*", "b"]);
        assert!(some.wants(Some(&id("ab"))) && some.wants(Some(&id("b"))));
        assert!(!some.wants(Some(&id("c"))) && !some.wants(None));
        assert!(!Detail::default().wants(Some(&id("a"))));

        let pattern = ClientPattern::new("c");
        let both = some.with(&[Some(&pattern)]);
        assert!(both.wants(Some(&id("ab"))) && both.wants(Some(&id("c"))) && !both.wants(Some(&id("d"))));
        assert_eq!((both.level(), some.with(&[])), (DetailLevel::Trace, some.clone()));
        assert!(some.with(&[Some(&pattern), None]).wants(None) && all.with(&[Some(&pattern)]).wants(None));
        let off = Detail::new(DetailLevel::Off, ["a"]).with(&[Some(&pattern)]);
        assert!(off.level() == DetailLevel::Debug && off.wants(Some(&id("c"))) && !off.wants(Some(&id("a"))));
    }
}
