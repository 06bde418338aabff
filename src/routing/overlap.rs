//! Containment and intersection of Topic Filters as sets of topics.

use std::borrow::Cow;

/// Whether `outer` matches every topic that `inner` matches.
pub(crate) fn covers(outer: &[&str], inner: &[&str]) -> bool {
    if starts_with_wildcard(outer) && starts_with_dollar(inner) {
        return false; // [MQTT-4.7.2-1]
    }
    let (outer, inner) = (spelt_out(outer), spelt_out(inner));
    let mut outer_levels = outer.iter();
    for &level in inner.iter() {
        match outer_levels.next() {
            Some(&"#") => return true,
            Some(&"+") if level != "#" => {}
            Some(&outer_level) if outer_level == level => {}
            _ => return false,
        }
    }
    matches!(outer_levels.next(), None | Some(&"#"))
}

/// The filter that matches exactly the topics that both filters match; `None` if there are none.
pub(crate) fn intersection<'a>(left: &[&'a str], right: &[&'a str]) -> Option<Vec<&'a str>> {
    let dollar_apart = |one, other| starts_with_wildcard(one) && starts_with_dollar(other);
    if dollar_apart(left, right) || dollar_apart(right, left) {
        return None; // [MQTT-4.7.2-1]
    }
    let mut common = Vec::with_capacity(left.len().max(right.len()));
    let (mut left_levels, mut right_levels) = (left.iter(), right.iter());
    loop {
        let level = match (left_levels.next(), right_levels.next()) {
            (None, None) | (None, Some(&"#")) | (Some(&"#"), None) => return Some(common),
            (Some(&"#"), Some(&level)) => {
                common.push(level);
                common.extend(right_levels);
                return Some(common);
            }
            (Some(&level), Some(&"#")) => {
                common.push(level);
                common.extend(left_levels);
                return Some(common);
            }
            (None, Some(_)) | (Some(_), None) => return None,
            (Some(&"+"), Some(&level)) | (Some(&level), Some(&"+")) => level,
            (Some(&left), Some(&right)) if left == right => left,
            (Some(_), Some(_)) => return None,
        };
        common.push(level);
    }
}

fn starts_with_wildcard(levels: &[&str]) -> bool {
    matches!(levels.first(), Some(&"+" | &"#"))
}

fn starts_with_dollar(levels: &[&str]) -> bool {
    levels.first().is_some_and(|level| level.starts_with('$'))
}

/// Replaces `#` alone by `+/#`: both match the same topics, because every topic has a first level.
fn spelt_out<'a, 'b>(levels: &'b [&'a str]) -> Cow<'b, [&'a str]> {
    if levels == ["#"] { Cow::Owned(vec!["+", "#"]) } else { Cow::Borrowed(levels) }
}
