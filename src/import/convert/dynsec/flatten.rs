//! Rules that count in their order, made into rules that count together, of which one that denies precedes all that allow.

use super::read::Rule;
use crate::routing::{covers, intersection};

/// What one client may do of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Flat {
    /// What is allowed, unless it is denied.
    pub(super) allow: Vec<String>,
    /// What is denied. Without any, the rules allow what they did in their order.
    pub(super) deny: Vec<String>,
    /// What was allowed by an earlier rule, and is denied in part now.
    pub(super) lost: Vec<String>,
}

/// Flattens rules, the first of which counts most. `otherwise` says what is so where none matches.
pub(super) fn flatten(rules: &[Rule], otherwise: bool) -> Flat {
    let mut flat = Flat::default();
    for (place, rule) in rules.iter().enumerate() {
        let (before, after) = (rules.get(..place).unwrap_or_default(), rules.get(place + 1..).unwrap_or_default());
        let allowing = |rules: &'_ [Rule]| -> Vec<Rule> { rules.iter().filter(|rule| rule.allows).cloned().collect() };
        if rule.allows {
            if !flat.allow.contains(&rule.topic) {
                flat.allow.push(rule.topic.clone());
            }
            continue;
        }
        let (before, after) = (allowing(before), allowing(after));
        // It denies what nothing allows, or what an earlier rule has allowed.
        let is_needed = otherwise || after.iter().any(|allow| overlap(&allow.topic, &rule.topic));
        let is_void = before.iter().any(|allow| !has_placeholder(&allow.topic) && is_within(&rule.topic, &allow.topic));
        if !is_needed || is_void {
            continue;
        }
        flat.deny.push(rule.topic.clone());
        flat.lost
            .extend(before.into_iter().filter(|allow| overlap(&allow.topic, &rule.topic)).map(|allow| allow.topic));
    }
    flat
}

/// The filters of the topics that a filter of each list matches.
pub(super) fn common(one: &[String], other: &[String]) -> Vec<String> {
    let pairs = one.iter().flat_map(|left| other.iter().map(move |right| (left, right)));
    let mut common = Vec::new();
    for (left, right) in pairs.take(PAIRS_MAX) {
        let (left, right): (Vec<_>, Vec<_>) = (left.split('/').collect(), right.split('/').collect());
        if let Some(levels) = intersection(&left, &right) {
            let filter = levels.join("/");
            if !common.contains(&filter) {
                common.push(filter);
            }
        }
    }
    common
}

/// Whether some topic matches both, whatever the client is called.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    intersection(&widened(one), &widened(other)).is_some()
}

/// Whether every topic of `inner` matches `outer`.
fn is_within(inner: &str, outer: &str) -> bool {
    covers(&outer.split('/').collect::<Vec<_>>(), &widened(inner))
}

/// The levels with + in the place of a name of the client.
pub(super) fn widened(topic: &str) -> Vec<&str> {
    topic.split('/').map(|level| if has_placeholder(level) { "+" } else { level }).collect()
}

/// Whether it has a placeholder, or the text of one.
pub(super) fn has_placeholder(topic: &str) -> bool {
    topic.contains("%c") || topic.contains("%u")
}

/// More pairs of rules of one client give no rules: the file would have too many for it.
const PAIRS_MAX: usize = 100_000;
