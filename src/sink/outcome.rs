use std::sync::Arc;
use std::time::Duration;

use crate::timestamp::WallTime;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has its messages.
    Delivered,
    /// The same request may succeed later.
    Again {
        /// What went wrong.
        reason: Arc<str>,
        /// For how long the receiver wants no request.
        pause: Option<Duration>,
    },
    /// The same request will not succeed.
    Refused(Arc<str>),
}

impl Outcome {
    /// By the status of an answer, and what it says about the next request.
    ///
    /// What a server may say about its own state is tried again: 408, 425, 429 and 5xx. What it says about the request is not: it would be the
    /// same. A redirect leads to an address that nobody has configured.
    pub fn of_status(status: u16, pause: Option<Duration>) -> Self {
        match status {
            200..=299 => Self::Delivered,
            408 | 425 | 429 | 500..=599 => Self::Again { reason: format!("the answer is {status}").into(), pause },
            300..=399 => Self::Refused(format!("the answer is {status}, and no redirect is followed").into()),
            _ => Self::Refused(format!("the answer is {status}").into()),
        }
    }
}

/// The time that a header Retry-After asks for: a number of seconds or a date, at most an hour. `None` if it says neither.
pub fn retry_after(text: &str, now: WallTime) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pause = if is_number {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        WallTime(seconds_of_date(text)?.saturating_mul(1_000)).since(now)
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// The seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that servers may write. [RFC 9110, 5.6.7]
fn seconds_of_date(text: &str) -> Option<u64> {
    let (_, rest) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = number(parts.next()?, 2)?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = number(parts.next()?, 4)?;
    let mut time = parts.next()?.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let is_whole = parts.next().is_none() && time.next().is_none();
    let is_date = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    if !is_whole || !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let of_months = *DAYS_BEFORE.get(month)? + u64::from(is_leap && month > 1);
    let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + of_months + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The days of a year before each month, without a leap day.
const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
/// A receiver that asks for more is asked earlier.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_says_whether_the_same_request_may_succeed() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(Outcome::of_status(status, None), Outcome::Delivered, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(Outcome::of_status(status, None), Outcome::Again { .. }), "{status}");
        }
        for status in [100, 199, 300, 301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422, 600, 999] {
            assert!(matches!(Outcome::of_status(status, None), Outcome::Refused(_)), "{status}");
        }
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = WallTime(784_111_777_000);
        let seconds = |text: &str| retry_after(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("3601"), Some(3_600));
        assert_eq!(seconds("99999999999999999999999"), Some(3_600));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:00 GMT"), Some(23));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for wrong in [
            "",
            "-1",
            "1.5",
            "+3",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn dates_around_leap_days_have_their_seconds() {
        for (date, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 28 Feb 2024 23:59:59 GMT", 1_709_164_799),
            ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Thu, 01 Mar 2001 00:00:00 GMT", 983_404_800),
            ("Fri, 31 Dec 2100 00:00:00 GMT", 4_133_894_400),
        ] {
            assert_eq!(seconds_of_date(date), Some(seconds), "{date}");
        }
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String, date in "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT", now: u64) {
            let _ = (retry_after(&text, WallTime(now)), retry_after(&date, WallTime(now)));
        }
    }
}
