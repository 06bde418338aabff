//! Reads where a subscription to a stream begins: `earliest`, `latest`, `seq:N`, or a time.

use std::str::FromStr;

use crate::broker::streams::start::StreamStart;

/// Why a text is no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOffset {
    /// It is none of the forms.
    #[error("expected earliest, latest, seq:N, or a time in milliseconds since 1970 or as 2026-01-31T12:00:00Z")]
    Unknown,
    /// The sequence is not valid.
    #[error("the sequence behind seq: must be a number from 1 to 18446744073709551615")]
    Sequence,
    /// The number of milliseconds is too large.
    #[error("the time in milliseconds must be at most 18446744073709551615")]
    Milliseconds,
    /// There is no such date or time.
    #[error("there is no such date or time")]
    Time,
}

impl FromStr for StreamStart {
    type Err = InvalidOffset;

    fn from_str(text: &str) -> Result<Self, InvalidOffset> {
        parse_offset(text)
    }
}

/// Reads an offset.
pub(in crate::broker) fn parse_offset(text: &str) -> Result<StreamStart, InvalidOffset> {
    match text {
        "earliest" => return Ok(StreamStart::Earliest),
        "latest" => return Ok(StreamStart::Latest),
        _ => {}
    }
    if let Some(sequence) = text.strip_prefix("seq:") {
        let sequence = number(sequence).filter(|sequence| *sequence > 0);
        return sequence.map(StreamStart::Sequence).ok_or(InvalidOffset::Sequence);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(text).map(StreamStart::Time).ok_or(InvalidOffset::Milliseconds);
    }
    time(text).map(StreamStart::Time)
}

/// A number of decimal digits alone.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A date and time of RFC 3339, in milliseconds since 1970, rounded up; what is earlier counts as 1970.
fn time(text: &str) -> Result<u64, InvalidOffset> {
    let bytes = text.as_bytes();
    let is_date_time = bytes.len() >= "2026-01-31T12:00:00Z".len() && text.is_ascii();
    let (Some((date, rest)), true) = (text.split_at_checked("2026-01-31".len()), is_date_time) else {
        return Err(InvalidOffset::Unknown);
    };
    let (clock, rest) = rest.split_at_checked("T12:00:00".len()).ok_or(InvalidOffset::Unknown)?;
    let [year, month, day] = fields(date, '-', 4)?;
    let clock = clock.strip_prefix(['T', 't', ' ']).ok_or(InvalidOffset::Unknown)?;
    let [hour, minute, second] = fields(clock, ':', 2)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, zone) = rest.split_at(digits);
            (milliseconds(fraction)?, zone)
        }
    };
    let offset_minutes = zone_minutes(zone)?;
    let is_valid = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60; // a leap second
    if !is_valid {
        return Err(InvalidOffset::Time);
    }
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Ok(u64::try_from((minutes * 60 + second) * 1_000 + fraction).unwrap_or_default())
}

/// Three numbers with a separator between them: one of `digits` digits, and two of two digits.
fn fields(text: &str, separator: char, digits: usize) -> Result<[i64; 3], InvalidOffset> {
    let mut fields = text.split(separator);
    let mut next = |digits| {
        let field = fields.next().filter(|field| field.len() == digits);
        let field = field.filter(|field| field.bytes().all(|byte| byte.is_ascii_digit()));
        field.and_then(|field| field.parse::<i64>().ok()).ok_or(InvalidOffset::Unknown)
    };
    Ok([next(digits)?, next(2)?, next(2)?])
}

/// The milliseconds of the digits of a fraction, rounded up.
fn milliseconds(fraction: &str) -> Result<i64, InvalidOffset> {
    if fraction.is_empty() {
        return Err(InvalidOffset::Unknown);
    }
    let digit = |place| fraction.as_bytes().get(place).map_or(0, |digit| i64::from(digit - b'0'));
    let has_more = fraction.bytes().skip(3).any(|digit| digit != b'0');
    Ok(digit(0) * 100 + digit(1) * 10 + digit(2) + i64::from(has_more))
}

