//! Values as mosquitto reads them.

use super::Value;
use super::lines::Line;
use super::options::{Kind, Rule};

/// The value of an option that is no special one.
pub(super) fn value(rule: &Rule, line: &Line) -> Result<Value, String> {
    let first = || line.rest.split(' ').find(|word| !word.is_empty()).ok_or_else(|| EMPTY.to_owned());
    Ok(match rule.kind {
        Kind::Bool => Value::Bool(flag(first()?)?),
        Kind::Number(least, most) => {
            let number = number(first()?)?;
            if !(least..=most).contains(&number) {
                return Err(format!("{number} is not from {least} to {most}"));
            }
            Value::Number(number)
        }
        Kind::Text | Kind::LastText | Kind::EachText => Value::Text(text(&line.rest)?),
        Kind::Word(words) => {
            let word = first()?;
            if !words.contains(&word) {
                return Err(format!("{word:?} is none of {}", words.join(", ")));
            }
            Value::Text(word.to_owned())
        }
        Kind::Words => {
            let words = line.rest.split([' ', '\t', ',']).filter(|word| !word.is_empty()).map(str::to_owned);
            let words: Vec<String> = words.collect();
            if words.is_empty() {
                return Err(EMPTY.to_owned());
            }
            Value::Words(words)
        }
        Kind::Numbers(count) => {
            let words: Vec<String> = line.rest.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            let numbers = words.iter().take(count).filter(|word| number(word).is_ok_and(|number| number > 0));
            if numbers.count() < count {
                return Err(format!("it needs {count} positive numbers"));
            }
            Value::Words(words)
        }
        Kind::Ignored | Kind::Special => Value::Text(String::new()),
    })
}

pub(super) fn flag(word: &str) -> Result<bool, String> {
    match word {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{word:?} is neither true nor false")),
    }
}

/// As strtol reads it: hexadecimal with 0x, octal with 0.
pub(super) fn number(word: &str) -> Result<i64, String> {
    let invalid = || format!("{word:?} is no number");
    let (is_negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return Err(invalid());
    }
    let number = i64::from_str_radix(digits, radix).map_err(|_| invalid())?;
    Ok(if is_negative { -number } else { number })
}

/// The rest of a line without the spaces around it.
pub(super) fn text(rest: &str) -> Result<String, String> {
    let text = rest.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\u{b}');
    match text.len() {
        0 => Err(EMPTY.to_owned()),
        1..=TEXT_MAX => Ok(text.to_owned()),
        _ => Err("the value is too long".to_owned()),
    }
}

/// What is said about an option without a value.
pub(super) const EMPTY: &str = "it has no value";
/// MQTT's longest text.
const TEXT_MAX: usize = 65_535;
