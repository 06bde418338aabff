//! Values of `/api/v1` as text.

use std::time::Duration;

use serde_json::Value;

/// The value at a JSON pointer as text; `-` if there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "\"\"".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// A time, to the second.
pub(super) fn time(value: &Value, pointer: &str) -> String {
    let text = text(value, pointer);
    match text.split_once('T') {
        Some((date, time)) => format!("{date} {}", time.get(..8).unwrap_or(time)),
        None => text,
    }
}

/// The number at a JSON pointer; 0 if there is none.
pub(super) fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

/// Seconds as days, hours, minutes and seconds.
pub(super) fn duration(seconds: f64) -> String {
    // Negative values and those that are not numbers become 0.
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |duration| duration.as_secs());
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Text for a terminal or a table: clients choose names, so what could move the cursor or reorder the line is escaped.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        if is_unsafe(char) {
            printable.extend(char.escape_debug());
        } else {
            printable.push(char);
        }
    }
    printable
}

/// JSON in one line, in which control characters are escaped. Outside of strings JSON has none.
pub(super) fn json(value: &Value) -> String {
    let text = value.to_string();
    if !text.chars().any(is_unsafe) {
        return text;
    }
    let escaped = |char: char| if is_unsafe(char) { format!("\\u{:04x}", u32::from(char)) } else { char.to_string() };
    text.chars().map(escaped).collect()
}

/// Control characters and those that change the direction of text.
fn is_unsafe(char: char) -> bool {
    char.is_control() || matches!(char, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_text() {
        let value =
            json!({ "a": { "b": 1, "n": null, "s": "x", "e": "" }, "t": "2026-11-29T02:03:04.567Z", "y": true });
        for (pointer, expected) in
            [("/a/b", "1"), ("/a/n", "-"), ("/a/s", "x"), ("/a/e", "\"\""), ("/none", "-"), ("/y", "yes")]
        {
            assert_eq!(text(&value, pointer), expected);
        }
        assert_eq!(time(&value, "/t"), "2026-11-29 02:03:04");
        assert_eq!(time(&value, "/a/n"), "-");
    }

    #[test]
    fn durations_have_the_largest_fitting_unit() {
        let durations = [-1.0, 59.0, 61.0, 7_265.0, 200_000.0, f64::NAN].map(duration);
        assert_eq!(durations, ["0s", "59s", "1m 1s", "2h 1m", "2d 7h", "0s"]);
    }

    #[test]
    fn a_hostile_name_can_not_move_the_cursor() {
        assert_eq!(printable("a\u{1B}[2J\u{9B}\n\u{202E}é"), "a\\u{1b}[2J\\u{9b}\\n\\u{202e}é");
        assert_eq!(json(&json!({ "a\u{9B}": "\u{1B}\u{202E}" })), "{\"a\\u009b\":\"\\u001b\\u202e\"}");
    }

    proptest! {
        #[test]
        fn escaped_json_is_the_same_value(text: String) {
            let value = json!({ "text": text });
            prop_assert_eq!(serde_json::from_str::<Value>(&json(&value)).unwrap(), value);
        }
    }
}