/// `Z`, or the difference to it as `+01:00`, in minutes.
fn zone_minutes(zone: &str) -> Result<i64, InvalidOffset> {
    if zone == "Z" || zone == "z" {
        return Ok(0);
    }
    let sign = match zone.get(..1) {
        Some("+") => 1,
        Some("-") => -1,
        _ => return Err(InvalidOffset::Unknown),
    };
    let rest = zone.get(1..).filter(|rest| rest.len() == "01:00".len()).ok_or(InvalidOffset::Unknown)?;
    let [hours, minutes, _] = fields(&format!("{rest}:00"), ':', 2)?;
    if hours > 23 || minutes > 59 {
        return Err(InvalidOffset::Time);
    }
    Ok(sign * (hours * 60 + minutes))
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The days from 1970-01-01 to a date of the Gregorian calendar. The year counts from March, so that a leap day is its last day.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let year = year.rem_euclid(400);
    let day = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offsets_are_words_sequences_and_times() {
        for (text, start) in [
            ("earliest", StreamStart::Earliest),
            ("latest", StreamStart::Latest),
            ("seq:1", StreamStart::Sequence(1)),
            ("seq:18446744073709551615", StreamStart::Sequence(u64::MAX)),
            ("0", StreamStart::Time(0)),
            ("1767225600123", StreamStart::Time(1_767_225_600_123)),
            ("1970-01-01T00:00:00Z", StreamStart::Time(0)),
            ("1969-12-31T23:59:59Z", StreamStart::Time(0)),
            ("2026-01-01T00:00:00Z", StreamStart::Time(1_767_225_600_000)),
            ("2026-01-01t01:00:00.25+01:00", StreamStart::Time(1_767_225_600_250)),
            ("2025-12-31 19:00:00.1231-05:00", StreamStart::Time(1_767_225_600_124)),
            ("2000-02-29T12:30:15.000Z", StreamStart::Time(951_827_415_000)),
            ("2016-12-31T23:59:60Z", StreamStart::Time(1_483_228_800_000)),
        ] {
            assert_eq!(parse_offset(text), Ok(start), "{text}");
        }
    }

    #[test]
    fn what_is_no_offset_is_refused_in_words() {
        for (text, error) in [
            ("", InvalidOffset::Unknown),
            ("Earliest", InvalidOffset::Unknown),
            ("first", InvalidOffset::Unknown),
            ("-1", InvalidOffset::Unknown),
            ("+1", InvalidOffset::Unknown),
            ("seq:", InvalidOffset::Sequence),
            ("seq:0", InvalidOffset::Sequence),
            ("seq:+1", InvalidOffset::Sequence),
            ("seq:18446744073709551616", InvalidOffset::Sequence),
            ("18446744073709551616", InvalidOffset::Milliseconds),
            ("2026-01-01", InvalidOffset::Unknown),
            ("2026-01-01T00:00:00", InvalidOffset::Unknown),
            ("2026-01-01T00:00:00.Z", InvalidOffset::Unknown),
            ("2026-01-01T00:00:00+1:00", InvalidOffset::Unknown),
            ("2026-01-01T00:00:00+24:00", InvalidOffset::Time),
            ("2026-02-29T00:00:00Z", InvalidOffset::Time),
            ("2026-13-01T00:00:00Z", InvalidOffset::Time),
            ("2026-01-01T24:00:00Z", InvalidOffset::Time),
        ] {
            assert_eq!(parse_offset(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(seq:)?\\PC{0,24}|[0-9TtZz:.+ -]{0,32}") {
            let _ = parse_offset(&text);
        }

        #[test]
        fn each_day_is_one_day_after_the_one_before(days in 0_i64..200_000) {
            let (mut year, mut month, mut day) = (1970, 1, 1 + days);
            while day > days_of(year, month) {
                day -= days_of(year, month);
                (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            }
            prop_assert_eq!(days_since_1970(year, month, day), days);
            let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
            prop_assert_eq!(parse_offset(&text), Ok(StreamStart::Time(days as u64 * 86_400_000)));
        }
    }
}
